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
	GID     int      // and group
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
// or why not.
type Report struct {
	PID     int           `json:"pid,omitempty"`   // main process, in the job's PID namespace
	Time    time.Time     `json:"time,omitzero"`   // when the program was executed
	Stage   string        `json:"stage,omitempty"` // how far the start had come; empty for success
	Errno   syscall.Errno `json:"errno,omitempty"`
	Message string        `json:"message,omitempty"`
}

// A StartError is why a program could not be executed.
type StartError struct {
	Stage   string        // "clone", "config", "log", "root", "net", "privileges", "cgroup", "dir", "exec"
	Errno   syscall.Errno // 0 where the kernel had no part in it
	Message string        // operation, object and cause
}

// Error returns the message.
func (e *StartError) Error() string { return e.Message }

// An Exit is how the main process ended. Exactly one of Code and Signal is set.
type Exit struct {
	Version     int       `json:"v"` // 1
	Time        time.Time `json:"time"`
	Code        *int      `json:"code,omitempty"`         // of exit(2)
	Signal      int       `json:"signal,omitempty"`       // that killed it
	OutputBytes int64     `json:"output_bytes"`           // there were, of both streams
	OutputLimit bool      `json:"output_limit,omitempty"` // more than Config.Output admits; if it ran still, it was killed for that
	Unmarked    string    `json:"unmarked,omitempty"`     // why the last bytes are not in the log, and no gap frame is either
	LogError    string    `json:"log_error,omitempty"`    // the first there was
}

// exitVersion is the version of an Exit that this package writes.
const exitVersion = 1

// ParseExit reads the content of an exit file. Without a complete line there is
// no Exit, and ok is false: nsinit was killed, or the machine stopped.
func ParseExit(b []byte) (e Exit, ok bool, err error) {
	line, _, ok := bytes.Cut(b, []byte("\n"))
	if !ok {
		return Exit{}, false, nil
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return Exit{}, false, fmt.Errorf("exit file: %w", err)
	}
	if e.Version != exitVersion || (e.Code == nil) == (e.Signal == 0) {
		return Exit{}, false, fmt.Errorf("exit file: %q: not an exit of version %d", line, exitVersion)
	}
	return e, true, nil
}
