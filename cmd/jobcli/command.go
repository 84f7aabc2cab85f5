package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// An action does what a command line asks for, its flags taken off. Its error is
// told by env.fail.
type action func(ctx context.Context, e *env, args []string) error

// A command is one row of the table of commands.
type command struct {
	name     string // may be two words
	synopsis string // its arguments
	help     string // what it does, in one line
	min, max int    // how many arguments it takes; max < 0: any number

	// setup declares the command's flags and returns what to do once they
	// are parsed. The flags live in its closure.
	setup func(*flag.FlagSet) action

	words   bool // flags end at the first argument, the rest belongs to the job
	result  bool // the exit status is the job's, so a failure is 125
	signals bool // signals are the command's own business
}

// commands is the table; help shows it in this order.
func commands() []command {
	return []command{
		{name: "run", synopsis: "[flags] COMMAND [ARG...]", help: "start a job, show its output, exit with its code", min: 1, max: -1, setup: setupRun, words: true, result: true, signals: true},
		{name: "start", synopsis: "[flags] COMMAND [ARG...]", help: "start a job and print its id", min: 1, max: -1, setup: setupStart, words: true, signals: true},
		{name: "stop", synopsis: "[flags] ID...", help: "ask jobs to end, then make them; returns when they are over", min: 1, max: -1, setup: setupStop},
		{name: "kill", synopsis: "[flags] ID...", help: "send a signal to the main process of jobs", min: 1, max: -1, setup: setupKill},
		{name: "wait", synopsis: "[flags] ID...", help: "wait for jobs to end, exit with their code", min: 1, max: -1, setup: setupWait, result: true},
		{name: "ps", synopsis: "[flags]", help: "list jobs", setup: setupPs},
		{name: "status", synopsis: "[flags] ID...", help: "show everything about jobs", min: 1, max: -1, setup: setupStatus},
		{name: "logs", synopsis: "[flags] ID", help: "show a job's output", min: 1, max: 1, setup: setupLogs},
		{name: "events", synopsis: "[flags]", help: "show what happens to jobs and to the worker, as it happens", setup: setupEvents},
		{name: "rm", synopsis: "[flags] ID...", help: "forget ended jobs and their output", min: 1, max: -1, setup: setupRm},
		{name: "prune", synopsis: "[flags]", help: "forget all of your ended jobs, or those of some age or label", setup: setupPrune},
		{name: "console", synopsis: "[flags]", help: "control workers: read commands at a terminal or from a script", setup: setupConsole},
		{name: "whoami", synopsis: "[flags]", help: "show who the worker takes you for, and your rights", setup: setupWhoami},
		{name: "ping", synopsis: "[flags]", help: "ask whether the worker is there", setup: setupPing},
		{name: "tls init", synopsis: "-dir DIR -host NAME... -admin NAME", help: "make a CA, a server's and an administrator's certificate", setup: setupTLSInit},
		{name: "tls ca", synopsis: "-dir DIR", help: "make a CA alone", setup: setupTLSCA},
		{name: "tls cert", synopsis: "-dir DIR -name NAME -group GROUP...", help: "make a client's certificate", setup: setupTLSCert},
		{name: "tls revoke", synopsis: "-dir DIR [-name NAME] [-cert FILE]", help: "make the CA's next revocation list, with a user's certificates", setup: setupTLSRevoke},
		{name: "version", synopsis: "[flags]", help: "show the version of jobcli", setup: setupVersion},
		{name: "help", synopsis: "[COMMAND]", help: "show this, or one command with its flags", max: 2, setup: setupHelp},
	}
}

// failure is the status for an error that has none of its own.
func (c *command) failure() int {
	if c.result {
		return unknown
	}
	return failed
}

// find returns the command that args begin with, and its own arguments.
func find(args []string) (*command, []string, error) {
	if len(args) == 0 {
		return nil, nil, usage("", "no command given")
	}
	name, rest := args[0], args[1:]
	switch {
	case slices.Contains([]string{"-h", "-help", "--help"}, name):
		name = "help"
	case strings.HasPrefix(name, "-"):
		return nil, nil, usage("", "%s: the command comes first, then its flags", name)
	}
	table := commands()
	for i, c := range table {
		switch first, second, two := strings.Cut(c.name, " "); {
		case c.name == name:
			return &table[i], rest, nil
		case two && first == name && len(rest) > 0 && rest[0] == second:
			return &table[i], rest[1:], nil
		}
	}
	return nil, nil, unknownCommand(table, name)
}

func unknownCommand(table []command, name string) error {
	var close []string
	for _, c := range table {
		if distance(name, c.name) <= 1 || strings.HasPrefix(c.name, name+" ") {
			close = append(close, "jobcli "+c.name)
		}
	}
	if len(close) > 0 {
		return usage("", "%s: no such command; did you mean %s?", name, strings.Join(close, ", "))
	}
	return usage("", "%s: no such command", name)
}

// distance is 0 for equal words, 1 for one letter too many, missing, wrong or two
// swapped, 2 for anything else.
func distance(a, b string) int {
	if len(a) > len(b) {
		a, b = b, a
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	switch {
	case a == b:
		return 0
	case len(a) == len(b) && a[i+1:] == b[i+1:],
		len(a)+1 == len(b) && a[i:] == b[i+1:],
		len(a) == len(b) && i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && a[i+2:] == b[i+2:]:
		return 1
	}
	return 2
}

// parse takes the flags out of args and checks how many arguments are left.
func (c *command) parse(args []string) (action, []string, error) {
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	act := c.setup(fs)
	args, err := c.split(fs, args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return func(_ context.Context, e *env, _ []string) error { return c.show(e.stdout) }, nil, nil
	case err != nil:
		return nil, nil, usage(c.name, "%v", err)
	case len(args) < c.min:
		return nil, nil, usage(c.name, "argument missing: jobcli %s %s", c.name, c.synopsis)
	case c.max >= 0 && len(args) > c.max:
		return nil, nil, usage(c.name, "argument too many: %q", args[c.max])
	}
	return act, args, nil
}

// split parses the flags, wherever they are before a "--", unless the words after
// the first argument are the job's. The flag package stops at each argument.
func (c *command) split(fs *flag.FlagSet, args []string) (words []string, err error) {
	for {
		if err := fs.Parse(args); err != nil {
			return nil, err
		}
		rest := fs.Args()
		end := len(args) - len(rest)
		if c.words || len(rest) == 0 || end > 0 && args[end-1] == "--" {
			return append(words, rest...), nil
		}
		words, args = append(words, rest[0]), rest[1:]
	}
}

// usageError is a mistake in the command line.
type usageError struct {
	command string // empty when it is not known
	problem string
}

func usage(command, format string, args ...any) error {
	return &usageError{command, fmt.Sprintf(format, args...)}
}

func (u *usageError) Error() string {
	if u.command == "" {
		return u.problem + "; see jobcli help"
	}
	return fmt.Sprintf("%s: %s; see jobcli help %s", u.command, u.problem, u.command)
}
