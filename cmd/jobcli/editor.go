package main

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// An editor is the line that is being typed at a terminal. It touches no terminal:
// it is fed what was typed, and says what to show and what came of it.
//
// The line stays in one row and scrolls sideways. It is drawn as a whole after
// each change, from the first column on:
//
//	\r            prompt and what is before the cursor
//	ESC 7         keep the cursor's place
//	              what is after it
//	ESC [K ESC 8  erase the rest of the row; go back to the cursor's place
//
// The terminal alone knows the columns that a character takes. What is written
// is never more than what fits into the row in the worst case, so it cannot wrap.
type editor struct {
	prompt string
	text   []rune
	cursor int // it is before text[cursor]

	history []string // the lines of before, the oldest first
	back    int      // how far up in it we are; 0: in the line that is being written
	draft   []rune   // that line, while we are elsewhere

	unread []byte // of a key that has not come in full
}

const (
	maxHistory   = 200 // lines
	defaultWidth = 80  // columns, where the terminal does not say
)

// An event is what came of the keys that were fed.
type event struct {
	kind eventKind
	line string // eventLine: what was typed
}

type eventKind int

const (
	eventLine      eventKind = iota
	eventInterrupt           // ^C on an empty line; on another it empties the line
	eventEOF                 // ^D on an empty line
	eventSuspend             // ^Z
)

// feed takes what was typed. It returns what to write to the terminal, which is
// width columns wide, and what came of it, in order.
func (e *editor) feed(p []byte, width int) (show string, events []event) {
	e.unread = append(e.unread, p...)
	var b strings.Builder
	for {
		k, n := readKey(e.unread)
		if n == 0 {
			break
		}
		e.unread = e.unread[n:]
		switch k {
		case keyEnter:
			b.WriteString(e.draw(width) + "\n")
			events = append(events, event{eventLine, e.enter()})
		case keyClear:
			b.WriteString("\x1b[H\x1b[2J")
		case keySuspend:
			events = append(events, event{kind: eventSuspend})
		case keyInterrupt:
			if len(e.text) == 0 {
				events = append(events, event{kind: eventInterrupt})
			} else {
				b.WriteString(e.draw(width) + "^C\n")
			}
			e.empty()
		case keyEOF:
			if len(e.text) == 0 {
				events = append(events, event{kind: eventEOF})
			}
			e.press(keyDelete)
		default:
			e.press(k)
		}
	}
	e.unread = slices.Clone(e.unread) // lets go of what has been read
	b.WriteString(e.draw(width))
	return b.String(), events
}

// enter empties the line and returns what was in it.
func (e *editor) enter() string {
	line := string(e.text)
	if strings.TrimSpace(line) != "" && (len(e.history) == 0 || e.history[len(e.history)-1] != line) {
		e.history = append(e.history, line)
		e.history = e.history[max(0, len(e.history)-maxHistory):]
	}
	e.empty()
	return line
}

func (e *editor) empty() {
	e.set(nil)
	e.back, e.draft = 0, nil
}

func (e *editor) set(text []rune) { e.text, e.cursor = text, len(text) }

// press changes the line as k says.
func (e *editor) press(k key) {
	switch k {
	case keyBackspace:
		e.cut(e.cursor-1, e.cursor)
	case keyDelete:
		e.cut(e.cursor, e.cursor+1)
	case keyCutStart:
		e.cut(0, e.cursor)
	case keyCutEnd:
		e.cut(e.cursor, len(e.text))
	case keyCutWord:
		e.cut(e.wordStart(), e.cursor)
	case keyLeft:
		e.cursor = max(0, e.cursor-1)
	case keyRight:
		e.cursor = min(len(e.text), e.cursor+1)
	case keyHome:
		e.cursor = 0
	case keyEnd:
		e.cursor = len(e.text)
	case keyUp:
		e.recall(e.back + 1)
	case keyDown:
		e.recall(e.back - 1)
	default:
		// One character more than a line may have is kept, so that its
		// parser refuses it; the rest would change nothing.
		if k >= 0 && len(e.text) <= maxLine {
			e.text = slices.Insert(e.text, e.cursor, rune(k))
			e.cursor++
		}
	}
}

// cut takes text[from:to] out, as far as that is there.
func (e *editor) cut(from, to int) {
	from, to = max(0, from), min(len(e.text), to)
	e.text = slices.Delete(e.text, from, to)
	e.cursor = from
}

// wordStart is where the word before the cursor begins.
func (e *editor) wordStart() int {
	i := e.cursor
	for i > 0 && unicode.IsSpace(e.text[i-1]) {
		i--
	}
	for i > 0 && !unicode.IsSpace(e.text[i-1]) {
		i--
	}
	return i
}

// recall puts the line of so many lines ago in place of the one that is being
// written; 0 brings that back.
func (e *editor) recall(back int) {
	if back < 0 || back > len(e.history) {
		return
	}
	if e.back == 0 {
		e.draft = e.text
	}
	if e.back = back; back == 0 {
		e.set(e.draft)
		return
	}
	e.set([]rune(e.history[len(e.history)-back]))
}

// hide returns what takes the line off the screen.
func (e *editor) hide() string { return "\r\x1b[K" }

// draw returns what shows the line in a row of so many columns.
func (e *editor) draw(width int) string {
	if width <= 0 {
		width = defaultWidth
	}
	width-- // a character in the last column leaves it to the terminal where the cursor is
	prompt := e.prompt
	if utf8.RuneCountInString(prompt) > width/2 {
		prompt = ""
	}
	room := width - utf8.RuneCountInString(prompt)
	from, to := e.cursor, e.cursor
	for from > 0 && columns(e.text[from-1]) <= room {
		from--
		room -= columns(e.text[from])
	}
	for to < len(e.text) && columns(e.text[to]) <= room {
		room -= columns(e.text[to])
		to++
	}
	return "\r" + prompt + shown(e.text[from:e.cursor]) + "\x1b7" + shown(e.text[e.cursor:to]) + "\x1b[K\x1b8"
}

// columns is the most that a character may take: some from U+1100 on, where Hangul
// begins, take two, and none takes more.
func columns(r rune) int {
	if r < 0x1100 {
		return 1
	}
	return 2
}

// shown replaces what a terminal would not show as a character of its own.
func shown(text []rune) string {
	return strings.Map(func(r rune) rune {
		if unprintable(r) {
			return '?'
		}
		return r
	}, string(text))
}
