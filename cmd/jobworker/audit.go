//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"jobworker/authz"
	"jobworker/job"
)

// An auditLog is the file of -audit-log, to which whole lines are appended. What it does
// not take goes to or instead, so that a full disk costs no line and stops no client from
// ending jobs. It is safe for concurrent use.
type auditLog struct {
	name string
	or   io.Writer

	mu   sync.Mutex // guards the rest, for the time of a write
	file *os.File
	torn bool // the file ends in a part of a line
}

// openAuditLog opens the file, and makes it, for root alone, if it is not there.
func openAuditLog(name string, or io.Writer) (*auditLog, error) {
	f, err := openAppend(name)
	if err != nil {
		return nil, err
	}
	return &auditLog{name: name, or: or, file: f}, nil
}

// openAppend opens a regular file that nobody but its owner may write. O_NONBLOCK is
// for the FIFO that somebody may have put there: to open that would wait for a reader.
func openAppend(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = fmt.Errorf("%s: not a regular file", name)
	case info.Mode().Perm()&0o022 != 0:
		err = fmt.Errorf("%s: mode %04o: others may write to it, want 0600", name, info.Mode().Perm())
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// reopen goes on in the file that has the name now, or in the old one where that cannot be
// opened.
func (l *auditLog) reopen() error {
	f, err := openAppend(l.name)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	err = l.file.Close()
	l.file, l.torn = f, false
	return err
}

// Write appends p, a line.
func (l *auditLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.torn {
		if _, err := l.file.Write([]byte{'\n'}); err != nil {
			return l.or.Write(p)
		}
		l.torn = false
	}
	n, err := l.file.Write(p)
	if err == nil {
		return n, nil
	}
	l.torn = n > 0
	return l.or.Write(p)
}

// Close closes the file.
func (l *auditLog) Close() error { return l.file.Close() }

// openAudit makes the log of decisions and events: a file of its own, or that of the rest.
func (d *daemon) openAudit() error {
	if d.auditFile == "" {
		d.audit = authz.NewAudit(d.log)
		return nil
	}
	l, err := openAuditLog(d.auditFile, d.stderr)
	if err != nil {
		return fmt.Errorf("-audit-log: %w", err)
	}
	d.auditTo = l
	d.audit = authz.NewAudit(slog.New(authz.LogHandler(l)))
	return nil
}

// auditEvent logs what happened, and who caused it. Who starts a job is its owner; who
// ends it is in its verdict.
func (d *daemon) auditEvent(e job.Event) {
	entry := authz.Event{Seq: e.Seq, Type: e.Type, Job: e.Job, Owner: e.Owner, By: e.By, Signal: e.Signal}
	if e.Type == job.JobCreated || e.Type == job.JobStarted {
		entry.By = e.Owner
	}
	if v := e.Verdict; v != nil {
		entry.Verdict, entry.Code, entry.By, entry.Signal = v.Reason, v.Code, v.By, v.Signal
	}
	d.audit.Happened(context.Background(), entry)
}
