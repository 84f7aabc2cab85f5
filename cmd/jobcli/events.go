package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"

	"jobworker/httpapi"
)

func setupEvents(fs *flag.FlagSet) action {
	w, o := workerFlags(fs), outputFlags(fs, "text", noNotes)
	var since int64
	fs.Func("since", "begin after the event with this `NUMBER`, its seq in -o json (default: from now on)", func(v string) (err error) {
		if since, err = strconv.ParseInt(v, 10, 64); err != nil || since < 1 {
			return errors.New("must be a whole number, 1 or more")
		}
		return nil
	})
	return func(ctx context.Context, e *env, _ []string) error {
		return w.with(ctx, e, func(c *httpapi.Client) error {
			f := eventFeed{client: c, env: e, json: o.json, since: since, retry: retry{worker: w, env: e, quiet: o.quiet}}
			return f.run(ctx)
		})
	}
}

// An eventFeed shows what happens on a worker, over as many connections as that
// takes. Each goes on after the event at which the one before was cut.
type eventFeed struct {
	client *httpapi.Client
	env    *env
	json   bool
	since  int64 // number to go on after; 0: from now on
	retry  retry
}

// run shows events until ctx ends, or until the worker has been away for too long.
func (f *eventFeed) run(ctx context.Context) error {
	for {
		if err := f.retry.pause(ctx, f.connection(ctx)); err != nil {
			return err
		}
	}
}

// connection shows what one connection gives. Its error is never nil.
func (f *eventFeed) connection(ctx context.Context) error {
	s, err := f.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	f.retry.progress()
	for {
		e, err := s.Next()
		if n := s.Position(); n != 0 {
			f.since = n
		}
		if errors.Is(err, io.EOF) {
			return errShutdown
		}
		if err != nil {
			return err
		}
		if err := f.show(e); err != nil {
			return err
		}
	}
}

// open begins a stream. Where the worker no longer has what comes next, because that
// was too long ago or because it is another worker by now, the user is told.
func (f *eventFeed) open(ctx context.Context) (*httpapi.EventStream, error) {
	s, err := f.client.Events(ctx, f.since)
	if p, ok := errors.AsType[*httpapi.Problem](err); !ok || p.Type != httpapi.TypeEventsGone {
		return s, err
	}
	if s, err = f.client.Events(ctx, 0); err == nil {
		f.env.say("events after number %d are lost, going on from now: the worker was started again, or has forgotten them", f.since)
		f.since = 0
	}
	return s, err
}

func (f *eventFeed) show(e httpapi.Event) error {
	if f.json {
		return writeJSON(f.env.stdout, e)
	}
	_, err := fmt.Fprintln(f.env.stdout, printable(eventText(e)))
	return written(err)
}

// eventText is an event in one line: when, what, which job, and the rest in words.
func eventText(e httpapi.Event) string {
	words := []string{e.Time.UTC().Format("2006-01-02T15:04:05.000Z"), fmt.Sprintf("%-18s", e.Type)}
	for _, w := range []struct{ before, text string }{
		{"", e.Job}, {"", e.Name}, {"of ", e.Owner}, {"", e.Signal}, {"by ", e.By},
	} {
		if w.text != "" {
			words = append(words, w.before+w.text)
		}
	}
	if e.Verdict != nil {
		words = append(words, verdictText(e.Verdict))
	}
	line := strings.TrimRight(strings.Join(words, " "), " ")
	if e.Message != nil {
		line += ": " + *e.Message
	}
	return line
}
