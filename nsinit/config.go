package nsinit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"syscall"
	"time"

	"jobworker/stream"
)

// A Config is everything nsinit needs to know about its job. The daemon has
// validated it.
type Config struct {
	ID      string   // the job's id, its host name too
	Argv    []string // the program and its arguments
	Builtin bool     // the program is built into this binary: "calculate"
	Env     []string // the whole environment, "K=V", PATH included
	Dir     string   // working directory, absolute, as the job sees it
	UID     int      // the job's user, not 0
	GID     int      // and group, not 0 either
	User    string   // the user's name in the job's passwd; with RootHost the host's files have it
	Merge   bool     // standard error into standard output's pipe
	Stdin   bool     // standard input is what comes through Files.Stdin; else it is /dev/null

	ScratchDir   string // host directory that is the job's /scratch, owned by UID; none with RootHost
	ScratchBytes int64  // if not zero, /scratch is a tmpfs of this size instead

	Root  RootKind // what the job's root is; but for RootDefault Setup.Late is needed
	Binds []string // where the job sees Files.Binds, absolute; these too need Setup.Late

	CPUMax string // written to Files.CPUMax before the program is forked

	// Output bounds the log. When it is full, and is not to keep the newest,
	// the job is killed.
	Output stream.Cap
}

// A RootKind is what a job's root is made of.
type RootKind string

// The kinds of roots.
const (
	RootDefault RootKind = ""     // what Setup.ReadOnly says of the host, and the job's own directories
	RootDir     RootKind = "dir"  // what is in Files.Root in place of the host's, and the job's own directories
	RootHost    RootKind = "host" // the host's file systems, and a /proc of the job's own
)

// MaxBinds is how many Files.Binds there can be.
const MaxBinds = 32

// A Report is nsinit's one answer to the daemon: the program has been executed,
// or why not. It is also the first line of the exit file, for a daemon that was
// not there to be answered.
type Report struct {
	Version int           `json:"v"`               // 1
	PID     int           `json:"pid,omitempty"`   // main process, in the job's PID namespace
	Time    time.Time     `json:"time,omitzero"`   // when the program was executed
	Init    Identity      `json:"init"`            // of nsinit
	Clock   time.Duration `json:"clock_ns"`        // Time by the monotonic clock of this boot, see Clock
	Stage   string        `json:"stage,omitempty"` // how far the start had come; empty for success
	Errno   syscall.Errno `json:"errno,omitempty"`
	Message string        `json:"message,omitempty"`
}

// An Identity tells a process from every other one of the same boot: a number alone
// may be that of a stranger, once the process is gone.
type Identity struct {
	PID   int    `json:"pid"`         // in the daemon's PID namespace
	Ticks uint64 `json:"start_ticks"` // start time as in /proc/PID/stat, proc_pid_stat(5)
}

// A StartError is why a program could not be executed.
type StartError struct {
	Stage   string        // "clone", "config", "log", "root", "net", "privileges", "cgroup", "dir", "exec"
	Errno   syscall.Errno // 0 where the kernel had no part in it
	Message string        // operation, object and cause
}

// Error returns the message.
func (e *StartError) Error() string { return e.Message }

// An Exit is how the main process ended, the second line of the exit file. Exactly
// one of Code and Signal is set.
type Exit struct {
	Version     int       `json:"v"` // 1
	Time        time.Time `json:"time"`
	Code        *int      `json:"code,omitempty"`         // of exit(2)
	Signal      int       `json:"signal,omitempty"`       // that killed it
	OutputBytes int64     `json:"output_bytes"`           // there were, of both streams
	OutputLimit bool      `json:"output_limit,omitempty"` // more than Config.Output admits; if it ran still, it was killed for that
	StdinBytes  int64     `json:"stdin_bytes,omitempty"`  // of input accepted, those that nobody read included
	Unmarked    string    `json:"unmarked,omitempty"`     // why the last bytes are not in the log, and no gap frame is either
	LogError    string    `json:"log_error,omitempty"`    // the first there was
}

// exitVersion is the version of the lines that this package writes.
const exitVersion = 1

// ParseExitFile reads the content of an exit file. Without a complete first line
// start is nil, and it is not known whether the program has been executed; without
// a second one exit is: the program runs, or nsinit was killed, or the machine
// stopped. An error is that of a line that is whole, and not as it was written; what
// comes before it is returned with it.
func ParseExitFile(b []byte) (start *Report, exit *Exit, err error) {
	first, rest, ok := bytes.Cut(b, []byte("\n"))
	if !ok {
		return nil, nil, nil
	}
	start = new(Report)
	if err := parseLine(first, start, &start.Version); err != nil {
		return nil, nil, err
	}
	if (start.Stage == "") != (start.PID > 0) {
		return nil, nil, fmt.Errorf("exit file: %.200q: says neither that the program was executed nor why not", first)
	}
	second, _, ok := bytes.Cut(rest, []byte("\n"))
	if !ok {
		return start, nil, nil
	}
	exit = new(Exit)
	if err := parseLine(second, exit, &exit.Version); err != nil {
		return start, nil, err
	}
	if (exit.Code == nil) == (exit.Signal == 0) {
		return start, nil, fmt.Errorf("exit file: %.200q: has not one cause", second)
	}
	return start, exit, nil
}

// parseLine reads a line without its newline into *v, whose version is *version.
func parseLine(line []byte, v any, version *int) error {
	object, err := Unseal(append(line[:len(line):len(line)], '\n'))
	if err == nil {
		err = json.Unmarshal(object, v)
	}
	if err == nil && *version != exitVersion {
		err = fmt.Errorf("version %d is not %d", *version, exitVersion)
	}
	if err != nil {
		return fmt.Errorf("exit file: %.200q: %w", line, err)
	}
	return nil
}
