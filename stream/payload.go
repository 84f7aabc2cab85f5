package stream

import (
	"encoding/base64"
	"unicode/utf8"
)

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
