//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"jobworker/job"
)

// tellMessages prints the message of each calculate that comes to its end, from the
// first that this worker knows of, until the worker is closed.
func (d *daemon) tellMessages() {
	since := d.worker.Info().Opened.UnixMicro() - 1
	for {
		events, err := d.worker.Events(since)
		if err == nil {
			err = d.tell(events)
		}
		if !errors.Is(err, job.ErrEventsGone) {
			return // it is ErrClosed
		}
		d.log.Error("messages are lost: standard output is too slow", "error", err.Error())
		since = 0
	}
}

func (d *daemon) tell(events *job.Events) error {
	for {
		list, err := events.Next(context.Background())
		if err != nil {
			return err
		}
		for _, e := range list {
			if e.Message == nil {
				continue
			}
			if _, err := fmt.Fprintln(d.stdout, printable(*e.Message)); err != nil {
				d.log.Error("print message", "job", e.Job, "error", err.Error())
			}
		}
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
