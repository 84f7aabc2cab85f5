//go:build linux

// Command jobworker runs jobs for remote clients: package job behind the API of
// package httpapi.
//
// It prints one line on standard output when it serves,
//
//	jobworker: serving on https://127.0.0.1:43211
//
// then one for each calculate that comes to its end: its message, in which what is
// not printable is escaped. It logs to standard error, one JSON object a line; those
// with the message "audit" are the decisions of the policy, those with "event" what happened
// to jobs, and both go to the file of -audit-log where there is one. What that file does not
// take, on a full disk, goes to standard error. It refuses to start, with
// one line that says why and what to do, when it could not do all it promises.
//
// # Signals
//
//	SIGHUP           read certificates, revocation lists and policy again; what cannot be read leaves the old in force
//	SIGTERM, SIGINT  take no more jobs, stop those that run, end all streams, exit 0
//	a second one     exit 1 at once
//
// At SIGHUP the audit log goes on in the file that has its name by then.
//
// With -on-shutdown keep the jobs are not stopped: they go on, and so does the recording
// of their output, and the next daemon of the state directory takes them over, as it does
// when this one is killed. A client that terminates the worker always stops them, and
// does what SIGTERM does otherwise. A signal after that is the first.
//
// A service manager that asks for it, in NOTIFY_SOCKET, is told when the worker serves
// and when it begins to end, sd_notify(3).
//
// # Exit status
//
//	0  ended by a signal or a client, all jobs over
//	1  cannot start, or cannot go on; or not all jobs were over in time
//	2  a wrong flag or environment variable
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"jobworker/nsinit"
)

func main() {
	nsinit.MaybeRun() // in a job this process is its PID 1 or a calculate, and does not return
	// Without this a write to a standard output that nobody reads any more would be
	// the end. Ignored, the signal would be so in every process that is started.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT)
	os.Exit(run(context.Background(), env{os.Stdout, os.Stderr, os.Getenv, signals}, os.Args[1:]))
}

// env is all that run touches of its surroundings.
type env struct {
	stdout, stderr io.Writer
	getenv         func(string) string
	signals        <-chan os.Signal
}

// run is the daemon. The end of ctx is as SIGTERM.
func run(ctx context.Context, e env, args []string) int {
	o, err := parse(args, e.getenv)
	switch {
	case errors.Is(err, flag.ErrHelp):
		usage(e.stdout)
		return 0
	case err != nil:
	case o.version:
		fmt.Fprintln(e.stdout, "jobworker", version())
		return 0
	default:
		err = serve(ctx, e, o)
	}
	if err == nil {
		return 0
	}
	fmt.Fprintln(e.stderr, "jobworker:", err)
	if _, ok := errors.AsType[usageError](err); ok {
		fmt.Fprintln(e.stderr, "jobworker: -help lists the flags")
		return 2
	}
	return 1
}

func version() string {
	if b, ok := debug.ReadBuildInfo(); ok {
		return b.Main.Version
	}
	return "unknown"
}
