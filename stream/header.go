package stream

import (
	"bytes"
	"encoding/base64"
	"unicode/utf8"
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

// dataSize is the payload of padded base64.
func dataSize(s []byte) int64 {
	n := len(s) / 4 * 3
	for i := len(s) - 1; i >= 0 && s[i] == '=' && n > 0; i-- {
		n--
	}
	return int64(n)
}

// appendData appends decoded base64. The package skips CR and LF inside; the size refuses them.
func appendData(dst, s []byte) ([]byte, bool) {
	at := len(dst)
	dst, err := base64.StdEncoding.Strict().AppendDecode(dst, s)
	if err != nil || len(s)%4 != 0 || int64(len(dst)-at) != dataSize(s) {
		return dst[:at], false
	}
	return dst, true
}

// appendText appends the characters of a JSON string's inside as encoding/json writes it. Where it meets an
// escape that package does not write, a bare control character or bytes that are not UTF-8, ok is false.
// FuzzText holds it against encoding/json, which decodes five times slower.
func appendText(dst, s []byte) (text []byte, ok bool) {
	at := len(dst)
	for len(s) > 0 {
		n := plain(s)
		dst = append(dst, s[:n]...)
		if s = s[n:]; len(s) == 0 {
			break
		}
		r, n := escape(s)
		if n == 0 {
			return dst[:at], false
		}
		dst = utf8.AppendRune(dst, r)
		s = s[n:]
	}
	if !utf8.Valid(dst[at:]) {
		return dst[:at], false
	}
	return dst, true
}

// textSize is the length of what appendText would append.
func textSize(s []byte) (size int64, ok bool) {
	for len(s) > 0 {
		n := plain(s)
		size += int64(n)
		if s = s[n:]; len(s) == 0 {
			break
		}
		r, n := escape(s)
		if n == 0 {
			return 0, false
		}
		size += int64(utf8.RuneLen(r))
		s = s[n:]
	}
	return size, true
}

// plain counts the leading bytes of s that stand for themselves.
func plain(s []byte) int {
	for i, c := range s {
		if c < ' ' || c == '"' || c == '\\' {
			return i
		}
	}
	return len(s)
}

// escape reads one escape and its length; 0 is none.
func escape(s []byte) (r rune, n int) {
	if len(s) < 2 || s[0] != '\\' {
		return 0, 0
	}
	switch s[1] {
	case '"', '\\':
		return rune(s[1]), 2
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
		return hex4(s[2:])
	}
	return 0, 0
}

// hex4 reads the four lower-case digits of an escape; surrogates are none of ours.
func hex4(s []byte) (r rune, n int) {
	if len(s) < 4 {
		return 0, 0
	}
	for _, c := range s[:4] {
		switch {
		case '0' <= c && c <= '9':
			r = r<<4 | rune(c-'0')
		case 'a' <= c && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		default:
			return 0, 0
		}
	}
	if !utf8.ValidRune(r) {
		return 0, 0
	}
	return r, 6
}
