package job_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"jobworker/job"
)

// all returns a reader of everything that has happened to w.
func all(tb testing.TB, w *job.Worker) *job.Events {
	tb.Helper()
	e, err := w.Events(w.Info().Opened.UnixMicro() - 1)
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

// until returns the events up to the first of a type, and checks their numbers.
func until(tb testing.TB, e *job.Events, last string) (list []job.Event) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), limit)
	defer cancel()
	for {
		more, err := e.Next(ctx)
		if err != nil {
			tb.Fatalf("no %s after %s: %v", last, words(list), err)
		}
		for _, ev := range more {
			if n := len(list); n > 0 && (ev.Seq != list[n-1].Seq+1 || ev.Time.Before(list[n-1].Time)) {
				tb.Errorf("event %+v after %+v", ev, list[n-1])
			}
			list = append(list, ev)
		}
		if i := slices.IndexFunc(list, func(ev job.Event) bool { return ev.Type == last }); i >= 0 {
			return list[:i+1]
		}
	}
}

// words is what a list of events says, but for jobs, numbers and times.
func words(list []job.Event) string {
	var s []string
	for _, e := range list {
		w := e.Type
		for _, part := range []string{e.Signal, e.By} {
			if part != "" {
				w += " " + part
			}
		}
		if e.Verdict != nil {
			w += " " + e.Verdict.Reason
		}
		if e.Message != nil {
			w += fmt.Sprintf(" %q", *e.Message)
		}
		s = append(s, w)
	}
	return strings.Join(s, ", ")
}

// TestEventsOfAJob: each thing that happens to a job is an event, in the order in
// which it happens, and who sees the event finds it so.
func TestEventsOfAJob(t *testing.T) {
	w := openWorker(t, t.TempDir())
	e := all(t, w)
	s := sh("trap '' HUP; echo ready; exec sleep 1000")
	s.Name = "nightly"
	j := started(t, w, s)
	if err := w.Signal(j.ID, "HUP", "bob"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Stop(t.Context(), j.ID, job.StopOptions{By: "carol"}); err != nil {
		t.Fatal(err)
	}
	if err := w.Remove(t.Context(), j.ID, "dave"); err != nil {
		t.Fatal(err)
	}
	list := until(t, e, job.JobRemoved)
	const want = "worker.ready, job.created, job.started, job.signalled SIGHUP bob, job.signalled SIGTERM carol, job.ended stopped, job.removed dave"
	if got := words(list); got != want {
		t.Errorf("events %s\nwant   %s", got, want)
	}
	for _, ev := range list[1:] {
		if ev.Job != j.ID || ev.Owner != "alice" || ev.Name != "nightly" {
			t.Errorf("event %+v: want job %s of alice, nightly", ev, j.ID)
		}
	}
	if list[0].Seq != w.Info().Opened.UnixMicro() {
		t.Errorf("the first event is number %d; the worker was opened at %d µs", list[0].Seq, w.Info().Opened.UnixMicro())
	}
}

// TestEndedIsTheEnd: whoever reads job.ended can do with the job what wants one that
// is over, and its slot is free.
func TestEndedIsTheEnd(t *testing.T) {
	w := openWorker(t, t.TempDir(), func(c *job.Config) { c.MaxCalculates = 1 })
	for range 20 {
		e, err := w.Events(0)
		if err != nil {
			t.Fatal(err)
		}
		start(t, w, job.CalculateSpec(0, "x"))
		list := until(t, e, job.JobEnded)
		id := list[len(list)-1].Job
		if j, err := w.Status(id); err != nil || j.State != job.Ended {
			t.Fatalf("status after job.ended: %v, %v", j.State, err)
		}
		if i := w.Info(); i.Jobs != 0 || i.Calculating != 0 {
			t.Fatalf("after job.ended: %+v", i)
		}
		if err := w.Remove(t.Context(), id, "alice"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFailedStartIsNoEvent: what leaves no job leaves no trace of one.
func TestFailedStartIsNoEvent(t *testing.T) {
	w := openWorker(t, t.TempDir())
	before := w.Info().Event
	if _, _, err := w.Start(t.Context(), job.StartOptions{Owner: "alice", Spec: job.Spec{Argv: []string{"/no/such"}}}); err == nil {
		t.Fatal("started")
	}
	if after := w.Info(); after.Event != before || after.Jobs != 0 {
		t.Errorf("after a start that failed: %+v, before it was event %d", after, before)
	}
}

// TestEventNumbers: since goes on after any number there was, and nowhere else.
func TestEventNumbers(t *testing.T) {
	w := openWorker(t, t.TempDir(), func(c *job.Config) { c.History = 4 })
	first := w.Info().Event
	for i := range 9 {
		if _, err := w.SetReady(i%2 == 1, "bob"); err != nil {
			t.Fatal(err)
		}
	}
	newest := first + 9
	for n := first - 1; n <= newest+1; n++ {
		e, err := w.Events(n)
		if kept := n >= newest-4 && n <= newest; !kept {
			if !errors.Is(err, job.ErrEventsGone) {
				t.Errorf("events after %d of %d: %v, want ErrEventsGone", n, newest, err)
			}
			continue
		} else if err != nil {
			t.Errorf("events after %d: %v", n, err)
			continue
		}
		for want := n + 1; want <= newest; {
			list, err := e.Next(t.Context())
			if err != nil || list[0].Seq != want {
				t.Fatalf("after %d: %v, %v, want number %d", n, list, err, want)
			}
			want += int64(len(list))
		}
		if e.Position() != newest+1 {
			t.Errorf("after %d and all events: position %d, want %d", n, e.Position(), newest+1)
		}
	}
	for _, n := range []int64{-1, 1, 1 << 62, 1<<63 - 1, -1 << 63} {
		if _, err := w.Events(n); !errors.Is(err, job.ErrEventsGone) {
			t.Errorf("events after %d: %v, want ErrEventsGone", n, err)
		}
	}
}

// TestSlowReader: a reader that falls out of the history is told, and one that keeps
// up has everything.
func TestSlowReader(t *testing.T) {
	w := openWorker(t, t.TempDir(), func(c *job.Config) { c.History = 16 })
	slow, quick := all(t, w), all(t, w)
	seen := 0
	for i := range 100 {
		if _, err := w.SetReady(i%2 == 1, "bob"); err != nil {
			t.Fatal(err)
		}
		list, err := quick.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		seen += len(list)
	}
	for seen < 101 {
		list, err := quick.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		seen += len(list)
	}
	if list, err := slow.Next(t.Context()); !errors.Is(err, job.ErrEventsGone) {
		t.Errorf("the slow one: %v, %v, want ErrEventsGone", list, err)
	}
}

// TestEventReaders: many readers, each from another goroutine and with another
// start, see the same events while jobs come and go, and their end.
func TestEventReaders(t *testing.T) {
	w := openWorker(t, t.TempDir())
	var wg sync.WaitGroup
	lists := make([]string, 8)
	for i := range lists {
		e := all(t, w)
		wg.Go(func() {
			var list []job.Event
			for {
				more, err := e.Next(context.Background())
				if err != nil {
					if err != job.ErrClosed {
						t.Error(err)
					}
					break
				}
				list = append(list, more...)
			}
			for _, ev := range list {
				lists[i] += fmt.Sprintf("%d %s %s\n", ev.Seq, ev.Type, ev.Job)
			}
		})
	}
	for range 10 {
		wait(t, w, start(t, w, sh("true")).ID)
	}
	if err := w.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	for _, l := range lists {
		if l != lists[0] || strings.Count(l, "\n") != 1+10*3+1 || !strings.Contains(l, job.WorkerTerminating) {
			t.Fatalf("events\n%s\nand\n%s", lists[0], l)
		}
	}
}

// TestEventsWait: a reader waits no longer than its context, and keeps its place.
func TestEventsWait(t *testing.T) {
	w := openWorker(t, t.TempDir())
	e := all(t, w)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if list, err := e.Next(ctx); err != nil || words(list) != "worker.ready" {
		t.Errorf("what is there: %v, %v", list, err)
	}
	if list, err := e.Next(ctx); err != context.Canceled {
		t.Errorf("what is not: %v, %v", list, err)
	}
	if _, err := w.SetReady(false, "bob"); err != nil {
		t.Fatal(err)
	}
	if list, err := e.Next(t.Context()); err != nil || words(list) != "worker.unready bob" {
		t.Errorf("and then: %v, %v", list, err)
	}
}
