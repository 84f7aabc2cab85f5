// Command jobcli drives a jobworker: it starts jobs, follows their output, stops
// them, controls workers from a console, and makes the certificates that both sides
// need.
//
//	jobcli COMMAND [flags] [arguments]
//
// # Streams
//
// Standard output carries data and nothing else: a job's output byte for byte,
// ids, tables, JSON. Everything that jobcli itself has to say goes to standard
// error, one line each, after "jobcli:". Names, arguments and messages of others
// are shown with their control characters escaped (CVE-2021-25743); a job's
// output passes unchanged.
//
// Standard input is read by run -i alone, and goes to the job byte for byte, its end
// too. When the job has enough or is over, run reads no more. What makes it impossible
// to give the job all of the input stops the job, which might take a part for all.
//
// # Exit status
//
// run and wait end as the job did: with its exit code, 124 when it timed out, 137
// when it ran out of memory, 128+n when signal n ended it, 127 when its program was
// not found, 126 when that could not be executed, and 125 when jobcli or the
// worker failed, the job was ended for the size of its output, or the result is not
// known. Of several jobs the first that is not 0 counts. Every other command ends with 0, or 1 refused or failed, 3 no such job,
// 4 not allowed, 5 worker not reachable. A mistake in the command line is 2 in all
// of them, an interrupt 130. A closed pipe on standard output is 141, as for a
// program that SIGPIPE ended.
//
// # Lost connections
//
// run and logs go on at the byte where a connection was cut, events after the event,
// and so does the input of run -i, of which the last 4 MiB are kept for that; nothing
// is lost and nothing comes twice. What a worker no longer knows, because it was
// started again or because jobcli was away for too long, events says it has lost.
// run sends a random idempotency key, so that a start whose
// answer got lost is asked for again without starting a second job. A worker that
// stays away is waited for 30 seconds.
//
// # The console
//
// jobcli console is the controller of one worker, or of several: -worker NAME=URL,
// repeated. It reads commands; help lists them. Words are quoted as in a shell, or a
// command is written as a call:
//
//	start  stop  terminate             the worker's state
//	ping                               pong and its clock; wants a ready worker
//	calculate 2.5 "hello world"        takes 2.5 s, then prints; calculate(2.5, "hello world")
//	run CMD ARG...                     a job; jobs, logs, status, cancel are for it
//	wait                               until all that was started here is over
//	@NAME COMMAND, @all COMMAND        for another worker than the one in the prompt; @NAME alone, for good
//
// Every command has a number, and every line of its reply begins with it. What was
// not asked for begins with the worker's name alone:
//
//	[4] worker1: job 7k3q… started     the reply to the fourth command
//	[4] worker1: calculate done after 2.5s: "hello world"
//	[worker1] unready, by bob          somebody changed its state
//	[worker1] job 5zrd… of bob over: exited, exit code 0
//
// The commands for one worker are sent in their order, the next when the reply to
// the one before is there; the end of a calculate or a job is no reply. The next can
// be typed at any time. logs, cancel and wait hold up none of the others.
//
// At a terminal the line can be edited as in a shell (arrows, ^A ^E ^U ^K ^W ^L),
// with the lines of before above it. ^C empties the line; on an empty one it breaks
// off logs, cancel and wait. ^D on an empty line and quit end the console, ^Z suspends
// it. With TERM=dumb, and on Windows, it reads plain lines.
//
// Input that is no terminal is a script: no prompt, errors go to standard error, and
// a command is read when the one before has its reply. With -e the first that fails
// ends it with status 1, or 5 where the worker was not reachable for 30 seconds.
//
// A worker that is not there, or goes away, is tried again until it is; the console
// says so. Then it tells what happened meanwhile, from the event after the last one
// it told of. Where the worker has lost these, because it was started again or keeps
// only the newest, it says that, and asks for each job that it has started itself.
// Jobs do not depend on a console, and any number of them may look at a worker.
//
// # Interrupts
//
// Ctrl-C in run sends the job SIGINT; a second one stops the job; a third leaves it
// running. SIGTERM and SIGHUP stop it at once. A reader that went away
// (jobcli run yes | head) stops it too. In every other command but a console at a
// terminal an interrupt ends jobcli.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	maybeInit()
	os.Exit(run(context.Background(), processEnv(), os.Args[1:]))
}

// processEnv is the world of the real process.
func processEnv() *env {
	// With SIGPIPE asked for, a write to a closed pipe fails with EPIPE and
	// does not end the process on the spot (see package os/signal): the
	// embedded worker of run -local has to clean up.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	signals := make(chan os.Signal, 8)
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(s) { // nohup and background jobs of a shell
			signal.Notify(signals, s)
		}
	}
	return &env{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		lookup: os.LookupEnv, signals: signals,
		patience: 30 * time.Second,
	}
}
