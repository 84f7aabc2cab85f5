package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestEditor: what is typed, and what is in the line then; the cursor is a |.
func TestEditor(t *testing.T) {
	const up, down, right, left, home, end, del = "\x1b[A", "\x1b[B", "\x1b[C", "\x1b[D", "\x1b[H", "\x1bOF", "\x1b[3~"
	for _, test := range []struct{ name, typed, want string }{
		{"plain", "ping", "ping|"},
		{"insert", "png" + left + left + "i", "pi|ng"},
		{"over the ends", left + "a" + right + right + left + left + left + "b", "b|a"},
		{"backspace", "pingg\x7f\x08", "pin|"},
		{"backspace at the start", "a\x01\x7f", "|a"},
		{"delete", "ping" + home + del + "\x04", "|ng"},
		{"delete at the end", "ping" + del, "ping|"},
		{"start and end", "b\x01a\x05c", "abc|"},
		{"home and end keys", "b\x1b[1~a\x1b[4~c\x1bOHx" + end + "y", "xabcy|"},
		{"cut to the start", "stop now" + left + left + left + "\x15", "|now"},
		{"cut to the end", "stop now" + left + left + left + left + "\x0b", "stop|"},
		{"cut a word", "stop it  now \x17", "stop it  |"},
		{"cut a word in the middle", "stop it" + left + "\x17", "stop |t"},
		{"utf-8", "grüße" + left + left + "\x7f", "gr|ße"},
		{"utf-8 in pieces", "a\xe4", "a|"},
		{"not utf-8", "a\xe4b", "a�b|"},
		{"tab", "a\tb", "a b|"},
		{"unknown keys", "a\x1b[5~\x1b[1;5Cb\x1bxc\x02\x1b[200~\x00\x1d", "ab|c"},
		{"broken sequence", "a\x1b[1\x7fb\x1b[" + strings.Repeat("1", 40), "b" + strings.Repeat("1", 40-maxSequence+2) + "|"},
		{"history", "one\rtwo\r" + up + up + up + "!", "one!|"},
		{"history down", "one\rtwo\rthr" + up + up + down + down + "ee" + down, "three|"},
		{"no empty or repeated lines in it", "one\rone\r \r\r" + up + up, "one|"},
		{"interrupt", "one\rtw\x03" + up, "one|"},
		{"interrupt in history", "one\rtwo\r" + up + up + "\x03x" + up, "two|"},
		{"clear", "ab\x0cc", "abc|"},
	} {
		e := &editor{prompt: "$ "}
		v := newVT(200)
		show, _ := e.feed([]byte(test.typed), v.width)
		v.write(show)
		before, after, _ := strings.Cut(test.want, "|")
		if got := string(e.text[:e.cursor]) + "|" + string(e.text[e.cursor:]); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
			continue
		}
		v.check(t, "$ "+strings.ReplaceAll(before+after, "�", "?"), 2+utf8.RuneCountInString(before))
	}
}

func TestEditorEvents(t *testing.T) {
	e := &editor{prompt: "> "}
	v := newVT(80)
	typed := "ping\rsto\x03\x03\nquit\n\x04\x1abye"
	var events []event
	for _, b := range []byte(typed) { // a key at a time, as people type
		show, more := e.feed([]byte{b}, v.width)
		v.write(show)
		events = append(events, more...)
	}
	want := []event{{eventLine, "ping"}, {kind: eventInterrupt}, {kind: eventLine}, {eventLine, "quit"}, {kind: eventEOF}, {kind: eventSuspend}}
	if !slices.Equal(events, want) {
		t.Errorf("events %v, want %v", events, want)
	}
	if rows := []string{"> ping", "> sto^C", "> ", "> quit", "> bye"}; !slices.Equal(v.rows, rows) {
		t.Errorf("shows %q, want %q", v.rows, rows)
	}
	_, atOnce := (&editor{}).feed([]byte(typed), 80)
	if !slices.Equal(atOnce, want) {
		t.Errorf("pasted: events %v, want %v", atOnce, want)
	}
}

// TestEditorScroll: a line that is longer than the row shows the part around the
// cursor.
func TestEditorScroll(t *testing.T) {
	for _, test := range []struct {
		prompt, typed string
		width         int
		want          string
		column        int
	}{
		{"> ", "0123456789", 10, "> 3456789", 9},
		{"> ", "0123456789\x01", 10, "> 0123456", 2},
		{"> ", "0123456789\x1b[D\x1b[D\x1b[D", 10, "> 0123456", 9},
		{"> ", "日本語の文字", 10, "> の文字", 5},
		{"> ", "日本語の文字\x01", 10, "> 日本語", 2},
		{"worker1 (ready)> ", "abc", 20, "abc", 3}, // no room for the prompt
		{"> ", "abc", 3, "bc", 2},
		{"> ", "abc", 2, "c", 1},
		{"> ", "abc", 0, "> abc", 5},
		{"> ", "a\u202eb\u200bc", 80, "> a?b?c", 7},
	} {
		e := &editor{prompt: test.prompt}
		show, _ := e.feed([]byte(test.typed), test.width)
		v := newVT(max(test.width, 2))
		if test.width == 0 {
			v.width = 80
		}
		v.write(show)
		v.check(t, test.want, test.column)
	}
}

// TestEditorBounds: a line, the history and a paste have bounds.
func TestEditorBounds(t *testing.T) {
	e := new(editor)
	_, events := e.feed([]byte(strings.Repeat("x", 3*maxLine)+"\rping\r"), 80)
	if len(events) != 2 || len(events[0].line) != maxLine+1 || events[1].line != "ping" {
		t.Fatalf("%d events", len(events))
	}
	if _, err := parseLine(events[0].line); err == nil {
		t.Error("too long a line is accepted")
	}
	for i := range 2 * maxHistory {
		e.feed([]byte{'a' + byte(i%2), '\r'}, 80)
	}
	if len(e.history) != maxHistory {
		t.Errorf("%d lines of history", len(e.history))
	}
}

// FuzzEditor: whatever is typed, in whatever pieces, the same comes of it, the row
// shows the text at the cursor and is never longer than the terminal is wide.
func FuzzEditor(f *testing.F) {
	f.Add([]byte("ping\rsto\x03\x1b[A\x1b[D!"), 20, 3)
	f.Add([]byte("日本語\x1b[D\x7f\x17\xff\x00\x1b["), 5, 1)
	f.Fuzz(func(t *testing.T, typed []byte, width, piece int) {
		width, piece = 2+max(0, width%200), 1+max(0, piece%50)
		whole, parts := &editor{prompt: "w (ready)> "}, &editor{prompt: "w (ready)> "}
		_, want := whole.feed(typed, width)
		v := newVT(width)
		var got []event
		for p := range slices.Chunk(typed, piece) {
			show, events := parts.feed(p, width)
			v.write(show)
			got = append(got, events...)
		}
		if !slices.Equal(got, want) || !slices.Equal(whole.text, parts.text) || whole.cursor != parts.cursor || !bytes.Equal(whole.unread, parts.unread) {
			t.Errorf("%q in pieces of %d: %v, text %q; want %v, %q", typed, piece, got, string(parts.text), want, string(whole.text))
		}
		if len(parts.unread) > maxSequence+utf8.UTFMax {
			t.Errorf("%d bytes are kept", len(parts.unread))
		}
		v.write(parts.hide() + parts.draw(width))
		row := string(v.row())
		before := shown(parts.text[:parts.cursor])
		if v.column > 0 && before != "" && []rune(row)[v.column-1] != []rune(before)[parts.cursor-1] {
			t.Errorf("%q: row %q, cursor %d; before the cursor is %q", typed, row, v.column, before)
		}
		v.check(t, row, v.column)
	})
}
