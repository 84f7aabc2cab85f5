//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"unicode"

	"jobworker/job"
)

// tell logs events and prints messages until the worker is closed. Neither waits for the
// other.
func (d *daemon) tell() {
	var followers sync.WaitGroup
	followers.Go(func() { d.follow("events are missing in the audit log: it is too slow", d.auditEvent) })
	followers.Go(func() { d.follow("messages are lost: standard output is too slow", d.tellMessage) })
	followers.Wait()
}

// follow has tell look at each event, from the first that this worker knows of, until the
// worker is closed. What is missed, because tell is too slow, is logged as lost.
func (d *daemon) follow(lost string, tell func(job.Event)) {
	since := d.worker.Info().Opened.UnixMicro() - 1
	for {
		events, err := d.worker.Events(since)
		for err == nil {
			var list []job.Event
			list, err = events.Next(context.Background())
			for _, e := range list {
				tell(e)
			}
		}
		if !errors.Is(err, job.ErrEventsGone) {
			return // it is ErrClosed
		}
		d.log.Error(lost, "error", err.Error())
		since = 0
	}
}

// tellMessage prints the message of a calculate that comes to its end.
func (d *daemon) tellMessage(e job.Event) {
	if e.Message == nil {
		return
	}
	if _, err := fmt.Fprintln(d.stdout, printable(*e.Message)); err != nil {
		d.log.Error("print message", "job", e.Job, "error", err.Error())
	}
}

// printable returns s as one line that cannot move the cursor, colour the terminal
// or pretend to be another line.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		q := strconv.QuoteRuneToASCII(r)
		b.WriteString(q[1 : len(q)-1])
	}
	return b.String()
}
