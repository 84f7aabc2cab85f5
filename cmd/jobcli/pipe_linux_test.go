package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// A brokenWriter takes some bytes and then fails.
type brokenWriter struct {
	mu    sync.Mutex
	left  int
	taken int
	err   error
}

func (w *brokenWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.left -= len(p); w.left < 0 {
		return 0, w.err
	}
	w.taken += len(p)
	return len(p), nil
}

func pipeError(err error) error { return &os.PathError{Op: "write", Path: "|1", Err: err} }

// TestBrokenPipe: a reader that goes away ends jobcli without a word, and the job of
// run with it.
func TestBrokenPipe(t *testing.T) {
	s := newSite(t)
	c := s.terminal("alice")
	e := c.env()
	e.stdout = &brokenWriter{left: 100_000, err: pipeError(syscall.EPIPE)}
	if code := run(t.Context(), e, []string{"run", s.program, "flood:"}); code != 141 || c.err.String() != "" {
		t.Errorf("run: status %d\n%s", code, c.err)
	}
	c.run(t.Context(), "ps")
	if n := strings.Count(c.out.String(), "\n"); n != 1 {
		t.Errorf("the job runs on:\n%s", c.out)
	}
	id := startNoise(t, s, 1<<20)
	for _, args := range [][]string{{"logs", "-f", id}, {"logs", "-o", "json", id}, {"ps", "-a"}, {"ps", "-a", "-q"}, {"status", id, id}, {"whoami"}, {"version"}, {"help"}, {"help", "run"}, {"console"}} {
		e.stdout, e.stdin = &brokenWriter{err: pipeError(syscall.EPIPE)}, strings.NewReader("ping\nping\n")
		if code := run(t.Context(), e, args); code != 141 || c.err.String() != "" {
			t.Errorf("%s: status %d\n%s", args, code, c.err)
		}
	}
}

// TestFullDisk: output that cannot be written is an error, and the job is left for
// another try.
func TestFullDisk(t *testing.T) {
	s := newSite(t)
	c := s.terminal("alice")
	e := c.env()
	disk := &brokenWriter{left: 6, err: pipeError(syscall.ENOSPC)}
	e.stdout = disk
	if code := run(t.Context(), e, []string{"run", s.program, "out:12345", "out:more", "hold:"}); code != 125 {
		t.Errorf("run: status %d", code)
	}
	c.run(t.Context(), "ps", "-q")
	id := strings.TrimSpace(c.out.String())
	for _, want := range []string{
		"write output: write |1: no space left on device\n",
		fmt.Sprintf("jobcli logs -f -offset %d %s goes on from here\n", disk.taken, id),
	} {
		if !strings.Contains(c.err.String(), want) {
			t.Errorf("run does not say %q:\n%s", want, c.err)
		}
	}
	e.stdout = &brokenWriter{err: pipeError(syscall.ENOSPC)}
	if code := run(t.Context(), e, []string{"ps"}); code != 1 {
		t.Errorf("ps: status %d", code)
	}
}
