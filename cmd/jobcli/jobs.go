package main

import (
	"context"
	"flag"
	"fmt"
	"time"

	"jobworker/httpapi"
)

func setupStop(fs *flag.FlagSet) action {
	w, o := workerFlags(fs), outputFlags(fs, "text", noNotes)
	var r httpapi.StopRequest
	fs.Func("t", "grace `TIME` before the end by force, as in 10s (default: the job's own)", func(v string) error {
		return setGrace(&r.Grace, v)
	})
	signalFlag(fs, &r.Signal, "`SIGNAL` that asks the job to end (default: the job's own)")
	return func(ctx context.Context, e *env, ids []string) error {
		return w.each(ctx, e, ids, failed, func(c *httpapi.Client, id string) error {
			j, err := c.Stop(ctx, id, r)
			if err != nil || !o.json {
				return err
			}
			return writeJSON(e.stdout, j)
		})
	}
}

func setupKill(fs *flag.FlagSet) action {
	w, _ := workerFlags(fs), quietFlag(fs)
	signal := "SIGKILL"
	signalFlag(fs, &signal, "`SIGNAL` to send, by name or number (default SIGKILL)")
	return func(ctx context.Context, e *env, ids []string) error {
		return w.each(ctx, e, ids, failed, func(c *httpapi.Client, id string) error {
			return c.Signal(ctx, id, signal)
		})
	}
}

func signalFlag(fs *flag.FlagSet, to *string, usage string) {
	fs.Func("s", usage, func(v string) error {
		_, err := httpapi.ParseSignal(v)
		*to = v
		return err
	})
}

func setupWait(fs *flag.FlagSet) action {
	w, o := workerFlags(fs), outputFlags(fs, "text", noNotes)
	var limit httpapi.Duration
	fs.Func("timeout", "wait no longer than this `TIME` for all of them; the status is then 125", func(v string) (err error) {
		limit, err = parseTime(v)
		return err
	})
	return func(ctx context.Context, e *env, ids []string) error {
		if d := time.Duration(limit); d > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(ctx, d, fmt.Errorf("wait: not over after %s", d))
			defer cancel()
		}
		return w.each(ctx, e, ids, unknown, func(c *httpapi.Client, id string) error {
			j, err := await(ctx, c, id, retry{worker: w, env: e, quiet: o.quiet})
			if err != nil {
				return err
			}
			return o.result(e, j)
		})
	}
}

// await blocks until the job is over, over as many requests and connections as that
// takes.
func await(ctx context.Context, c *httpapi.Client, id string, again retry) (httpapi.Job, error) {
	for {
		j, err := c.Wait(ctx, id, httpapi.MaxWait)
		if err == nil && j.Verdict != nil {
			return j, nil
		}
		if err == nil {
			again.progress()
			continue
		}
		if err := again.pause(ctx, err); err != nil {
			return j, err
		}
	}
}

// result shows how a job ended, and is the exit status for that.
func (o *output) result(e *env, j httpapi.Job) error {
	if !o.quiet {
		e.tell(j.ID, j.Verdict)
	}
	if o.json {
		if err := writeJSON(e.stdout, j); err != nil {
			return err
		}
	}
	return status(verdictStatus(j.Verdict))
}

func setupRm(fs *flag.FlagSet) action {
	w, _ := workerFlags(fs), quietFlag(fs)
	force := fs.Bool("f", false, "kill jobs that are not over first")
	return func(ctx context.Context, e *env, ids []string) error {
		return w.each(ctx, e, ids, failed, func(c *httpapi.Client, id string) error {
			if *force {
				if _, err := c.Stop(ctx, id, httpapi.StopRequest{Grace: new(httpapi.Duration(0))}); err != nil {
					return err
				}
			}
			return c.Remove(ctx, id)
		})
	}
}
