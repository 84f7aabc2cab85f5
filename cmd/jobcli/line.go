package main

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxLine is how many bytes a line of the console may have: room for the longest
// message of a calculate, however it is escaped.
const maxLine = 64 << 10

// A line is a command of the console, taken apart. The zero line is an empty one.
type line struct {
	to   string // after an @: the name of a worker or "all"; empty: the current worker
	name string // of the command; empty where there is none
	args []string
}

// parseLine reads
//
//	line     = [ "@" worker ] [ command ] [ "#" comment ]
//	command  = word { word }                             cut and quoted as by a shell
//	         | name "(" [ value { "," value } ] ")"      at once after the name
//	value    = a string as in Go, '…', or a bare word
//
// Its errors name the column, counted in characters from 1. The words that it
// returns are valid UTF-8.
func parseLine(text string) (line, error) {
	if err := checkText(text); err != nil {
		return line{}, err
	}
	p := &lineParser{text: text}
	l, err := p.line()
	if err != nil {
		return line{}, err
	}
	return l, nil
}

// checkText refuses what no command has in it, wherever it stands.
func checkText(text string) error {
	if len(text) > maxLine {
		return fmt.Errorf("the line is longer than %d bytes", maxLine)
	}
	column := 0
	for i, r := range text {
		column++
		switch _, n := utf8.DecodeRuneInString(text[i:]); {
		case r == utf8.RuneError && n == 1:
			return fmt.Errorf("column %d: byte 0x%02x is not UTF-8", column, text[i])
		case unicode.IsControl(r) && r != '\t':
			return fmt.Errorf("column %d: control character %U", column, r)
		}
	}
	return nil
}

// A lineParser is at one byte of a line that has passed checkText.
type lineParser struct {
	text string
	at   int
}

func (p *lineParser) line() (l line, err error) {
	p.blanks()
	if p.take('@') {
		begin := p.at
		p.skip(func(r rune) bool { return !blank(r) })
		if l.to = p.text[begin:p.at]; l.to == "" {
			return l, p.wrong(begin, "the name of a worker is missing after @")
		}
		p.blanks()
	}
	begin := p.at
	p.skip(func(r rune) bool { return 'a' <= r && r <= 'z' })
	if name := p.text[begin:p.at]; name != "" && p.take('(') {
		l.name = name
		l.args, err = p.values()
		return l, err
	}
	p.at = begin
	words, err := p.words()
	if len(words) > 0 {
		l.name, l.args = words[0], words[1:]
	}
	if len(words) > 0 && l.name == "" {
		err = p.wrong(begin, "the command is an empty word")
	}
	return l, err
}

// words reads words to the end of the line.
func (p *lineParser) words() (words []string, err error) {
	for p.blanks(); !p.over(); p.blanks() {
		w, err := p.word()
		if err != nil {
			return nil, err
		}
		words = append(words, w)
	}
	return words, nil
}

// word reads one word, of parts that may be quoted.
func (p *lineParser) word() (string, error) {
	var b strings.Builder
	for p.at < len(p.text) && !blank(rune(p.text[p.at])) {
		var part string
		var err error
		switch c := p.text[p.at]; c {
		case '\'':
			part, err = p.literal()
		case '"':
			part, err = p.quoted()
		case '\\':
			part, err = p.escaped()
		default:
			part = string(p.text[p.at : p.at+1])
			p.at++
		}
		if err != nil {
			return "", err
		}
		b.WriteString(part)
	}
	return b.String(), nil
}

// literal reads '…', in which nothing is special.
func (p *lineParser) literal() (string, error) {
	inside, _, ok := strings.Cut(p.text[p.at+1:], "'")
	if !ok {
		return "", p.wrong(p.at, "the quote ' is not closed")
	}
	p.at += len(inside) + 2
	return inside, nil
}

// quoted reads "…" as a shell does: a backslash makes ", \, $ and ` plain and is
// itself plain before anything else.
func (p *lineParser) quoted() (string, error) {
	begin := p.at
	var b strings.Builder
	for p.at++; p.at < len(p.text); p.at++ {
		c := p.text[p.at]
		switch {
		case c == '"':
			p.at++
			return b.String(), nil
		case c == '\\' && p.at+1 < len(p.text) && strings.IndexByte("\"\\$`", p.text[p.at+1]) >= 0:
			p.at++
			c = p.text[p.at]
		}
		b.WriteByte(c)
	}
	return "", p.wrong(begin, `the quote " is not closed`)
}

// escaped reads a backslash and the character after it.
func (p *lineParser) escaped() (string, error) {
	if p.at+1 == len(p.text) {
		return "", p.wrong(p.at, `nothing comes after the \`)
	}
	_, n := utf8.DecodeRuneInString(p.text[p.at+1:])
	c := p.text[p.at+1 : p.at+1+n]
	p.at += 1 + n
	return c, nil
}

// values reads what is between the parentheses of a call, and the end of the line.
func (p *lineParser) values() (values []string, err error) {
	p.blanks()
	if p.take(')') {
		return nil, p.end()
	}
	for {
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		values = append(values, v)
		p.blanks()
		switch {
		case p.take(')'):
			return values, p.end()
		case p.take(','):
			p.blanks()
		default:
			return nil, p.wrong(p.at, "a , or a ) is missing here")
		}
	}
}

func (p *lineParser) value() (string, error) {
	rest := p.text[p.at:]
	switch {
	case strings.HasPrefix(rest, "'"):
		return p.literal()
	case strings.HasPrefix(rest, `"`), strings.HasPrefix(rest, "`"):
		return p.goString()
	}
	begin := p.at
	p.skip(func(r rune) bool { return !blank(r) && !strings.ContainsRune(",()'\"`", r) })
	if p.at == begin {
		return "", p.wrong(begin, "a value is missing here")
	}
	return p.text[begin:p.at], nil
}

// goString reads a string as in Go, whose escapes can be any bytes.
func (p *lineParser) goString() (string, error) {
	begin, quote := p.at, p.text[p.at]
	end := begin + 1
	for end < len(p.text) && p.text[end] != quote {
		if p.text[end] == '\\' && quote == '"' {
			end++
		}
		end++
	}
	if end >= len(p.text) {
		return "", p.wrong(begin, "the quote %c is not closed", quote)
	}
	p.at = end + 1
	s, err := strconv.Unquote(p.text[begin:p.at])
	switch {
	case err != nil:
		return "", p.wrong(begin, `a \ in this string is not followed by what Go knows`)
	case !utf8.ValidString(s):
		return "", p.wrong(begin, "this string is not UTF-8")
	}
	return s, nil
}

// end reads what may come after a call.
func (p *lineParser) end() error {
	if p.blanks(); !p.over() {
		return p.wrong(p.at, "nothing may come after the call")
	}
	return nil
}

// over reports whether only a comment is left.
func (p *lineParser) over() bool { return p.at == len(p.text) || p.text[p.at] == '#' }

func (p *lineParser) blanks() { p.skip(blank) }

func blank(r rune) bool { return r == ' ' || r == '\t' }

func (p *lineParser) skip(while func(rune) bool) {
	rest := p.text[p.at:]
	if i := strings.IndexFunc(rest, func(r rune) bool { return !while(r) }); i >= 0 {
		rest = rest[:i]
	}
	p.at += len(rest)
}

func (p *lineParser) take(c byte) bool {
	if p.at == len(p.text) || p.text[p.at] != c {
		return false
	}
	p.at++
	return true
}

func (p *lineParser) wrong(at int, format string, args ...any) error {
	return fmt.Errorf("column %d: %s", utf8.RuneCountInString(p.text[:at])+1, fmt.Sprintf(format, args...))
}
