package main

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"jobworker/httpapi"
)

// An input copies our standard input to the job's, over as many connections as that
// takes. Each goes on where the worker says that the one before had come to:
//
//	PUT stdin?offset=N     cut
//	GET status             stdin_bytes M
//	PUT stdin?offset=M     again from there, out of the window
//
// A job that does not want it any more ends it without a word. Anything else ends
// the command, with fail: a job must not wait for an input that does not come, nor
// take a part of it for all.
type input struct {
	client *httpapi.Client
	fail   context.CancelCauseFunc
	retry  retry

	window *window
	work   sync.WaitGroup
	cancel context.CancelFunc
}

// inputError is why the job cannot be given all of our standard input.
type inputError struct{ err error }

func (i *inputError) Error() string { return "standard input: " + i.err.Error() }
func (i *inputError) Unwrap() error { return i.err }

// inputFailed reports whether err is an inputError, of a worker that is there.
func inputFailed(err error) bool {
	_, ok := errors.AsType[*inputError](err)
	return ok && !lost(err)
}

// begin starts the copy.
func (in *input) begin(ctx context.Context, id string) {
	ctx, in.cancel = context.WithCancel(ctx)
	in.window = newWindow(in.retry.env.stdin)
	in.work.Go(func() {
		if err := in.copy(ctx, id); err != nil && ctx.Err() == nil {
			in.fail(&inputError{err})
		}
	})
}

// close ends the copy, if it was begun, and waits for it.
func (in *input) close() {
	if in.window == nil {
		return
	}
	in.cancel()
	in.window.stop()
	in.work.Wait()
}

// steady is how long a request must have lasted not to be one of a row of failures.
const steady = 30 * time.Second

func (in *input) copy(ctx context.Context, id string) error {
	for offset := int64(0); ; {
		p, err := in.window.from(offset)
		if err != nil {
			return err
		}
		began := time.Now()
		_, err = in.client.Stdin(ctx, id, offset, p)
		if err == nil || unwanted(err) {
			return nil
		}
		if err := in.window.failure(); err != nil {
			return err
		}
		if time.Since(began) > steady {
			in.retry.progress()
		}
		accepted, err := in.accepted(ctx, id, err)
		if err != nil {
			return err
		}
		if accepted > offset {
			in.retry.progress()
		}
		offset = accepted
	}
}

// accepted waits until the worker is there again, after err, and returns how much
// of the input it has.
func (in *input) accepted(ctx context.Context, id string, err error) (int64, error) {
	for {
		if err := in.retry.pause(ctx, err); err != nil {
			return 0, err
		}
		var j httpapi.Job
		if j, err = in.client.Status(ctx, id); err == nil {
			return j.StdinBytes, nil
		}
	}
}

// unwanted reports whether err means that the job takes no more.
func unwanted(err error) bool {
	p, ok := errors.AsType[*httpapi.Problem](err)
	return ok && slices.Contains([]string{httpapi.TypeStdinClosed, httpapi.TypeJobEnded, httpapi.TypeNotFound}, p.Type)
}
