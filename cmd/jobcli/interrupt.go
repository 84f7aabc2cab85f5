package main

import (
	"context"
	"errors"
	"os"
	"sync"

	"jobworker/httpapi"
)

// errLeft means that the user left the job running.
var errLeft = errors.New("left running")

// An interrupter makes of signals to run what they mean for its job:
//
//	                  first        second    third
//	SIGINT            SIGINT       stop      leave it running
//	SIGTERM, SIGHUP   stop         leave it running
//
// A job of an embedded worker cannot be left: there the last step kills it.
//
// Two kinds of goroutine belong to it, and close waits for both: one that reads the
// signals, and one for each request, because a stop takes as long as the job does.
type interrupter struct {
	ctx     context.Context // of the whole command
	started chan string     // takes the job's id, once; holds it until it is read

	cancel context.CancelCauseFunc
	env    *env
	client *httpapi.Client
	local  bool
	quiet  bool
	work   sync.WaitGroup
}

func newInterrupter(ctx context.Context, e *env, c *httpapi.Client, s *start) *interrupter {
	k := &interrupter{env: e, client: c, local: s.local, quiet: s.quiet, started: make(chan string, 1)}
	k.ctx, k.cancel = context.WithCancelCause(ctx)
	k.work.Go(k.watch)
	return k
}

// close ends what is still under way and waits for it.
func (k *interrupter) close() {
	k.cancel(nil)
	k.work.Wait()
}

func (k *interrupter) watch() {
	id, step := "", 0
	for {
		select {
		case <-k.ctx.Done():
			return
		case id = <-k.started:
		case s := <-k.env.signals:
			if id == "" {
				id = k.pending()
			}
			if id == "" {
				k.cancel(interrupted{s})
				return
			}
			step = nextStep(step, s)
			k.take(step, id)
		}
	}
}

// pending is the id that came together with a signal.
func (k *interrupter) pending() string {
	select {
	case id := <-k.started:
		return id
	default:
		return ""
	}
}

const (
	forward = 1 + iota
	stopJob
	leave
)

func nextStep(step int, s os.Signal) int {
	if step == 0 && s != os.Interrupt {
		return stopJob
	}
	return min(step+1, leave)
}

func (k *interrupter) take(step int, id string) {
	last := "leave it running"
	if k.local {
		last = "kill it"
	}
	switch {
	case step == forward:
		k.note("SIGINT goes to job %s; interrupt again to stop it", id)
		k.request(id, func() error { return k.client.Signal(k.ctx, id, "SIGINT") })
	case step == stopJob:
		k.note("stopping job %s; interrupt again to %s", id, last)
		k.request(id, func() error { return k.stop(id, nil) })
	case k.local:
		k.note("killing job %s", id)
		k.request(id, func() error { return k.stop(id, new(httpapi.Duration(0))) })
	default:
		k.note("job %s is left running: jobcli stop %s ends it", id, id)
		k.cancel(errLeft)
	}
}

func (k *interrupter) stop(id string, grace *httpapi.Duration) error {
	_, err := k.client.Stop(k.ctx, id, httpapi.StopRequest{Grace: grace})
	return err
}

// request does one thing in the background. That the job is over, or run itself,
// is no failure.
func (k *interrupter) request(id string, do func() error) {
	k.work.Go(func() {
		err := do()
		if p, ok := errors.AsType[*httpapi.Problem](err); ok && p.Type == httpapi.TypeJobEnded || k.ctx.Err() != nil {
			return
		}
		k.env.complain(about(id, err))
	})
}

func (k *interrupter) note(format string, args ...any) {
	if !k.quiet {
		k.env.say(format, args...)
	}
}
