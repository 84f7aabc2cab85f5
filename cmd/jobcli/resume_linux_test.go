package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// A cutter is a TCP proxy that cuts each connection after some of the bytes that
// come back from the server.
type cutter struct {
	ctx      context.Context // its end cuts all connections
	listener net.Listener
	target   string
	after    func(n int) int64 // bytes that connection n may carry
	work     sync.WaitGroup

	mu   sync.Mutex
	cuts int
}

func newCutter(t *testing.T, target string, after func(n int) int64) *cutter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &cutter{ctx: ctx, listener: l, target: target, after: after}
	c.work.Go(c.accept)
	t.Cleanup(func() {
		l.Close()
		cancel() // a client keeps a connection for a while that it does not need
		c.work.Wait()
	})
	return c
}

func (c *cutter) accept() {
	for n := 0; ; n++ {
		conn, err := c.listener.Accept()
		if err != nil {
			return
		}
		limit := c.after(n) // here, for it may not be safe for concurrent use
		c.work.Go(func() { c.carry(conn.(*net.TCPConn), limit) })
	}
}

// carry copies both ways until one side ends or the bytes are used up. A reset makes
// the client lose what it has not read yet.
func (c *cutter) carry(client *net.TCPConn, limit int64) {
	defer client.Close()
	server, err := net.Dial("tcp", c.target)
	if err != nil {
		return
	}
	defer server.Close()
	defer context.AfterFunc(c.ctx, func() {
		client.Close()
		server.Close()
	})()
	var up sync.WaitGroup
	up.Go(func() {
		io.Copy(server, client)
		server.(*net.TCPConn).CloseWrite()
	})
	if n, _ := io.CopyN(client, server, limit); n == limit {
		c.mu.Lock()
		c.cuts++
		c.mu.Unlock()
		client.SetLinger(int(limit%2 - 1)) // now a reset, now an orderly end
	}
	client.Close()
	up.Wait()
}

func (c *cutter) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cuts
}

// checkNoise compares a job's output with the noise it made.
func checkNoise(t *testing.T, got string, n int) {
	t.Helper()
	if want := string(noise(n)); got != want {
		i := 0
		for i < min(len(got), len(want)) && got[i] == want[i] {
			i++
		}
		t.Errorf("%d bytes, not %d; they differ from byte %d on", len(got), len(want), i)
	}
}

// TestResume: cut at random bytes, in the handshake, in the first answer and in the
// middle of lines, not a byte of a job's output is lost or comes twice.
func TestResume(t *testing.T) {
	const size = 2 << 20
	s := newSite(t)
	id := startNoise(t, s, size)
	for seed := range uint64(2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, seed))
			cut := newCutter(t, s.addr, func(n int) int64 {
				if n == 0 || n == 5 {
					return 1 + r.Int64N(8<<10) // in the handshake, the headers, the first frames
				}
				return 50_000 + r.Int64N(1_000_000)
			})
			c := s.terminal("alice")
			c.vars["JOBCLI_ADDR"] = "https://" + cut.listener.Addr().String()
			if code := c.run(t.Context(), "run", "-q", s.program, fmt.Sprintf("noise:%d", size), "exit:5"); code != 5 {
				t.Errorf("run: status %d\n%s", code, c.err)
			}
			checkNoise(t, c.out.String(), size)

			c.out = newScreen()
			if code := c.run(t.Context(), "logs", "-q", id); code != 0 {
				t.Errorf("logs: status %d\n%s", code, c.err)
			}
			checkNoise(t, c.out.String(), size)
			if n := cut.count(); n < 4 {
				t.Errorf("only %d connections were cut", n)
			}
		})
	}
	// However often the start was asked for, there is one job for each run.
	c := s.terminal("alice")
	c.run(t.Context(), "ps", "-a", "-q")
	if n := strings.Count(c.out.String(), "\n"); n != 3 {
		t.Errorf("%d jobs, not 3", n)
	}
}

func startNoise(t *testing.T, s *site, size int) string {
	t.Helper()
	c := s.terminal("alice")
	if code := c.run(t.Context(), "start", s.program, fmt.Sprintf("noise:%d", size)); code != 0 {
		t.Fatalf("start: status %d\n%s", code, c.err)
	}
	return strings.TrimSpace(c.out.String())
}

// running runs a command line in the background until its job has written ready, and
// returns the terminal and the id of the only job that is not over.
func (s *site) running(t *testing.T, ready string, args ...string) (c *terminal, id string, wait func() int) {
	t.Helper()
	c = s.terminal("alice")
	wait = c.start(t, args...)
	c.out.await(t, ready)
	ps := s.terminal("alice")
	if code := ps.run(t.Context(), "ps", "-q"); code != 0 {
		t.Fatalf("ps: status %d\n%s", code, ps.err)
	}
	return c, strings.TrimSpace(ps.out.String()), wait
}

// TestRestart: a server that goes down and comes back at the same address costs the
// followers nothing.
func TestRestart(t *testing.T) {
	s := newSite(t)
	addr, stop := s.server(t, "127.0.0.1:0")
	s.addr = addr
	c, id, wait := s.running(t, "trap set\n", "run", s.program, "trap:")
	follower := s.terminal("alice")
	followed := follower.start(t, "logs", "-f", id)
	waiter := s.terminal("alice")
	waited := waiter.start(t, "wait", id)
	follower.out.await(t, "trap set\n")
	stop()
	for _, x := range []*terminal{c, follower} {
		x.err.await(t, "jobcli: connection lost, trying again for up to 20s: ")
	}
	_, stop = s.server(t, addr)
	defer stop()
	c.signals <- interruptSignal
	c.out.await(t, "interrupted\n")
	c.signals <- terminateSignal
	if code := wait(); code != 7 {
		t.Errorf("run: status %d, not 7\n%s", code, c.err)
	}
	if code := followed(); code != 0 {
		t.Errorf("logs: status %d\n%s", code, follower.err)
	}
	if code := waited(); code != 7 {
		t.Errorf("wait: status %d, not 7\n%s", code, waiter.err)
	}
	for name, x := range map[string]*terminal{"run": c, "logs": follower} {
		if got, want := x.out.String(), "trap set\ninterrupted\n"; got != want {
			t.Errorf("%s: %q, not %q", name, got, want)
		}
		if !strings.Contains(x.err.String(), "jobcli: the worker is back\n") {
			t.Errorf("%s: does not say that the worker is back:\n%s", name, x.err)
		}
	}
}

// TestOutage: a worker that stays away is waited for, not for ever.
func TestOutage(t *testing.T) {
	s := newSite(t)
	addr, stop := s.server(t, "127.0.0.1:0")
	s.addr = addr
	patient := func(args ...string) (*terminal, func() int) {
		c := s.terminal("alice")
		c.patience = 500 * time.Millisecond
		return c, c.start(t, args...)
	}
	c, wait := patient("run", "-grace", "0s", s.program, "deaf:")
	c.out.await(t, "deaf\n")
	ps := s.terminal("alice")
	ps.run(t.Context(), "ps", "-q")
	id := strings.TrimSpace(ps.out.String())
	l, followed := patient("logs", "-f", id)
	l.out.await(t, "deaf\n")
	w, waited := patient("wait", id)
	stop()
	if code := wait(); code != 125 {
		t.Errorf("run: status %d, not 125", code)
	}
	if want := fmt.Sprintf("jobcli: job %s may still be running: jobcli logs -f -offset 5 %s goes on from here\n", id, id); !strings.Contains(c.err.String(), want) {
		t.Errorf("run says\n%snot\n%s", c.err, want)
	}
	if code := followed(); code != 5 {
		t.Errorf("logs: status %d, not 5\n%s", code, l.err)
	}
	if code := waited(); code != 125 {
		t.Errorf("wait: status %d, not 125\n%s", code, w.err)
	}
}

// TestStartLost: a worker that breaks off every answer to a start is given up too, and
// the user is told that there may be a job.
func TestStartLost(t *testing.T) {
	s := newSite(t)
	cut := newCutter(t, s.addr, func(int) int64 { return 1000 })
	for _, args := range [][]string{{"run"}, {"start"}} {
		c := s.terminal("alice")
		c.patience = 300 * time.Millisecond
		c.vars["JOBCLI_ADDR"] = "https://" + cut.listener.Addr().String()
		want := map[string]int{"run": 125, "start": 5}[args[0]]
		if code := c.run(t.Context(), append(args, s.program)...); code != want {
			t.Errorf("%s: status %d, not %d", args[0], code, want)
		}
		if want := "the job may have been started all the same: see jobcli ps"; !strings.Contains(c.err.String(), want) {
			t.Errorf("%s: does not say %q:\n%s", args[0], want, c.err)
		}
	}
}

// TestRetryEnds: an interrupt ends the waiting for a worker that does not come back.
func TestRetryEnds(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	r := retry{env: newTerminal().env(), worker: new(worker), quiet: true}
	cancel(interrupted{interruptSignal})
	if err := r.pause(ctx, io.ErrUnexpectedEOF); !errors.As(err, new(interrupted)) {
		t.Errorf("pause: %v", err)
	}
}
