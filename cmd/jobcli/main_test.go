package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMain makes the test binary three things more: PID 1 of a job, the program
// that runs in a job, and jobcli itself as a process.
func TestMain(m *testing.M) {
	maybeInit()
	switch filepath.Base(os.Args[0]) {
	case programName:
		os.Exit(program(os.Args[1:]))
	case "jobcli":
		main()
	}
	signals := make(chan os.Signal, 1) // package os/signal has a goroutine for good, which fuzzing starts
	signal.Notify(signals, os.Interrupt)
	signal.Stop(signals)
	before, files := runtime.NumGoroutine(), leftovers()
	code := m.Run()
	if code == 0 && !settled(before) {
		pcs := make([]byte, 1<<20)
		fmt.Printf("leaked goroutines: %d before the tests, %d after\n%s\n", before, runtime.NumGoroutine(), pcs[:runtime.Stack(pcs, true)])
		code = 1
	}
	if after := leftovers(); code == 0 && after != files {
		fmt.Printf("leaked files and cgroups: before the tests %q, after %q\n", files, after)
		code = 1
	}
	os.Exit(code)
}

// settled reports whether the number of goroutines falls back to n. One that was
// told to end may need a moment.
func settled(n int) bool {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); runtime.Gosched() {
		if runtime.NumGoroutine() <= n {
			return true
		}
	}
	return false
}

// A screen is a standard output that tests can wait on. It is safe for concurrent
// use.
type screen struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	changed chan struct{} // closed and replaced by each write
}

func newScreen() *screen { return &screen{changed: make(chan struct{})} }

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
	return s.buf.Write(p)
}

func (s *screen) read() (string, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String(), s.changed
}

func (s *screen) String() string {
	text, _ := s.read()
	return text
}

// await blocks until want has been written.
func (s *screen) await(t *testing.T, want string) {
	t.Helper()
	for limit := time.After(30 * time.Second); ; {
		text, changed := s.read()
		if strings.Contains(text, want) {
			return
		}
		select {
		case <-changed:
		case <-limit:
			t.Fatalf("no %q within 30s in:\n%s", want, text)
		}
	}
}

// A terminal is an env for tests, with what commands write to it.
type terminal struct {
	in       io.Reader
	tty      *os.File // input and output, if it is not nil
	out, err *screen
	vars     map[string]string
	signals  chan os.Signal
	patience time.Duration
}

func newTerminal() *terminal {
	return &terminal{
		in: strings.NewReader(""), out: newScreen(), err: newScreen(),
		vars:    make(map[string]string),
		signals: make(chan os.Signal, 8), patience: 20 * time.Second,
	}
}

func (c *terminal) env() *env {
	e := &env{
		stdin: c.in, stdout: c.out, stderr: c.err, signals: c.signals, patience: c.patience,
		lookup: func(name string) (string, bool) {
			v, ok := c.vars[name]
			return v, ok
		},
	}
	if c.tty != nil {
		e.stdin, e.stdout = c.tty, c.tty
	}
	return e
}

// run executes a command line and returns its status.
func (c *terminal) run(ctx context.Context, args ...string) int {
	return run(ctx, c.env(), args)
}

// start runs a command line in the background. The returned function waits for its
// status.
func (c *terminal) start(t *testing.T, args ...string) (wait func() int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int, 1)
	go func() { done <- c.run(ctx, args...) }()
	var once sync.Once
	var code int
	wait = func() int {
		once.Do(func() { code = <-done })
		return code
	}
	t.Cleanup(func() { cancel(); wait() })
	return wait
}
