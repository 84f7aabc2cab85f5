package job_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"jobworker/job"
)

// TestStates: what each change of the worker's state answers, does and tells.
func TestStates(t *testing.T) {
	w := openWorker(t, t.TempDir(), func(c *job.Config) { c.Unready = true })
	e := all(t, w)
	running := func() error {
		_, _, err := w.Start(t.Context(), job.StartOptions{Owner: "alice", Spec: sh("exec sleep 1000")})
		return err
	}
	set := func(ready bool) func() (bool, error) {
		return func() (bool, error) { return w.SetReady(ready, "bob") }
	}
	terminate := func() (bool, error) { return w.Terminate("carol"), nil }
	for i, step := range []struct {
		do      func() (bool, error)
		changed bool
		err     error
		state   job.WorkerState
		start   error // of a job, then
	}{
		{set(false), false, nil, job.Unready, job.ErrUnready},
		{set(true), true, nil, job.Ready, nil},
		{set(true), false, nil, job.Ready, nil},
		{set(false), true, nil, job.Unready, job.ErrUnready},
		{terminate, true, nil, job.Terminating, job.ErrClosed},
		{terminate, false, nil, job.Terminating, job.ErrClosed},
		{set(true), false, job.ErrClosed, job.Terminating, job.ErrClosed},
		{set(false), false, job.ErrClosed, job.Terminating, job.ErrClosed},
	} {
		changed, err := step.do()
		if changed != step.changed || err != step.err || w.State() != step.state {
			t.Errorf("step %d: changed %v, %v, state %s; want %+v", i, changed, err, w.State(), step)
		}
		if err := running(); !errors.Is(err, step.start) {
			t.Errorf("step %d: start: %v, want %v", i, err, step.start)
		}
	}
	const want = "worker.unready, worker.ready bob, job.created, job.started, job.created, job.started, worker.unready bob, worker.terminating carol"
	if got := words(until(t, e, job.WorkerTerminating)); got != want {
		t.Errorf("events %s\nwant   %s", got, want)
	}
	if i := w.Info(); i.Jobs != 2 {
		t.Errorf("%+v: want that the two jobs go on", i)
	}
}

// TestDrain: jobs are ended, and what there is to know about them is there after.
func TestDrain(t *testing.T) {
	w := openWorker(t, t.TempDir())
	e := all(t, w)
	polite := started(t, w, sh("trap 'exit 5' TERM; echo ready; while :; do sleep .01; done"))
	deaf := started(t, w, sh("trap '' TERM; echo ready; while :; do sleep .01; done"))
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := w.Drain(ctx); err != nil {
			t.Error(err)
		}
	})
	if j := wait(t, w, polite.ID); verdict(j) != "stopped 5" || j.Verdict.By != "(shutdown)" {
		t.Errorf("the polite one: %+v", j.Verdict)
	}
	if j, err := w.Status(deaf.ID); err != nil || j.State != job.Stopping {
		t.Errorf("the deaf one: %v, %v: want that it has its grace period", j.State, err)
	}
	cancel()
	wg.Wait()
	if j, err := w.Status(deaf.ID); err != nil || verdict(j) != "stopped SIGKILL" {
		t.Errorf("the deaf one, after: %v, %v", verdict(j), err)
	}
	if out := output(t, w, deaf.ID, ""); out != "ready\n" {
		t.Errorf("its output: %q", out)
	}
	if _, _, err := w.Start(t.Context(), job.StartOptions{Owner: "alice", Spec: sh("true")}); !errors.Is(err, job.ErrClosed) {
		t.Errorf("start: %v, want ErrClosed", err)
	}
	if err := w.Drain(t.Context()); err != nil {
		t.Errorf("once more: %v", err)
	}
	if err := w.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := w.Shutdown(t.Context()); err != job.ErrClosed {
		t.Errorf("shut down twice: %v, want ErrClosed", err)
	}
	events := 0
	for {
		list, err := e.Next(t.Context())
		if err == job.ErrClosed {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		events += len(list)
	}
	if want := 1 + 2*4 + 1; events != want { // ready; created, started, signalled, ended; terminating
		t.Errorf("%d events, want %d", events, want)
	}
}

// TestShutdownDuringStarts: a job that is being started when there is no time left is
// ended like the others.
func TestShutdownDuringStarts(t *testing.T) {
	for range 5 {
		w := openWorker(t, t.TempDir())
		e := all(t, w)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					_, _, err := w.Start(context.Background(), job.StartOptions{Owner: "alice", Spec: sh("trap '' TERM; while :; do sleep 1000; done")})
					if errors.Is(err, job.ErrClosed) {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		until(t, e, job.JobStarted)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := w.Drain(ctx); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if i := w.Info(); i.Jobs != 0 {
			t.Errorf("%d jobs are left", i.Jobs)
		}
	}
}
