package main

import "unicode/utf8"

// A key is a character, or one of the constants: what a terminal sends for it
// differs, what it means does not.
type key rune

const (
	keyNone  key = -1 - iota // one that means nothing here
	keyEnter                 // or ^J
	keyBackspace
	keyDelete // or ^D in a line
	keyLeft
	keyRight
	keyHome
	keyEnd
	keyUp
	keyDown
	keyCutStart  // ^U: what is before the cursor
	keyCutEnd    // ^K: what is after it
	keyCutWord   // ^W: the word before it
	keyClear     // ^L: the screen
	keyInterrupt // ^C
	keyEOF       // ^D
	keySuspend   // ^Z
)

// controls are the keys of one byte; the rest below a space means nothing.
var controls = map[byte]key{
	1: keyHome, 2: keyLeft, 3: keyInterrupt, 4: keyEOF, 5: keyEnd, 6: keyRight, 8: keyBackspace, '\t': ' ', '\n': keyEnter, 11: keyCutEnd,
	12: keyClear, '\r': keyEnter, 14: keyDown, 16: keyUp, 21: keyCutStart, 23: keyCutWord, 26: keySuspend, 127: keyBackspace,
}

// sequences are the keys that send ESC [ or ESC O and this, on the terminals that
// follow ECMA-48, xterm or rxvt.
var sequences = map[string]key{
	"A": keyUp, "B": keyDown, "C": keyRight, "D": keyLeft, "H": keyHome, "F": keyEnd,
	"1~": keyHome, "3~": keyDelete, "4~": keyEnd, "7~": keyHome, "8~": keyEnd,
}

// maxSequence bounds what is taken for one escape sequence.
const maxSequence = 32

// readKey takes the first key from p and returns how many bytes it has: 0 where
// more are needed to know. A byte that is not UTF-8 is a U+FFFD.
func readKey(p []byte) (k key, n int) {
	switch {
	case len(p) == 0:
		return keyNone, 0
	case p[0] == 0x1b:
		return readSequence(p)
	case p[0] < ' ' || p[0] == 127:
		if k, ok := controls[p[0]]; ok {
			return k, 1
		}
		return keyNone, 1
	case !utf8.FullRune(p):
		return keyNone, 0
	}
	r, n := utf8.DecodeRune(p)
	return key(r), n
}

// readSequence takes an escape sequence, known or not, so that nothing of it ends
// up in the line: ESC [ and O with their parameters (0x20 to 0x3f) and their last
// byte, and ESC with any other character.
func readSequence(p []byte) (key, int) {
	switch {
	case !utf8.FullRune(p[1:]):
		return keyNone, 0
	case p[1] < ' ':
		return keyNone, 1 // ESC alone, and a key
	case p[1] != '[' && p[1] != 'O':
		_, n := utf8.DecodeRune(p[1:])
		return keyNone, 1 + n
	}
	for i := 2; i < len(p); i++ {
		switch c := p[i]; {
		case c >= 0x40 && c < 0x7f:
			if k, ok := sequences[string(p[2:i+1])]; ok {
				return k, i + 1
			}
			return keyNone, i + 1
		case c < ' ' || c >= 0x7f || i == maxSequence:
			return keyNone, i // broken off
		}
	}
	return keyNone, 0
}
