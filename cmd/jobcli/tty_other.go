//go:build !linux && !darwin

package main

import (
	"context"
	"io"
	"os"
)

// A tty does not exist here: the system edits the lines.
type tty struct{}

func openTTY(io.Reader, io.Writer) (*tty, bool) { return nil, false }

// isTerminal reports whether a file is a device of characters.
func isTerminal(file any) bool {
	f, ok := file.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}

func (t *tty) restore()   {}
func (t *tty) width() int { return 0 }
func (t *tty) suspend()   {}

// breakable returns r as it is: here the end of ctx is noticed with the next
// line.
func breakable(_ context.Context, r io.Reader) (_ io.Reader, close func(), err error) {
	return r, func() {}, nil
}
