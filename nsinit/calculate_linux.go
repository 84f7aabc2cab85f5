package nsinit

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"time"
)

// builtinPath leads to the sealed image in the job's own /proc too: a forked child
// has its parent's /proc/self/exe, and may follow the link to its own executable
// whatever hidepid and PR_SET_DUMPABLE say to others (ptrace(2), access mode checking).
const builtinPath = "/proc/self/exe"

// builtinPrefix begins argv[0] of a built-in program, by which MaybeRun knows it.
// Who runs the binary by that name himself gets no more than what it does.
const builtinPrefix = "jobworker-"

// builtin returns the arguments and the environment of a built-in program. One P is
// enough for it.
func (c *Config) builtin() (argv, env []string) {
	return slices.Concat([]string{builtinPrefix + c.Argv[0]}, c.Argv[1:]), slices.Concat(c.Env, []string{"GOMAXPROCS=1"})
}

// builtin returns the built-in program that is known by argv[0], or nil. Programs
// get their arguments and return their exit status.
func builtin(argv0 string) func(args []string) int {
	if argv0 == builtinPrefix+"calculate" {
		return calculate
	}
	return nil
}

// calculate takes args[0] seconds, then prints args[1]. It catches no signal. It
// has the rights of whoever runs it, and needs none.
func calculate(args []string) int {
	if len(args) != 2 {
		fmt.Fprintln(os.Stderr, "calculate: takes seconds and a message")
		return 2
	}
	seconds, err := strconv.ParseFloat(args[0], 64)
	if err != nil {
		fmt.Fprintln(os.Stderr, "calculate:", err)
		return 2
	}
	time.Sleep(time.Duration(seconds * float64(time.Second)))
	if _, err := io.WriteString(os.Stdout, args[1]+"\n"); err != nil {
		fmt.Fprintln(os.Stderr, "calculate:", err)
		return 1
	}
	return 0
}
