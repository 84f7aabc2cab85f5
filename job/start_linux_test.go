package job_test

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"jobworker/job"
)

// TestSnapshots: a Job does not change with the job, and the job not with the
// Spec it was made of.
func TestSnapshots(t *testing.T) {
	w := openWorker(t, t.TempDir())
	s := sh("echo ready; read line; exit 3")
	s.Env, s.Labels, s.Grace = map[string]string{"A": "1"}, map[string]string{"k": "v"}, duration(time.Second)
	first := start(t, w, s)
	before, err := json.Marshal(first)
	if err != nil {
		t.Fatal(err)
	}
	s.Argv[0], s.Env["A"], s.Labels["k"], *s.Grace = "x", "x", "x", 0
	last := wait(t, w, first.ID)
	if after, err := json.Marshal(first); err != nil || string(after) != string(before) {
		t.Errorf("the snapshot became %s, %v\n was %s", after, err, before)
	}
	if last.Argv[0] != "sh" || last.Env["A"] != "1" || last.Labels["k"] != "v" || *last.Grace != *duration(time.Second) {
		t.Errorf("the job's spec became %+v", last.Spec)
	}
	if first.Verdict != nil || first.EndedAt != nil || verdict(last) != "exited 3" {
		t.Errorf("verdicts %q and %q, want none and exited 3", verdict(first), verdict(last))
	}
}

// TestStartCanceledAnyTime: a start whose context ends has started a job and
// returns it, or the context's error and there is no job.
func TestStartCanceledAnyTime(t *testing.T) {
	w := openWorker(t, tmpfsDir(t))
	canceled := 0
	for range 50 {
		ctx, cancel := context.WithTimeout(t.Context(), rand.N(10*time.Millisecond))
		j, _, err := w.Start(ctx, job.StartOptions{Owner: "alice", Spec: job.Spec{Argv: []string{"true"}}})
		cancel()
		if err == nil {
			wait(t, w, j.ID)
			if err := w.Remove(t.Context(), j.ID, "bob"); err != nil {
				t.Fatal(err)
			}
			continue
		}
		canceled++
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("start: %v, want its context's error", err)
		}
		if jobs, _, err := w.List(job.Filter{}); err != nil || len(jobs) != 0 {
			t.Fatalf("a start that was canceled has left %+v, %v", jobs, err)
		}
	}
	t.Logf("%d of 50 starts were canceled", canceled)
}

// A hookedContext says when the start of a job's first process begins and when
// it is over: that is for how long it has a function to be called at the
// context's end.
type hookedContext struct {
	context.Context
	begun, over func()
}

// Value hides the context inside: package context would go to it directly.
func (c hookedContext) Value(any) any { return nil }

// AfterFunc is what context.AfterFunc calls.
func (c hookedContext) AfterFunc(f func()) (stop func() bool) {
	c.begun()
	inner := context.AfterFunc(c.Context, f)
	return func() bool {
		defer c.over()
		return inner()
	}
}

// TestStartCanceledTooLate: a job that runs is returned, not left behind.
func TestStartCanceledTooLate(t *testing.T) {
	w := openWorker(t, t.TempDir())
	for range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		hooked := hookedContext{ctx, func() {}, cancel}
		j, _, err := w.Start(hooked, job.StartOptions{Owner: "alice", Spec: sh("exit 3")})
		if err != nil {
			t.Fatalf("start: %v, and its job goes on", err)
		}
		if j := wait(t, w, j.ID); verdict(j) != "exited 3" || ctx.Err() == nil {
			t.Errorf("verdict %q, context %v", verdict(j), ctx.Err())
		}
	}
}

// TestStartCanceledByAnother: of two who start a job with one key, the end of
// one's context is not the other's.
func TestStartCanceledByAnother(t *testing.T) {
	w := openWorker(t, t.TempDir(), noSpare) // or the start may be over first
	for i := range 20 {
		opts := job.StartOptions{Owner: "alice", Key: strconv.Itoa(i), Spec: sh("exit 3")}
		ctx, cancel := context.WithCancel(t.Context())
		begun := make(chan struct{})
		hooked := hookedContext{ctx, func() { close(begun); cancel() }, func() {}}
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, _, err := w.Start(hooked, opts); !errors.Is(err, context.Canceled) {
				t.Errorf("start with a context that has ended: %v", err)
			}
		})
		<-begun
		if j, _, err := w.Start(t.Context(), opts); err != nil {
			t.Errorf("start with a context that has not: %v", err)
		} else if j = wait(t, w, j.ID); verdict(j) != "exited 3" {
			t.Errorf("verdict %q", verdict(j))
		}
		wg.Wait()
	}
}

// TestLargeKeyedStarts: starts that find their job by its key, and have much to compare,
// do not do it under the lock that everyone needs: a look at the worker does not wait for
// most of each.
func TestLargeKeyedStarts(t *testing.T) {
	w := openWorker(t, t.TempDir())
	size := 100 << 10 // six times that in JSON
	if raceBuilt() && os.Getenv("KERNELTEST") == "vm" {
		size = 10 << 10 // emulated
	}
	large := sh("exec sleep 1000")
	large.Argv = append(large.Argv, strings.Repeat("<", size))
	const n = 8
	var starts []time.Duration
	done := make(chan struct{})
	again := func() {
		begin := time.Now()
		if _, _, err := w.Start(t.Context(), job.StartOptions{Owner: "alice", Key: "k", Spec: large}); err != nil {
			t.Error(err)
		}
		starts = append(starts, time.Since(begin))
	}
	again()
	starts = nil // that was the one which starts it
	go func() {
		defer close(done)
		for range n {
			again()
		}
	}()
	var looks []time.Duration
	for over := false; !over; {
		begin := time.Now()
		w.Info()
		looks = append(looks, time.Since(begin))
		select {
		case <-done:
			over = true
		default:
		}
	}
	slices.Sort(starts)
	usual := starts[n/2]
	if long := slices.DeleteFunc(looks, func(d time.Duration) bool { return d < usual/2 }); len(long) >= n/2 {
		t.Errorf("beside %d starts of %v each, looks took %v", n, usual, long)
	}
}
