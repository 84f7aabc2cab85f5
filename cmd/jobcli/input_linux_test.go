package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"jobworker/internal/kerneltest"
)

// sumOf is what the step "sum" prints for an input.
func sumOf(b []byte) string { return fmt.Sprintf("%d %x\n", len(b), sha256.Sum256(b)) }

// TestInputResume: cut at random bytes, not a byte of the input is lost or comes
// twice.
func TestInputResume(t *testing.T) {
	const size = 24 << 20
	s := newSite(t)
	for seed := range uint64(2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 7))
			// What comes back are window updates, a few bytes for each
			// frame.
			cut := newCutter(t, s.addr, func(int) int64 { return 3_500 + r.Int64N(2_000) })
			c := s.terminal("alice")
			c.vars["JOBCLI_ADDR"] = "https://" + cut.listener.Addr().String()
			c.in = iotest.HalfReader(bytes.NewReader(noise(size)))
			if code := c.run(t.Context(), "run", "-q", "-i", s.program, "sum:", "exit:5"); code != 5 {
				t.Errorf("run: status %d\n%s", code, c.err)
			}
			if want := sumOf(noise(size)); c.out.String() != want {
				t.Errorf("the job says %q, want %q", c.out, want)
			}
			if n := cut.count(); n < 4 {
				t.Errorf("only %d connections were cut", n)
			}
		})
	}
}

// TestInputRestart: a server that goes away under an input that pauses costs nothing.
func TestInputRestart(t *testing.T) {
	s := newSite(t)
	addr, stop := s.server(t, "127.0.0.1:0")
	s.addr = addr
	r, w := io.Pipe()
	c := s.terminal("alice")
	c.in = r
	wait := c.start(t, "run", "-i", s.program, "cat:", "exit:7")
	for i := range 3 {
		if _, err := fmt.Fprintf(w, "line %d\n", i); err != nil {
			t.Fatal(err)
		}
		c.out.await(t, fmt.Sprintf("line %d\n", i))
		stop()
		_, stop = s.server(t, addr)
	}
	defer func() { stop() }()
	w.Close()
	if code := wait(); code != 7 {
		t.Errorf("status %d, not 7\n%s", code, c.err)
	}
	if want := "line 0\nline 1\nline 2\n"; c.out.String() != want {
		t.Errorf("the job got %q, not %q", c.out, want)
	}
}

// TestInputHeld: an input that never comes does not hold a run whose job is over.
func TestInputHeld(t *testing.T) {
	s := newSite(t)
	for _, test := range []struct {
		steps  []string
		signal os.Signal
		status int
	}{
		{[]string{"out:ready", "exit:3"}, nil, 3},
		{[]string{"out:ready", "hold:"}, interruptSignal, 130},
		{[]string{"out:ready", "cat:"}, terminateSignal, 143},
	} {
		r, w := io.Pipe()
		defer w.Close()
		c := s.terminal("alice")
		c.in = r
		wait := c.start(t, append([]string{"run", "-q", "-i", s.program}, test.steps...)...)
		c.out.await(t, "ready\n")
		if test.signal != nil {
			c.signals <- test.signal
		}
		if code := wait(); code != test.status || c.err.String() != "" {
			t.Errorf("%q: status %d, not %d\n%s", test.steps, code, test.status, c.err)
		}
	}
}

// TestInputFails: an input of ours that breaks off stops the job, which does not take
// it for whole.
func TestInputFails(t *testing.T) {
	s := newSite(t)
	c := s.terminal("alice")
	c.in = io.MultiReader(strings.NewReader("some\n"), iotest.ErrReader(errors.New("input/output error")))
	if code := c.run(t.Context(), "run", "-i", s.program, "cat:", "out:whole"); code != 125 {
		t.Errorf("status %d, not 125", code)
	}
	if want := "jobcli: standard input: input/output error\n"; c.err.String() != want {
		t.Errorf("says %q, not %q", c.err, want)
	}
	ps := s.terminal("alice")
	if code := ps.run(t.Context(), "ps", "-a", "-o", "json"); code != 0 || !strings.Contains(ps.out.String(), `"reason":"stopped"`) || strings.Contains(c.out.String(), "whole") {
		t.Errorf("the job: %s; it wrote %q", ps.out, c.out)
	}
}

// TestLocalInput: the one-command try-out is a filter like any other program, byte
// for byte.
func TestLocalInput(t *testing.T) {
	kerneltest.Root(t)
	_, args := localProgram(t)
	cmd, stderr := local(t, args("cat: exit:3", "cat; exit 3"), "-i", "-q")
	cmd.Stdin = bytes.NewReader(noise(3 << 20))
	stdout, err := cmd.Output()
	if code := exitCode(t, err); code != 3 || stderr.String() != "" {
		t.Errorf("status %d, stderr %q", code, stderr)
	}
	checkNoise(t, string(stdout), 3<<20)
	checkClean(t, cmd.Process.Pid)
}

// TestLocalInputHeld: a standard input that is open and silent, as a terminal is, does
// not keep the process from ending.
func TestLocalInputHeld(t *testing.T) {
	kerneltest.Root(t)
	_, args := localProgram(t)
	cmd, stderr := local(t, args("out:over exit:3", "echo over; exit 3"), "-i")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	cmd.Stdin = r
	stdout, err := cmd.Output()
	r.Close()
	if code := exitCode(t, err); code != 3 || string(stdout) != "over\n" {
		t.Errorf("status %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	checkClean(t, cmd.Process.Pid)
}
