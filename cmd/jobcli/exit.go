package main

import (
	"fmt"
	"os"
	"syscall"

	"jobworker/httpapi"
)

// Exit statuses; see the package comment.
const (
	failed        = 1
	misused       = 2
	noSuchJob     = 3
	notAllowed    = 4
	unreachable   = 5
	timedOut      = 124
	unknown       = 125
	notExecutable = 126
	notFound      = 127
	bySignal      = 128
	outOfMemory   = bySignal + 9
	brokenPipe    = bySignal + 13
)

// exit is an error of which everything has been said, but for the exit status.
type exit int

func (x exit) Error() string { return fmt.Sprintf("exit status %d", int(x)) }

// status turns an exit status into an error that leads to it.
func status(code int) error {
	if code == 0 {
		return nil
	}
	return exit(code)
}

// interrupted ends a command for a signal to jobcli.
type interrupted struct{ signal os.Signal }

func (i interrupted) Error() string { return i.signal.String() }

func (i interrupted) code() int {
	if n, ok := i.signal.(syscall.Signal); ok {
		return bySignal + int(n)
	}
	return bySignal + int(syscall.SIGINT)
}

// verdictStatus is what run and wait exit with for a job that is over.
func verdictStatus(v *httpapi.Verdict) int {
	switch v.Reason {
	case httpapi.OOMKilled:
		return outOfMemory
	case httpapi.TimedOut:
		return timedOut
	case httpapi.Exited, httpapi.Signaled, httpapi.Stopped:
		if v.Code != nil {
			return *v.Code
		}
		if n, err := httpapi.ParseSignal(v.Signal); err == nil {
			return bySignal + n
		}
	}
	return unknown
}

// verdictText is a verdict in a few words, as in "exited 3" or "stopped by alice,
// SIGTERM".
func verdictText(v *httpapi.Verdict) string {
	s := v.Reason
	if v.By != "" {
		s += " by " + v.By
	}
	if v.Code != nil {
		s += fmt.Sprintf(", exit code %d", *v.Code)
	}
	if v.Signal != "" {
		s += ", " + v.Signal
	}
	if v.Stage != "" {
		s += ", stage " + v.Stage
	}
	if v.Error != "" {
		s += ": " + v.Error
	}
	return s
}

// tell says how a job ended, unless it ended by itself.
func (e *env) tell(id string, v *httpapi.Verdict) {
	if v.Reason != httpapi.Exited {
		e.say("job %s: %s", id, verdictText(v))
	}
}
