package main

import (
	"context"
	"math/rand/v2"
	"time"
)

// retry paces the attempts to reach a worker again and bounds them.
type retry struct {
	worker *worker
	env    *env
	quiet  bool

	met      bool      // the worker has answered once
	attempts int       // since the last progress
	giveUp   time.Time // valid when attempts > 0
}

const (
	firstPause = 100 * time.Millisecond
	maxPause   = 3 * time.Second
)

// progress notes that the worker is there.
func (r *retry) progress() {
	if r.attempts > 1 && !r.quiet {
		r.env.say("the worker is back")
	}
	r.met, r.attempts = true, 0
}

// pause blocks until it is time for another attempt after err. It returns err
// itself where another would not help: a refusal, or a worker that was not there
// in the first place.
func (r *retry) pause(ctx context.Context, err error) error {
	if r.attempts == 0 {
		err = r.worker.explain(ctx, r.env, err)
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !transient(err) || !r.met && r.attempts == 0 && neverThere(err):
		return err
	case r.attempts == 0:
		r.giveUp = time.Now().Add(r.env.patience)
	case time.Now().After(r.giveUp):
		return &errOutage{err}
	case r.attempts == 1 && !r.quiet:
		r.env.say("connection lost, trying again for up to %s: %v", r.env.patience, err)
	}
	pause := backoff(r.attempts, maxPause)
	r.attempts++
	select {
	case <-time.After(pause):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// backoff is the pause after so many attempts, at most most. Chance spreads out the
// clients of a worker that restarts.
func backoff(attempts int, most time.Duration) time.Duration {
	pause := min(firstPause<<min(attempts, 10), most)
	return pause/2 + rand.N(pause/2)
}
