package stream

import (
	"bytes"
	"fmt"
)

// headerSize is more than the longest header: what a reader needs of a line to know its place.
const headerSize = 256

// header is the start of a stored line, read by its fixed layout without decoding JSON.
type header struct {
	kind   string // TypeStart, TypeOutput, TypeGap, TypeExit
	stream Source // output
	offset int64
	bytes  int64  // gap
	time   []byte // output, exit: in timeLayout; a slice of the line
	rest   []byte // what follows of the line
}

// stored are the beginnings of the lines a log may hold.
var stored = [...]struct {
	prefix string
	kind   string
	stream Source
}{
	{`{"type":"output","stream":"stdout","offset":`, TypeOutput, Stdout},
	{`{"type":"output","stream":"stderr","offset":`, TypeOutput, Stderr},
	{`{"type":"gap","offset":`, TypeGap, ""},
	{`{"type":"exit","offset":`, TypeExit, ""},
	{`{"type":"start","v":1,`, TypeStart, ""},
}

// parseHeader reads the header of line, which may be cut anywhere after it.
func parseHeader(line []byte) (h header, ok bool) {
	for _, l := range stored {
		if rest, ok := cut(line, l.prefix); ok {
			h = header{kind: l.kind, stream: l.stream, rest: rest}
			return h, h.place()
		}
	}
	return h, false
}

// place reads the numbers after the prefix.
func (h *header) place() (ok bool) {
	if h.kind == TypeStart {
		return true
	}
	if h.offset, h.rest, ok = digits(h.rest); !ok {
		return false
	}
	if h.kind == TypeGap {
		if h.rest, ok = cut(h.rest, `,"bytes":`); !ok {
			return false
		}
		h.bytes, h.rest, ok = digits(h.rest)
		return ok && h.bytes > 0 && h.offset+h.bytes > 0
	}
	if h.rest, ok = cut(h.rest, `,"time":"`); !ok || len(h.rest) < len(timeLayout)+1 {
		return false
	}
	h.time, h.rest = h.rest[:len(timeLayout)], h.rest[len(timeLayout):]
	h.rest, ok = cut(h.rest, `",`)
	return ok && h.offset+MaxFrame > 0
}

// payload gives the still encoded payload of an output line, and whether it is base64.
func (h *header) payload() (body []byte, binary, ok bool) {
	body, ok = cut(h.rest, `"text":"`)
	if !ok {
		binary = true
		if body, ok = cut(h.rest, `"data":"`); !ok {
			return nil, false, false
		}
	}
	body, ok = bytes.CutSuffix(bytes.TrimSuffix(body, []byte("\n")), []byte(`"}`))
	return body, binary, ok && len(body) > 0
}

// appendPayload appends the payload of an output line to dst.
func (h *header) appendPayload(dst []byte) ([]byte, bool) {
	body, binary, ok := h.payload()
	switch {
	case !ok:
		return dst, false
	case binary:
		return appendData(dst, body)
	default:
		return appendText(dst, body)
	}
}

// size returns how many bytes of output the line stands for.
func (h *header) size() (n int64, ok bool) {
	if h.kind != TypeOutput {
		return h.bytes, true
	}
	body, binary, ok := h.payload()
	switch {
	case !ok:
		return 0, false
	case binary:
		return dataSize(body), true
	default:
		return textSize(body)
	}
}

// AppendPayload appends to dst the bytes of the job that the output frames among lines carry; other frames add
// nothing. lines are whole, as Next returns them.
func AppendPayload(dst, lines []byte) ([]byte, error) {
	for len(lines) > 0 {
		n := bytes.IndexByte(lines, '\n') + 1
		if n == 0 {
			n = len(lines)
		}
		h, ok := parseHeader(lines[:n])
		if ok && h.kind == TypeOutput {
			dst, ok = h.appendPayload(dst)
		}
		if !ok {
			return dst, fmt.Errorf("payload: %w: %.100q", errCorrupt, lines[:n])
		}
		lines = lines[n:]
	}
	return dst, nil
}

func cut(s []byte, prefix string) (rest []byte, ok bool) {
	if len(s) < len(prefix) || string(s[:len(prefix)]) != prefix {
		return s, false
	}
	return s[len(prefix):], true
}

// digits reads a number without sign or leading zeros, at most the largest int64.
func digits(s []byte) (n int64, rest []byte, ok bool) {
	i := 0
	for ; i < len(s) && '0' <= s[i] && s[i] <= '9'; i++ {
		d := int64(s[i] - '0')
		if n > (1<<63-1-d)/10 {
			return 0, s, false
		}
		n = n*10 + d
	}
	return n, s[i:], i > 0 && (i == 1 || s[0] != '0')
}
