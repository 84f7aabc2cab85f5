package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"jobworker/httpapi"
	"jobworker/stream"
)

// What the orders do, in the order of their table.

func startWorker(ctx context.Context, k *call) error {
	return k.change(k.link.client.StartWorker(ctx))
}

func stopWorker(ctx context.Context, k *call) error {
	return k.change(k.link.client.StopWorker(ctx))
}

func terminateWorker(ctx context.Context, k *call) error {
	return k.change(k.link.client.TerminateWorker(ctx))
}

// change replies with the state that a worker has now.
func (k *call) change(w httpapi.WorkerChange, err error) error {
	if err != nil {
		return err
	}
	if w.Changed {
		k.reply("%s", w.State)
	} else {
		k.reply("%s, as it was", w.State)
	}
	return nil
}

func pingWorker(ctx context.Context, k *call) error {
	now, err := k.link.client.Ping(ctx)
	if err != nil {
		return err
	}
	k.reply("pong %d", now)
	return nil
}

func calculate(ctx context.Context, k *call) error {
	seconds, err := parseSeconds(k.args[0])
	if err != nil {
		return err
	}
	message := k.args[1]
	if n := len(message); n > httpapi.MaxMessage {
		return fmt.Errorf("the message has %d bytes: at most %d", n, httpapi.MaxMessage)
	}
	return k.link.launch(k, &started{what: "calculate", message: &message}, func() (httpapi.Job, error) {
		return k.link.client.Calculate(ctx, httpapi.CalculateRequest{Seconds: seconds, Message: message}, rand.Text())
	})
}

// parseSeconds reads a time in seconds, from 0 up. strconv reads "NaN", "inf" and
// "0x1p-2" as well. How long is too long is for the worker to say.
func parseSeconds(text string) (float64, error) {
	v, err := strconv.ParseFloat(text, 64)
	switch {
	case strings.Trim(text, "0123456789.eE+-") != "" || err != nil && !errors.Is(err, strconv.ErrRange):
		return 0, fmt.Errorf("seconds: %q: must be a number of seconds, as in 2.5", text)
	case err != nil:
		return 0, fmt.Errorf("seconds: %q: is too large a number", text)
	case v < 0:
		return 0, fmt.Errorf("seconds: %q: must be 0 seconds or more", text)
	}
	return max(v, 0), nil // and not -0
}

func runJob(ctx context.Context, k *call) error {
	spec := httpapi.Spec{Argv: k.args}
	if err := spec.Validate(); err != nil {
		return err
	}
	return k.link.launch(k, new(started), func() (httpapi.Job, error) {
		return k.link.client.Start(ctx, spec, rand.Text())
	})
}

func listJobs(ctx context.Context, k *call) error {
	states := []httpapi.State{httpapi.Starting, httpapi.Running, httpapi.Stopping}
	if len(k.args) > 0 {
		if k.args[0] != everyone {
			return fmt.Errorf("%q: jobs takes nothing, or all", k.args[0])
		}
		states = []httpapi.State{""}
	}
	jobs, err := list(ctx, k.link.client, states, nil)
	if err != nil {
		return err
	}
	if len(jobs) == 0 {
		k.reply("no jobs")
		return nil
	}
	var b strings.Builder
	if err := table(&b, jobs, time.Now()); err != nil {
		return err
	}
	k.replyLines(b.String())
	return nil
}

func showLogs(ctx context.Context, k *call) error {
	s, err := k.link.client.Output(ctx, k.args[0], httpapi.OutputOptions{})
	if err != nil {
		return err
	}
	defer s.Close()
	out := &outputLines{call: k}
	for {
		f, err := s.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		out.frame(f)
	}
}

// outputLines cuts a job's output into lines of a reply.
type outputLines struct {
	*call
	rest []byte // of a line that has not ended
	size int
}

func (o *outputLines) frame(f stream.Frame) {
	switch f.Type {
	case stream.TypeOutput:
		o.size += len(f.Data)
		o.rest = append(o.rest, f.Data...)
		o.show(1 + bytes.LastIndexByte(o.rest, '\n'))
		if len(o.rest) > maxLine {
			o.show(len(o.rest))
		}
	case stream.TypeGap:
		o.show(len(o.rest))
		o.reply("(%d bytes are missing: %s)", f.Bytes, f.Reason)
	case stream.TypeEnd:
		o.show(len(o.rest))
		more := "the job is over"
		if f.Reason != stream.EndComplete {
			more = "the job goes on"
		}
		o.reply("(%d bytes, %s)", o.size, more)
	}
}

// show writes the first n bytes, with a tab as spaces.
func (o *outputLines) show(n int) {
	if n > 0 {
		text := strings.ReplaceAll(string(o.rest[:n]), "\r\n", "\n")
		o.replyLines(strings.ReplaceAll(text, "\t", "    "))
		o.rest = append(o.rest[:0], o.rest[n:]...)
	}
}

func cancelJob(ctx context.Context, k *call) error {
	j, err := k.link.client.Stop(ctx, k.args[0], httpapi.StopRequest{})
	if err != nil {
		return err
	}
	k.reply("job %s over: %s", j.ID, verdictText(j.Verdict))
	return nil
}

func showStatus(ctx context.Context, k *call) error {
	if len(k.args) > 0 {
		j, err := k.link.client.Status(ctx, k.args[0])
		if err != nil {
			return err
		}
		var b strings.Builder
		if err := describe(&b, j); err != nil {
			return err
		}
		k.replyLines(strings.TrimSpace(b.String()))
		return nil
	}
	w, err := k.link.client.Worker(ctx)
	if err != nil {
		return err
	}
	k.reply("state        %s", w.State)
	k.reply("jobs         %d, %d of them calculates", w.Jobs, w.Calculating)
	k.reply("started      %s", w.StartedAt.Local().Format(time.RFC3339))
	return nil
}

// waitForAll waits for the replies to what was typed before, which may name jobs,
// and then asks for each job by itself: the events of a worker that is away do not
// come.
func waitForAll(ctx context.Context, k *call) error {
	for _, l := range k.console.links {
		select {
		case <-l.passed():
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		for _, id := range l.unsettled() {
			j, err := await(ctx, l.client, id, retry{worker: l.worker, env: k.console.env, quiet: true, met: true})
			if err := l.settle(id, j, err); err != nil {
				return fmt.Errorf("%s: %w", l.name, about(id, err))
			}
		}
	}
	k.reply("all is over")
	return nil
}

func listWorkers(_ context.Context, k *call) error {
	c := k.console
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, l := range c.links {
		mark := " "
		if l == c.currentLink() {
			mark = "*"
		}
		fmt.Fprintf(t, "%s %s\t%s\t%s\n", mark, l.name, l.stateNow(), l.worker.address(c.env))
	}
	t.Flush()
	k.replyLines(b.String())
	return nil
}

func useWorker(_ context.Context, k *call) error {
	l, err := k.console.find(k.args[0])
	if err != nil {
		return err
	}
	k.console.use(l)
	k.reply("commands go to %s", l.name)
	return nil
}

func showHelp(_ context.Context, k *call) error {
	if len(k.args) > 0 {
		o, err := findOrder(k.args[0])
		if err != nil {
			return err
		}
		k.reply("%s", strings.TrimSpace(o.name+" "+o.synopsis))
		k.reply("%s", o.help)
		return nil
	}
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, o := range orders() {
		fmt.Fprintf(t, "%s %s\t%s\n", o.name, o.synopsis, o.help)
	}
	t.Flush()
	k.replyLines(b.String() + helpForms)
	return nil
}

const helpForms = `
Words are quoted as in a shell. A command may be written as a call too, with strings
as in Go: calculate(2.5, "hello world"). @NAME before it sends it to that worker,
@all to all of them. # begins a comment.`

func quit(context.Context, *call) error { return errQuit }
