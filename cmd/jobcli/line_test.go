package main

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestParseLine(t *testing.T) {
	for _, test := range []struct {
		text string
		want line
	}{
		{"", line{}},
		{" \t ", line{}},
		{"# start", line{}},
		{"ping", line{name: "ping"}},
		{"  ping \t# now", line{name: "ping"}},
		{"ping#1", line{name: "ping#1"}},
		{"ping()", line{name: "ping"}},
		{"start ( )", line{name: "start", args: []string{"(", ")"}}},
		{"start(\t) # so", line{name: "start"}},
		{`calculate 2.5 "hello world"`, line{name: "calculate", args: []string{"2.5", "hello world"}}},
		{`calculate(2.5, "hello world")`, line{name: "calculate", args: []string{"2.5", "hello world"}}},
		{"calculate(2.5,'a\\n',`b\\n`, \"c\\n\\\"\" , d)", line{name: "calculate", args: []string{"2.5", `a\n`, `b\n`, "c\n\"", "d"}}},
		{`calculate 1 it\'s`, line{name: "calculate", args: []string{"1", "it's"}}},
		{`calculate 1 ""`, line{name: "calculate", args: []string{"1", ""}}},
		{`calculate(1, "")`, line{name: "calculate", args: []string{"1", ""}}},
		{`run sh -c 'echo "a b" | wc -c' x\ y`, line{name: "run", args: []string{"sh", "-c", `echo "a b" | wc -c`, "x y"}}},
		{`run a"b"'c'\d "\$\"\\\n"`, line{name: "run", args: []string{"abcd", `$"\\n`}}},
		{`run a#b "#c" \#d # e`, line{name: "run", args: []string{"a#b", "#c", "#d"}}},
		{`run grüße \ü`, line{name: "run", args: []string{"grüße", "ü"}}},
		{"@b ping", line{to: "b", name: "ping"}},
		{"@all stop()", line{to: "all", name: "stop"}},
		{"@b", line{to: "b"}},
		{"Ping()", line{name: "Ping()"}},
	} {
		got, err := parseLine(test.text)
		if err != nil || got.to != test.want.to || got.name != test.want.name || !slices.Equal(got.args, test.want.args) {
			t.Errorf("%q: %q, %v; want %q", test.text, got, err, test.want)
		}
	}
}

func TestParseLineErrors(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{`calculate 1 "abc`, `column 13: the quote " is not closed`},
		{`calculate 1 "abc\"`, `column 13: the quote " is not closed`},
		{`calculate 1 üb'er`, "column 15: the quote ' is not closed"},
		{`run a\`, `column 6: nothing comes after the \`},
		{`ping(`, "column 6: a value is missing here"},
		{`ping(1`, "column 7: a , or a ) is missing here"},
		{`calculate(1, `, "column 14: a value is missing here"},
		{`calculate(1 "a")`, "column 13: a , or a ) is missing here"},
		{`calculate(1,,2)`, "column 13: a value is missing here"},
		{`calculate(,)`, "column 11: a value is missing here"},
		{`calculate(1, "a`, `column 14: the quote " is not closed`},
		{`calculate(1, "a\`, `column 14: the quote " is not closed`},
		{"calculate(1, `a)", "column 14: the quote ` is not closed"},
		{`calculate(1, "\q")`, `column 14: a \ in this string is not followed by what Go knows`},
		{`calculate(1, "\xff")`, "column 14: this string is not UTF-8"},
		{`calculate(1, 'a)`, "column 14: the quote ' is not closed"},
		{`calculate((1))`, "column 11: a value is missing here"},
		{`ping() x`, "column 8: nothing may come after the call"},
		{`ping())`, "column 7: nothing may come after the call"},
		{`@b ''`, "column 4: the command is an empty word"},
		{`@ ping`, "column 2: the name of a worker is missing after @"},
		{"ping\x00", "column 5: control character U+0000"},
		{"grüße\x1b[2J", "column 6: control character U+001B"},
		{"a\u0085", "column 2: control character U+0085"},
		{"a \xc3(", "column 3: byte 0xc3 is not UTF-8"},
		{strings.Repeat("x", maxLine+1), "the line is longer than 65536 bytes"},
	} {
		l, err := parseLine(test.text)
		if err == nil || err.Error() != test.want {
			t.Errorf("%.40q: %q, error %v; want %q", test.text, l, err, test.want)
		}
	}
}

// FuzzParseLine: what has been read, written down again as words and as a call, is
// read as the same.
func FuzzParseLine(f *testing.F) {
	for _, s := range []string{`calculate(2.5, "a\n", 'b', c)`, `run a"b"'c'\d # e`, "@all ping", "x \xff\x00", `q("\xff")`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		l, err := parseLine(text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "column ") && len(text) <= maxLine {
				t.Errorf("%q: %v names no column", text, err)
			}
			return
		}
		var words, call []string
		for _, w := range l.args {
			if !utf8.ValidString(w) {
				t.Fatalf("%q: word %q", text, w)
			}
			words = append(words, " '"+strings.ReplaceAll(w, "'", `'\''`)+"'")
			call = append(call, strconv.Quote(w))
		}
		same(t, "x"+strings.Join(words, ""), l.args, strings.ContainsFunc(strings.Join(l.args, ""), isControl))
		same(t, "x("+strings.Join(call, ",")+")", l.args, false)
	})
}

func isControl(r rune) bool { return checkText(string(r)) != nil }

// same reads text and compares its words with args, unless it cannot be read for
// their control characters or its length.
func same(t *testing.T, text string, args []string, control bool) {
	t.Helper()
	l, err := parseLine(text)
	if (control || len(text) > maxLine) && err != nil {
		return
	}
	if err != nil || l.name != "x" || !slices.Equal(l.args, args) {
		t.Errorf("%q: %q, %v; want %q", text, l, err, args)
	}
}
