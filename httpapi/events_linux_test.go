package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"jobworker/authz"
	"jobworker/httpapi"
	"jobworker/job"
)

// watch opens the events after since for c; the test closes them.
func (f *fixture) watch(c *httpapi.Client, since int64) *httpapi.EventStream {
	f.Helper()
	s, err := c.Events(f.Context(), since)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	return s
}

// eventsUntil returns what s has up to the first event of a type.
func eventsUntil(t testing.TB, s *httpapi.EventStream, last string) (list []httpapi.Event) {
	t.Helper()
	for {
		e, err := s.Next()
		if err != nil {
			t.Fatalf("no %s after %v: %v", last, list, err)
		}
		if list = append(list, e); e.Type == last {
			return list
		}
	}
}

// owners are those of the jobs of events, in order, and "-" for events of the worker.
func owners(list []httpapi.Event) string {
	var s []string
	for _, e := range list {
		o := e.Owner
		if e.Job == "" {
			o = "-"
		}
		s = append(s, o)
	}
	return strings.Join(s, " ")
}

// TestEventsAreFiltered: everyone sees the events of the jobs that they see, and
// those of the worker, whether they were there or come later.
func TestEventsAreFiltered(t *testing.T) {
	f := newFixture(t, nil)
	first := f.worker.Info().Event
	clients := map[string]*httpapi.Client{
		"alice": f.client("alice", operator), "bob": f.client("bob", operator), "eve": f.client("eve", viewer),
	}
	root := f.client("root", admin)
	live := make(map[string]*httpapi.EventStream)
	for name, c := range clients {
		live[name] = f.watch(c, 0)
	}
	for _, name := range []string{"alice", "bob"} {
		f.ended(clients[name], f.start(clients[name], "true").ID)
	}
	if _, err := root.StopWorker(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"alice": "alice alice alice -", "bob": "bob bob bob -", "eve": "alice alice alice bob bob bob -",
	} {
		now := eventsUntil(t, live[name], httpapi.WorkerUnready)
		late := eventsUntil(t, f.watch(clients[name], first), httpapi.WorkerUnready)
		if owners(now) != want || owners(late) != want {
			t.Errorf("%s sees events of %s, and later %s; want %s", name, owners(now), owners(late), want)
		}
	}
	_, err := f.client("mallory").Events(t.Context(), 0)
	problem(t, err, httpapi.TypeForbidden)
}

// TestEventsResume: whoever goes on after the number of any event misses none, and
// repeats none.
func TestEventsResume(t *testing.T) {
	f := newFixture(t, nil)
	c := f.client("alice", operator)
	s := f.watch(c, 0)
	f.ended(c, f.start(c, "true").ID)
	f.ended(c, f.start(c, "true").ID)
	if _, err := f.worker.SetReady(false, "root"); err != nil {
		t.Fatal(err)
	}
	list := eventsUntil(t, s, httpapi.WorkerUnready)
	if len(list) != 7 {
		t.Fatalf("events %v", list)
	}
	for i, e := range list[:6] {
		rest := eventsUntil(t, f.watch(c, e.Seq), httpapi.WorkerUnready)
		got, err := json.Marshal(rest)
		want, wantErr := json.Marshal(list[i+1:])
		if err != nil || wantErr != nil || string(got) != string(want) {
			t.Errorf("after %d:\n%s\nwant\n%s", e.Seq, got, want)
		}
	}
}

// TestEventsGone: numbers that the worker does not have any more, or never gave.
func TestEventsGone(t *testing.T) {
	f := newChangedFixture(t, func(c *job.Config) { c.History = 4 })
	c := f.client("alice", operator)
	first := f.worker.Info().Event
	for i := range 6 {
		if _, err := f.worker.SetReady(i%2 == 1, "root"); err != nil {
			t.Fatal(err)
		}
	}
	for since, want := range map[int64]string{
		first: httpapi.TypeEventsGone, first + 1: httpapi.TypeEventsGone, first + 2: "ok", first + 6: "ok",
		first + 7: httpapi.TypeEventsGone, 1: httpapi.TypeEventsGone, -1: httpapi.TypeBadRequest,
	} {
		s, err := c.Events(t.Context(), since)
		if err == nil {
			s.Close()
		}
		if got := kind(err); got != want {
			t.Errorf("since %d, first %d: %s, want %s", since, first, got, want)
		}
	}
	plain := f.plain("HTTP/2.0", f.identity("alice", 0, operator))
	for _, query := range []string{"since=0", "since=x", "since=", "since=+1", "since=1&since=2", "follow=true", "since=9223372036854775808"} {
		if resp, body := f.do(plain, "GET", "/v1/events?"+query, "", ""); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s %s", query, resp.Status, body)
		}
	}
}

// TestEventsPosition: who sees little does not fall out of the history, because pings
// tell how far the worker is.
func TestEventsPosition(t *testing.T) {
	f := newFixture(t, func(c *httpapi.Config) {
		c.Heartbeat = 20 * time.Millisecond
		c.Worker = newWorker(t, c.Log, func(c *job.Config) { c.History = 4 })
	})
	lines := bufio.NewReader(f.open(t.Context(), f.plain("HTTP/1.1", f.identity("alice", 0, operator)), "/v1/events", "").Body)
	bob := f.client("bob", operator)
	for range 4 { // twelve events, none of them for alice
		f.ended(bob, f.start(bob, "true").ID)
	}
	for newest := f.worker.Info().Event; ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		var ping struct {
			Type string
			Next int64
		}
		if err := json.Unmarshal([]byte(line), &ping); err != nil || ping.Type != "ping" {
			t.Fatalf("%s: %v", line, err)
		}
		if ping.Next == newest+1 {
			return
		}
	}
}

// TestEventStream: only an end line ends a stream well, and every line says where to
// go on.
func TestEventStream(t *testing.T) {
	const (
		ping  = `{"type":"ping","next":8}` + "\n"
		event = `{"seq":10,"time":"2026-11-21T20:33:28.290000000Z","type":"worker.ready","by":"alice","new":1}` + "\n"
		later = `{"type":"ping","next":13}` + "\n"
		end   = `{"type":"end","next":15,"reason":"shutdown"}` + "\n"
	)
	for name, test := range map[string]struct {
		body     string
		events   int
		cut, eof bool
		position int64
	}{
		"nothing":       {"", 0, true, false, 0},
		"ping":          {ping, 0, true, false, 7},
		"event":         {ping + event, 1, true, false, 10},
		"ping after":    {ping + event + later, 1, true, false, 12},
		"torn":          {ping + event + later[:9], 1, true, false, 10},
		"end":           {ping + event + later + end, 1, false, true, 14},
		"after the end": {ping + end + event, 0, false, false, 14},
		"not JSON":      {ping + "x\n", 0, false, false, 7},
	} {
		c := fake(t, func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, "application/jsonl", test.body) })
		s, err := c.Events(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for {
			var e httpapi.Event
			if e, err = s.Next(); err != nil {
				break
			}
			if n++; e.Seq != 10 || e.Type != httpapi.WorkerReady || e.By != "alice" {
				t.Errorf("%s: %+v", name, e)
			}
		}
		if n != test.events || errors.Is(err, io.ErrUnexpectedEOF) != test.cut || (err == io.EOF) != test.eof || s.Position() != test.position {
			t.Errorf("%s: %d events, %v, position %d; want %+v", name, n, err, s.Position(), test)
		}
		s.Close()
	}
}

// TestEventsHeartbeat: the header and a first line come at once, then pings that tell
// the number of the next event.
func TestEventsHeartbeat(t *testing.T) {
	f := newFixture(t, func(c *httpapi.Config) { c.Heartbeat = 20 * time.Millisecond })
	for _, proto := range protocols {
		resp := f.open(t.Context(), f.plain(proto, f.identity("alice", 0, operator)), "/v1/events", "")
		lines := bufio.NewReader(resp.Body)
		for range 4 {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatal(proto, err)
			}
			if !strings.HasPrefix(line, `{"type":"ping","next":`) {
				t.Errorf("%s: %s", proto, line)
			}
		}
		resp.Body.Close()
		f.logs.await(t, "stream cut", resp.Header.Get("Request-Id")) // its goroutine is free
	}
}

// TestEventsHiddenTraffic: pings come although something happens all the time, when
// nothing of it is for the client to see.
func TestEventsHiddenTraffic(t *testing.T) {
	f := newFixture(t, func(c *httpapi.Config) { c.Heartbeat = 100 * time.Millisecond })
	j := f.startReady(f.client("bob", operator), shell("trap '' WINCH; echo ready; exec sleep 1000"))
	lines := bufio.NewReader(f.open(t.Context(), f.plain("HTTP/2.0", f.identity("alice", 0, operator)), "/v1/events", "").Body)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for tick := time.Tick(5 * time.Millisecond); ctx.Err() == nil; <-tick {
			if err := f.worker.Signal(j.ID, "WINCH", "bob"); err != nil {
				t.Error(err)
			}
		}
	})
	for range 4 {
		if line, err := lines.ReadString('\n'); err != nil || !strings.HasPrefix(line, `{"type":"ping"`) {
			t.Errorf("%q, %v, want a ping", line, err)
		}
	}
	cancel()
	wg.Wait()
}

// TestEventsStuckReader: a client that does not read is cut, without an end line, and
// meanwhile another has everything, on both protocols.
func TestEventsStuckReader(t *testing.T) {
	f := newFixture(t, func(c *httpapi.Config) { c.WriteTimeout = 500 * time.Millisecond })
	by := strings.Repeat("x", 64<<10) // what an event carries is the library's business
	const n = 300                     // more than any buffer on the way takes
	for _, proto := range protocols {
		c := f.plain(proto, f.identity("alice", 0, operator))
		stuck := f.open(t.Context(), c, "/v1/events", "")
		good := f.watch(f.client("bob", operator), 0)
		for range n {
			for _, ready := range []bool{false, true} {
				begin := time.Now()
				if _, err := f.worker.SetReady(ready, by); err != nil {
					t.Fatal(err)
				}
				if d := time.Since(begin); d > 10*time.Second {
					t.Errorf("%s: an event took %v: it waits for somebody", proto, d)
				}
				if e, err := good.Next(); err != nil || e.By != by {
					t.Fatalf("%s: the one that reads: %v, %v", proto, e.Seq, err)
				}
			}
		}
		f.logs.await(t, "stream cut", stuck.Header.Get("Request-Id"))
		b, err := io.ReadAll(stuck.Body)
		if err == nil || strings.Contains(string(b), `"type":"end"`) {
			t.Errorf("%s: the one that did not read: %d bytes, %v", proto, len(b), err)
		}
	}
}

// TestEventsEndWithRights: a stream whose client loses its rights is cut.
func TestEventsEndWithRights(t *testing.T) {
	for name, revoke := range map[string]func(*testing.T, *fixture){
		"expired": func(*testing.T, *fixture) {},
		"policy": func(t *testing.T, f *fixture) {
			p, err := authz.ParsePolicy(strings.NewReader(`{"roles":{"admin":{"users":["root"]}}}`))
			if err != nil {
				t.Fatal(err)
			}
			f.server.SetPolicy(p)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, func(c *httpapi.Config) { c.Heartbeat = 20 * time.Millisecond })
			life := time.Hour
			if name == "expired" {
				life = 2 * time.Second
			}
			s := f.watch(newClient(t, f.url(), f.identity("alice", life, operator)), 0)
			revoke(t, f)
			if e, err := s.Next(); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("stream goes on: %+v, %v", e, err)
			}
			f.logs.await(t, `"audit"`, `"deny"`)
		})
	}
}

// TestEventsFollowThePolicy: what a client sees changes with the policy while it
// watches.
func TestEventsFollowThePolicy(t *testing.T) {
	f := newFixture(t, nil)
	bob := f.client("bob", operator)
	s := f.watch(f.client("alice", operator), 0)
	f.ended(bob, f.start(bob, "true").ID)
	if _, err := f.worker.SetReady(false, "root"); err != nil {
		t.Fatal(err)
	}
	if got := owners(eventsUntil(t, s, httpapi.WorkerUnready)); got != "-" {
		t.Errorf("before: events of %s, want none of a job", got)
	}
	p, err := authz.ParsePolicy(strings.NewReader(`{"roles":{"operator":{"users":["bob"]},"viewer":{"users":["alice"]}}}`))
	if err != nil {
		t.Fatal(err)
	}
	f.server.SetPolicy(p)
	if _, err := f.worker.SetReady(true, "root"); err != nil {
		t.Fatal(err)
	}
	f.ended(bob, f.start(bob, "true").ID)
	if got := owners(eventsUntil(t, s, httpapi.JobEnded)); got != "- bob bob bob" {
		t.Errorf("after: events of %s", got)
	}
}

// TestEventsShutdown: what has happened before is told before the end, and the end
// says where to go on.
func TestEventsShutdown(t *testing.T) {
	f := newFixture(t, nil)
	c := f.client("alice", admin)
	s := f.watch(c, 0)
	f.start(c, "sleep 1000")
	f.worker.Terminate("alice")
	if err := f.worker.Drain(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := f.server.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	list := eventsUntil(t, s, httpapi.JobEnded)
	if v := list[len(list)-1].Verdict; v.Reason != httpapi.Stopped || v.By != "(shutdown)" {
		t.Errorf("verdict %+v", v)
	}
	if e, err := s.Next(); err != io.EOF {
		t.Errorf("after the last event: %+v, %v, want EOF", e, err)
	}
	if s.Position() != f.worker.Info().Event {
		t.Errorf("position %d, want %d", s.Position(), f.worker.Info().Event)
	}
}
