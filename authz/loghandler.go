package authz

import (
	"fmt"
	"io"
	"log/slog"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// LogHandler returns a handler that writes JSON lines to w, as slog.NewJSONHandler does, in which
// every character is printable: that one escapes line breaks and other controls of ASCII, but not
// DEL, the controls of ISO 6429 (U+0080 to U+009F: U+009B begins a terminal's escape sequence as ESC [
// does), nor what changes the order in which a line is shown (U+202E). Decoded, the lines are the same.
func LogHandler(w io.Writer) slog.Handler {
	return slog.NewJSONHandler(printableWriter{w}, nil)
}

// A printableWriter is given JSON lines, whole ones, which have such characters in strings only.
type printableWriter struct{ w io.Writer }

// Write writes p, which it does not change, in one piece.
func (w printableWriter) Write(p []byte) (int, error) {
	out := make([]byte, 0, len(p))
	for _, r := range string(p) {
		switch {
		case r == '\n' || unicode.IsPrint(r):
			out = utf8.AppendRune(out, r)
		default:
			for _, unit := range utf16.AppendRune(nil, r) {
				out = fmt.Appendf(out, `\u%04x`, unit)
			}
		}
	}
	if _, err := w.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}
