package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// env is all that a command touches of the process around it, so that tests run
// commands in process.
type env struct {
	stdin          io.Reader                        // of run -i and console; a Read may be left behind
	stdout, stderr io.Writer                        // written to by one or more goroutines at once
	lookup         func(name string) (string, bool) // an environment variable
	signals        <-chan os.Signal                 // asks jobcli to end
	patience       time.Duration                    // how long a worker that went away is waited for
}

// run executes one command line, without the program's name, and returns the
// status to exit with.
func run(ctx context.Context, e *env, args []string) int {
	cmd, args, err := find(args)
	if err != nil {
		return e.fail(err, failed)
	}
	act, args, err := cmd.parse(args)
	if err == nil {
		err = cmd.call(ctx, e, act, args)
	}
	if u, ok := errors.AsType[*usageError](err); ok {
		u.command = cmp.Or(u.command, cmd.name)
	}
	return e.fail(err, cmd.failure())
}

// call runs the action, which a signal ends unless the command sees to that itself.
func (c *command) call(ctx context.Context, e *env, act action, args []string) error {
	if c.signals {
		return act(ctx, e, args)
	}
	ctx, stop := e.interruptible(ctx)
	defer stop()
	err := act(ctx, e, args)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx) // and not what it made the action return
	}
	return err
}

// interruptible returns a context that the first signal ends. stop frees its
// goroutine and waits for it.
func (e *env) interruptible(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	done := make(chan struct{})
	go func() { // owned by stop
		defer close(done)
		select {
		case s := <-e.signals:
			cancel(interrupted{s})
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil); <-done }
}

// say writes one message for the user to standard error.
func (e *env) say(format string, args ...any) {
	fmt.Fprintf(e.stderr, "jobcli: %s\n", printable(fmt.Sprintf(format, args...)))
}

// complain tells an error that does not change how jobcli ends.
func (e *env) complain(err error) {
	if err != nil {
		e.say("%v", err)
	}
}
