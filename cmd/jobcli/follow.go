package main

import (
	"context"
	"errors"
	"io"
	"time"

	"jobworker/httpapi"
)

// A follower keeps a link's state and tells what happens there, over as many
// connections as that takes:
//
//	first        GET /v1/worker          the state, and event number N that led to it
//	             GET /v1/events?since=N
//	again        GET /v1/events?since=M  M is the last event that was told
//	             GET /v1/worker
//	events-gone  as at first; then GET /v1/jobs/ID of the jobs that this console has
//	             started, for what ended unseen
//
// So nothing is missed but what the worker itself has forgotten, and nothing is
// told twice. It is for one goroutine.
type follower struct {
	*link
	since    int64  // number of the last event that was told, or is not for us; 0: begin at first
	attempts int    // that failed since the worker was there
	met      bool   // it was there once
	lost     bool   // it was said that it is not there
	hint     string // and what to do about that
}

// maxRefusedPause is the longest pause after an attempt that was refused: only an
// administrator can help then, and each is a line in the worker's log.
const maxRefusedPause = time.Minute

// run returns when ctx ends.
func (f *follower) run(ctx context.Context) {
	for {
		err := f.session(ctx)
		if ctx.Err() != nil {
			return
		}
		pause := backoff(f.attempts, maxPause)
		if f.lose(ctx, err); !transient(err) {
			pause = backoff(f.attempts, maxRefusedPause)
		}
		f.attempts++
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// session follows the worker over one connection and returns why that ended.
func (f *follower) session(ctx context.Context) error {
	events, state, err := f.open(ctx)
	if err != nil {
		return err
	}
	defer events.Close()
	f.gain(state)
	for {
		ev, err := events.Next()
		if err == nil {
			f.take(ev)
		}
		f.since = max(f.since, events.Position())
		if errors.Is(err, io.EOF) {
			return errShutdown
		}
		if err != nil {
			return err
		}
	}
}

func (f *follower) open(ctx context.Context) (*httpapi.EventStream, httpapi.WorkerState, error) {
	if f.since == 0 {
		return f.begin(ctx)
	}
	events, err := f.client.Events(ctx, f.since)
	if p, ok := errors.AsType[*httpapi.Problem](err); ok && p.Type == httpapi.TypeEventsGone {
		f.since = 0
		f.console.display.message(f.prefix(), "events are lost: the worker was started again, or has forgotten them; of the jobs that ended meanwhile only those started here are told of")
		return f.begin(ctx)
	}
	if err != nil {
		return nil, "", err
	}
	ctx, cancel := withReplyTime(ctx)
	defer cancel()
	w, err := f.client.Worker(ctx)
	if err != nil {
		events.Close()
	}
	return events, w.State, err
}

// begin follows the worker from now on, and tells of jobs of this console that
// ended before.
func (f *follower) begin(ctx context.Context) (*httpapi.EventStream, httpapi.WorkerState, error) {
	f.forget() // before the number is asked for: the events until then will not come
	limited, cancel := withReplyTime(ctx)
	defer cancel()
	w, err := f.client.Worker(limited)
	if err != nil {
		return nil, "", err
	}
	events, err := f.client.Events(ctx, w.Event)
	if err != nil {
		return nil, "", err
	}
	for _, id := range f.unsettled() {
		j, err := f.client.Status(limited, id)
		if err := f.settle(id, j, err); err != nil {
			events.Close()
			return nil, "", err
		}
	}
	f.since = w.Event
	return events, w.State, nil
}

func (f *follower) prefix() string { return "[" + f.name + "] " }

// gain notes that the worker is there.
func (f *follower) gain(state httpapi.WorkerState) {
	f.enter(string(state))
	switch {
	case f.lost && f.met:
		f.console.note(f.prefix(), "is back: "+string(state))
	case f.lost || !f.console.script:
		f.console.note(f.prefix(), "connected to "+f.worker.address(f.console.env)+": "+string(state))
	}
	f.attempted()
	f.attempts, f.lost, f.hint, f.met = 0, false, "", true
}

// attempted lets the commands go on that wait for the first attempt.
func (f *follower) attempted() {
	if !f.met && f.attempts == 0 {
		close(f.tried)
	}
}

// lose notes that the worker is not there, and says so once: again only where the
// reason is one that will not pass by itself.
func (f *follower) lose(ctx context.Context, err error) {
	f.enter(gone)
	if f.attempts == 0 {
		err = f.worker.explain(ctx, f.console.env, err)
	}
	d := diagnose(err)
	if !f.lost || !transient(err) && d.hint != f.hint {
		f.lost, f.hint = true, d.hint
		what := "connection lost, trying again: "
		if !f.met {
			what = "no connection, trying again: "
		}
		f.console.display.message(f.prefix(), what+err.Error())
		if hint := d.inConsole(); hint != "" {
			f.console.display.message(f.prefix()+"hint: ", hint)
		}
	}
	f.attempted()
}
