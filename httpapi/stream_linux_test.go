package httpapi_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"jobworker/httpapi"
	"jobworker/job"
	"jobworker/stream"
)

const follow = "/v1/jobs/JOB/output?follow=true"

// open sends a GET and returns the answer as soon as its header is there.
func (f *fixture) open(ctx context.Context, c *http.Client, path, id string) *http.Response {
	f.Helper()
	req, err := http.NewRequestWithContext(ctx, "GET", f.url()+strings.ReplaceAll(path, "JOB", id), nil)
	if err != nil {
		f.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != http.StatusOK {
		f.Fatalf("%s: %s", path, resp.Status)
	}
	return resp
}

// The header of a silent stream comes at once, then pings.
func TestHeartbeat(t *testing.T) {
	f := newFixture(t, func(c *httpapi.Config) { c.Heartbeat = 20 * time.Millisecond })
	j := f.start(f.client("alice", operator), "sleep 1000")
	for _, proto := range protocols {
		resp := f.open(t.Context(), f.plain(proto, f.identity("alice", 0, operator)), follow, j.ID)
		lines := bufio.NewReader(resp.Body)
		for i := range 4 {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatal(proto, err)
			}
			if (line == "{\"type\":\"ping\"}\n") != (i > 0) {
				t.Errorf("%s: line %d: %s", proto, i, line)
			}
		}
		resp.Body.Close()
	}
}

// The write deadline of one piece is not that of the stream: an idle one lives on.
func TestIdleStreamOutlivesWriteTimeout(t *testing.T) {
	f := newFixture(t, func(c *httpapi.Config) { c.WriteTimeout = 50 * time.Millisecond })
	j := f.start(f.client("alice", operator), "echo before; sleep 0.4; echo after")
	for _, proto := range protocols {
		resp := f.open(t.Context(), f.plain(proto, f.identity("alice", 0, operator)), follow+"&format=raw", j.ID)
		b, err := io.ReadAll(resp.Body)
		if err != nil || string(b) != "before\nafter\n" || resp.Trailer.Get("Job-Exit-Code") != "0" {
			t.Errorf("%s: %q, %v, %v", proto, b, err, resp.Trailer)
		}
	}
}

// A client that leaves a silent job frees the goroutine that served it.
func TestClientGone(t *testing.T) {
	f := newFixture(t, nil)
	j := f.start(f.client("alice", operator), "sleep 1000")
	for _, proto := range protocols {
		for _, path := range []string{follow, follow + "&format=raw"} {
			ctx, cancel := context.WithCancel(t.Context())
			resp := f.open(ctx, f.plain(proto, f.identity("alice", 0, operator)), path, j.ID)
			id := resp.Header.Get("Request-Id")
			cancel()
			f.logs.await(t, "stream cut", id)
		}
	}
}

// A reader that never reads is cut after WriteTimeout, on both protocols, and
// its neighbour on the same connection has everything by then.
func TestStuckReader(t *testing.T) {
	const size = 16 << 20
	f := newFixture(t, func(c *httpapi.Config) { c.WriteTimeout = 500 * time.Millisecond })
	alice := f.client("alice", operator)
	j := f.start(alice, "head -c 16777216 /dev/zero | tr '\\0' 'x'")
	for _, proto := range protocols {
		c := f.plain(proto, f.identity("alice", 0, operator))
		stuck := f.open(t.Context(), c, follow, j.ID)
		good := f.open(t.Context(), c, follow+"&format=raw", j.ID)
		if n, err := io.Copy(io.Discard, good.Body); err != nil || n != size {
			t.Errorf("%s: the one that reads: %d bytes, %v", proto, n, err)
		}
		f.logs.await(t, "stream cut", stuck.Header.Get("Request-Id"))
		if n, err := io.Copy(io.Discard, stuck.Body); err == nil {
			t.Errorf("%s: the one that did not read: %d bytes and no error", proto, n)
		}
	}
}

// A job that is removed while its output is being sent is never said to run when all of
// that has been sent: the lines end with its verdict, the plain bytes are cut off.
func TestRemovedWhileSent(t *testing.T) {
	f := newFixture(t, func(c *httpapi.Config) {
		c.Worker = newWorker(t, c.Log, func(c *job.Config) { c.KeepJobs, c.KeepLeast = 1, 1 })
	})
	alice := f.client("alice", operator)
	removed, err := f.worker.Events(0)
	if err != nil {
		t.Fatal(err)
	}
	for _, proto := range protocols {
		c := f.plain(proto, f.identity("alice", 0, operator))
		j := f.start(alice, "head -c 16777216 /dev/zero | tr '\\0' 'x'")
		lines, raw := f.open(t.Context(), c, follow, j.ID), f.open(t.Context(), c, follow+"&format=raw", j.ID)
		f.ended(alice, j.ID)
		f.start(alice, "true")
		for gone := false; !gone; { // nobody has read to the end by then
			events, err := removed.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			gone = slices.ContainsFunc(events, func(e job.Event) bool { return e.Type == job.JobRemoved && e.Job == j.ID })
		}
		if b, err := io.ReadAll(lines.Body); err != nil || !strings.Contains(string(b[len(b)-500:]), `"reason":"exited","code":0`) {
			t.Errorf("%s: lines end with %q, %v", proto, b[max(0, len(b)-200):], err)
		}
		if n, err := io.Copy(io.Discard, raw.Body); err == nil {
			t.Errorf("%s: %d bytes end as if they were all, with %v", proto, n, raw.Trailer)
		}
	}
}

// Shutdown ends every stream with a line that says so, answers who waits, and
// does not wait for a reader that does not read.
func TestShutdown(t *testing.T) {
	f := newFixture(t, func(c *httpapi.Config) { c.Heartbeat = time.Second })
	c := f.client("alice", operator)
	j := f.start(c, "echo ready; sleep 1000")
	s, err := c.Output(t.Context(), j.ID, httpapi.OutputOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	awaitOutput(t, s, "ready\n")
	raw := f.open(t.Context(), f.plain("HTTP/1.1", f.identity("alice", 0, operator)), follow+"&format=raw", j.ID)
	waited := make(chan error, 2)
	go func() {
		w, err := c.Wait(t.Context(), j.ID, time.Hour)
		if err == nil && w.State == httpapi.Ended {
			err = errors.New("state " + string(w.State))
		}
		waited <- err
	}()
	go func() {
		grace := httpapi.Duration(time.Hour)
		_, err := c.Stop(t.Context(), j.ID, httpapi.StopRequest{Signal: "WINCH", Grace: &grace})
		if p, ok := errors.AsType[*httpapi.Problem](err); ok && p.Type == httpapi.TypeShuttingDown {
			err = nil
		}
		waited <- err
	}()
	f.logs.await(t, "job.stop", "allow")
	f.logs.await(t, "job.read", "allow")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := f.server.Shutdown(ctx); err != nil {
		t.Errorf("shut down: %v", err)
	}
	if r := receive(t, s); r.end.Reason != stream.EndShutdown || r.end.Next != int64(len("ready\n")) {
		t.Errorf("end of the stream: %+v", r.end)
	}
	if b, err := io.ReadAll(raw.Body); err == nil {
		t.Errorf("the raw stream ends as if it were complete: %q", b)
	}
	for range 2 {
		if err := <-waited; err != nil {
			t.Errorf("who waits: %v", err)
		}
	}
	if _, err := c.Status(t.Context(), j.ID); err == nil {
		t.Error("still serves")
	}
	if j, err := f.worker.Status(j.ID); err != nil || j.State == httpapi.Ended {
		t.Errorf("the job: %v, %v; it is not the server's to end", j.State, err)
	}
}

// Shutdown keeps to its bound, whatever a client does.
func TestShutdownBound(t *testing.T) {
	f := newFixture(t, nil)
	j := f.start(f.client("alice", operator), "head -c 67108864 /dev/zero; sleep 1000")
	for _, proto := range protocols {
		f.open(t.Context(), f.plain(proto, f.identity("alice", 0, operator)), follow, j.ID) // never read
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := f.server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("shut down: %v, want that time is up", err)
	}
}

// Connections that say nothing are cut, before and after the handshake.
func TestSilentConnection(t *testing.T) {
	f := newFixture(t, func(c *httpapi.Config) { c.HeaderTimeout = 200 * time.Millisecond })
	tcp, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	for name, conn := range map[string]net.Conn{"handshake": tcp, "header": f.dial(f.identity("alice", 0, operator))} {
		if name == "header" {
			if _, err := io.WriteString(conn, "GET /livez HTTP/1.1\r\n"); err != nil {
				t.Fatal(err)
			}
		}
		if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, conn); err != nil {
			t.Errorf("%s: %v, want that the server hangs up", name, err)
		}
	}
	if err := f.client("alice", operator).Live(t.Context()); err != nil {
		t.Errorf("another client: %v", err)
	}
}
