package main

import (
	"strings"
	"testing"
	"time"

	"jobworker/job"
)

// TestEventsResume: a connection that breaks costs no event, none comes twice, and
// what the worker has forgotten meanwhile is said to be lost.
func TestEventsResume(t *testing.T) {
	s := newSite(t)
	addr, stop := s.server(t, "127.0.0.1:0")
	s.addr = addr
	c := s.terminal("alice")
	code := c.start(t, "events", "-since", s.variables()["EVENT"])
	s.ready(t, false, "first")
	c.out.await(t, "by first\n")

	stop()
	c.err.await(t, "jobcli: connection lost, trying again for up to 20s: ")
	s.ready(t, true, "second")
	s.ready(t, false, "third")
	_, stop = s.server(t, addr)
	c.out.await(t, "by third\n")
	c.err.await(t, "jobcli: the worker is back\n")

	stop()
	for i := range job.DefaultHistory + 1 {
		s.ready(t, i%2 == 0, "crowd")
	}
	_, stop = s.server(t, addr)
	defer stop()
	c.err.await(t, "are lost, going on from now: ")
	s.ready(t, false, "last")
	c.out.await(t, "by last\n")
	c.signals <- interruptSignal
	if code := code(); code != 130 {
		t.Errorf("status %d\n%s", code, c.err)
	}
	var who []string
	for line := range strings.Lines(c.out.String()) {
		_, by, _ := strings.Cut(strings.TrimSpace(line), "by ")
		who = append(who, by)
	}
	if got := strings.Join(who, " "); got != "first second third last" {
		t.Errorf("events by %s:\n%s", got, c.out)
	}
}

// ready changes the state of the site's worker.
func (s *site) ready(t *testing.T, ready bool, by string) {
	t.Helper()
	if changed, err := s.worker.SetReady(ready, by); err != nil || !changed {
		t.Fatalf("ready %v by %s: %v, %v", ready, by, changed, err)
	}
}

// TestEventsEnd: a worker that goes down is waited for, and not for ever.
func TestEventsEnd(t *testing.T) {
	s := newSite(t)
	addr, stop := s.server(t, "127.0.0.1:0")
	s.addr = addr
	c := s.terminal("alice")
	c.patience = 300 * time.Millisecond
	code := c.start(t, "events", "-since", s.variables()["EVENT"])
	s.ready(t, false, "first")
	c.out.await(t, "by first\n")
	stop()
	if code := code(); code != 5 || !strings.Contains(c.err.String(), "the worker does not come back") {
		t.Errorf("status %d\n%s", code, c.err)
	}
}

// TestEventsOfACalculate: its message is the event's, and cannot play with the
// terminal.
func TestEventsOfACalculate(t *testing.T) {
	s := newSite(t)
	j, _, err := s.worker.Start(t.Context(), job.StartOptions{Owner: "bob", Spec: job.CalculateSpec(0, "a\x1b[2J\nb\u202ec")})
	if err != nil {
		t.Fatal(err)
	}
	c := s.terminal("alice")
	if code := c.run(t.Context(), "status", j.ID); code != 0 || !strings.Contains(c.out.String(), " (built in)\n") {
		t.Errorf("status: %d\n%s", code, c.out)
	}
	c.start(t, "events", "-since", s.variables()["EVENT"])
	c.start(t, "events", "-since", s.variables()["EVENT"], "-o", "json")
	c.out.await(t, `of bob exited, exit code 0: a\x1b[2J\nb\u202ec`+"\n")
	c.out.await(t, `"verdict":{"reason":"exited","code":0},"message":"a\u001b[2J\nb`)
}
