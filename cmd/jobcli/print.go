package main

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"jobworker/stream"
)

// A printer writes a job's frames to our standard output and standard error.
type printer struct {
	env   *env
	json  bool // all frames, as lines, to standard output
	times bool // the time in front of every line

	inLine map[stream.Source]bool // the stream's last byte was no newline
	buf    []byte
}

// frame writes one frame. Its error is an *outputError.
func (p *printer) frame(f stream.Frame) error {
	if p.json {
		p.buf = f.Append(p.buf[:0])
		_, err := p.env.stdout.Write(p.buf)
		return written(err)
	}
	switch f.Type {
	case stream.TypeOutput:
		return p.output(f)
	case stream.TypeGap:
		p.env.say("%d bytes of output are missing at offset %d: %s", f.Bytes, f.Offset, f.Reason)
	}
	return nil
}

func (p *printer) output(f stream.Frame) error {
	w, data := p.env.stdout, f.Data
	if f.Stream == stream.Stderr {
		w = p.env.stderr
	}
	if p.times {
		data = p.stamp(f)
	}
	_, err := w.Write(data)
	return written(err)
}

// stampLayout is RFC 3339 with all nine digits, so that the lines stay aligned.
const stampLayout = "2006-01-02T15:04:05.000000000Z "

// stamp puts the frame's time in front of each line that begins in it. A line may
// have begun in an earlier frame of the same stream.
func (p *printer) stamp(f stream.Frame) []byte {
	if p.inLine == nil {
		p.inLine = make(map[stream.Source]bool)
	}
	p.buf = p.buf[:0]
	for line := range bytes.Lines(f.Data) {
		if !p.inLine[f.Stream] {
			p.buf = f.Time.UTC().AppendFormat(p.buf, stampLayout)
		}
		p.buf = append(p.buf, line...)
		p.inLine[f.Stream] = line[len(line)-1] != '\n'
	}
	return p.buf
}

// printable returns s with everything escaped that is no letter, mark, number,
// punctuation, symbol or plain space: what could move the cursor, colour the
// terminal, turn the direction of the text or pretend to be another line.
func printable(s string) string {
	if strings.IndexFunc(s, unprintable) < 0 {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case unprintable(r):
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		default:
			b.WriteString(s[:n])
		}
		s = s[n:]
	}
	return b.String()
}

func unprintable(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }

// shorten cuts s to at most n characters and marks the cut.
func shorten(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// age is a duration in its largest unit, as in "5m".
func age(d time.Duration) string {
	units := []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}}
	for _, u := range units {
		if d >= 2*u.size || u.name == "m" && d >= u.size {
			return fmt.Sprintf("%d%s", d/u.size, u.name)
		}
	}
	return fmt.Sprintf("%ds", max(0, d/time.Second))
}

// bytesText is a number of bytes in the notation of the flags, as in "64M", where
// it is a whole number of a unit.
func bytesText(n int64) string {
	for _, u := range sizeUnits {
		if n != 0 && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}
