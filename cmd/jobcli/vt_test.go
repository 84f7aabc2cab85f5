package main

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
)

// A vt is what a terminal shows: it understands what the console writes to one, and
// nothing else.
type vt struct {
	width    int
	rows     []string // the last is the one with the cursor
	column   int      // of the cursor, from 0
	kept     int      // by ESC 7
	mistakes []string
	unread   string // of a sequence that has not come in full
}

func newVT(width int) *vt { return &vt{width: width, rows: []string{""}} }

// controls of a vt.
var vtControls = []struct {
	text string
	do   func(*vt)
}{
	{"\r", func(v *vt) { v.column = 0 }},
	{"\n", func(v *vt) { v.rows, v.column = append(v.rows, ""), 0 }}, // the line discipline makes \r\n of it
	{"\x1b7", func(v *vt) { v.kept = v.column }},
	{"\x1b8", func(v *vt) { v.column = v.kept }},
	{"\x1b[K", func(v *vt) { v.setRow(v.row()[:min(v.column, len(v.row()))]) }},
	{"\x1b[H", func(*vt) {}},
	{"\x1b[2J", func(v *vt) { v.rows, v.column = []string{""}, 0 }},
}

func (v *vt) row() []rune       { return []rune(v.rows[len(v.rows)-1]) }
func (v *vt) setRow(row []rune) { v.rows[len(v.rows)-1] = string(row) }

func (v *vt) write(s string) {
	s, v.unread = v.unread+s, ""
next:
	for s != "" {
		for _, c := range vtControls {
			if rest, ok := strings.CutPrefix(s, c.text); ok {
				c.do(v)
				s = rest
				continue next
			}
			if strings.HasPrefix(c.text, s) || !utf8.FullRuneInString(s) {
				v.unread = s
				return
			}
		}
		r, n := utf8.DecodeRuneInString(s)
		v.put(r)
		s = s[n:]
	}
}

// put shows one character, which takes one column here.
func (v *vt) put(r rune) {
	if unprintable(r) {
		v.mistakes = append(v.mistakes, fmt.Sprintf("shows %U", r))
		return
	}
	row := v.row()
	for len(row) <= v.column {
		row = append(row, ' ')
	}
	row[v.column] = r
	v.setRow(row)
	v.column++
}

// check fails the test where the row is not as it should be, or too long.
func (v *vt) check(t *testing.T, row string, column int) {
	t.Helper()
	wide := 0
	for _, r := range v.row() {
		wide += columns(r)
	}
	if got := string(v.row()); got != row || v.column != column || len(v.mistakes) > 0 || wide >= v.width {
		t.Errorf("row %q of %d columns with the cursor at %d, mistakes %q; want %q, %d, less than %d columns", got, wide, v.column, v.mistakes, row, column, v.width)
	}
}
