//go:build linux || darwin

package main

import (
	"io"
	"os"
	"os/signal"
	"sync"

	"golang.org/x/sys/unix"
)

// A tty is a terminal that hands over each key as it is typed. Its methods are safe
// for concurrent use.
type tty struct {
	in, out int // the descriptors of files that the caller keeps open

	// mu guards raw, for as long as it takes to change it.
	mu     sync.Mutex
	cooked unix.Termios // as it was
	raw    bool
}

// openTTY makes a terminal of in and out, if they are one, hand over each key:
//
//	tcgetattr(in)                                what restore goes back to
//	tcsetattr(in) without ICANON ECHO ISIG IEXTEN ICRNL IXON, with VMIN 1 VTIME 0
//
// What is written is treated as ever: \n begins a new row.
func openTTY(in io.Reader, out io.Writer) (*tty, bool) {
	if !isTerminal(in) || !isTerminal(out) {
		return nil, false
	}
	t := new(tty)
	t.in, _ = fdOf(in)
	t.out, _ = fdOf(out)
	mode, err := unix.IoctlGetTermios(t.in, getTermios)
	if err != nil {
		return nil, false
	}
	t.cooked = *mode
	return t, t.enter() == nil
}

// isTerminal reports whether a file is a terminal.
func isTerminal(file any) bool {
	fd, ok := fdOf(file)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(fd, getTermios)
	return err == nil
}

// fdOf returns the descriptor of a file. Other than os.File.Fd it leaves its mode
// alone.
func fdOf(file any) (fd int, ok bool) {
	f, ok := file.(*os.File)
	if !ok {
		return 0, false
	}
	c, err := f.SyscallConn()
	if err != nil {
		return 0, false
	}
	err = c.Control(func(n uintptr) { fd = int(n) })
	return fd, err == nil
}

func (t *tty) enter() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.cooked
	m.Lflag &^= unix.ICANON | unix.ECHO | unix.ISIG | unix.IEXTEN
	m.Iflag &^= unix.ICRNL | unix.INLCR | unix.IGNCR | unix.IXON
	m.Cc[unix.VMIN], m.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(t.in, setTermios, &m); err != nil {
		return err
	}
	t.raw = true
	return nil
}

// restore makes the terminal what it was. More than once does no harm. Its error
// would help nobody: the terminal is gone.
func (t *tty) restore() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.raw {
		unix.IoctlSetTermios(t.in, setTermios, &t.cooked)
		t.raw = false
	}
}

// width is in columns; 0 where it is not known.
func (t *tty) width() int {
	w, err := unix.IoctlGetWinsize(t.out, unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(w.Col)
}

// suspend stops this process until somebody continues it. The shell has the
// terminal meanwhile.
func (t *tty) suspend() {
	continued := make(chan os.Signal, 1)
	signal.Notify(continued, unix.SIGCONT)
	defer signal.Stop(continued)
	t.restore()
	if unix.Kill(unix.Getpid(), unix.SIGSTOP) == nil {
		<-continued // this thread may go on for a moment
	}
	t.enter()
}
