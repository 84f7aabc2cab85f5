package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A pty is a terminal of the test's own: what is typed into it is what a program
// reads, and what the program writes is on its screen.
type pty struct {
	master, slave *os.File

	mu      sync.Mutex
	screen  *vt
	changed chan struct{} // closed and replaced by each write
}

// newPTY opens a pseudo-terminal, by pts(4):
//
//	open("/dev/ptmx"); ioctl(TIOCSPTLCK, 0); ioctl(TIOCGPTN); open("/dev/pts/N")
func newPTY(t *testing.T, columns int) *pty {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd, _ := fdOf(master)
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: uint16(columns)}); err != nil {
		t.Fatal(err)
	}
	p := &pty{master: master, slave: slave, screen: newVT(columns), changed: make(chan struct{})}
	var reader sync.WaitGroup
	reader.Go(p.show)
	t.Cleanup(func() {
		slave.Close()
		master.Close() // ends show
		reader.Wait()
	})
	return p
}

// show passes what is written to the terminal on to its screen.
func (p *pty) show() {
	buf := make([]byte, 4<<10)
	for {
		n, err := p.master.Read(buf)
		p.mu.Lock()
		p.screen.write(string(buf[:n]))
		close(p.changed)
		p.changed = make(chan struct{})
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (p *pty) typed(t *testing.T, keys string) {
	t.Helper()
	if _, err := p.master.WriteString(keys); err != nil {
		t.Fatal(err)
	}
}

// rows returns what is on the screen, the row with the cursor last.
func (p *pty) rows() ([]string, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.screen.rows), p.changed
}

// await blocks until a row that is done contains want, and returns that row.
func (p *pty) await(t *testing.T, want string) string {
	t.Helper()
	return p.until(t, want, func(rows []string) int {
		return slices.IndexFunc(rows[:len(rows)-1], func(row string) bool { return strings.Contains(row, want) })
	})
}

// awaitLine blocks until the row that is being typed is want.
func (p *pty) awaitLine(t *testing.T, want string) {
	t.Helper()
	p.until(t, want, func(rows []string) int {
		if last := len(rows) - 1; strings.TrimRight(rows[last], " ") == strings.TrimRight(want, " ") {
			return last
		}
		return -1
	})
}

func (p *pty) until(t *testing.T, want string, find func(rows []string) int) string {
	t.Helper()
	for limit := time.After(30 * time.Second); ; {
		rows, changed := p.rows()
		if i := find(rows); i >= 0 {
			return rows[i]
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("no %q within 30s on the screen:\n%s", want, strings.Join(rows, "\n"))
		}
	}
}

// mode is how the terminal treats keys.
func (p *pty) mode(t *testing.T) unix.Termios {
	t.Helper()
	fd, _ := fdOf(p.slave)
	m, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		t.Fatal(err)
	}
	return *m
}
