package nsinit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"jobworker/stream"
)

// MaybeRun does nothing in a program that was started by a user. In a process
// that Image.Start made it is nsinit, and in one that nsinit made for
// Config.Builtin it is that program; then it does not return.
func MaybeRun() {
	if program := builtin(os.Args[0]); program != nil {
		os.Exit(program(os.Args[1:]))
	}
	if os.Args[0] != initName || os.Getpid() != 1 {
		return
	}
	// Privileges are given up by thread. The program is forked from this
	// one, which must therefore stay the same.
	runtime.LockOSThread()
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", initName, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// run is nsinit's life. Its error is for standard error only: a start that went
// wrong has been reported by then.
func run() error {
	// No descriptor of the daemon may reach the job (CVE-2024-21626).
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("close_range: %w", err)
	}
	handshake := os.NewFile(handshakeFD, "handshake")
	self, p, err := start(handshake)
	if err == errNoJob {
		return nil
	}
	exit := os.NewFile(exitFD, "exit file")
	r, err := report(exit, self, p, err)
	// A daemon that died meanwhile is no reason to end a program that runs.
	json.NewEncoder(handshake).Encode(r)
	handshake.Close()
	if err != nil {
		return nil // the daemon has been told
	}
	if err := keepOnlyKill(); err != nil {
		return err
	}
	return supervise(p, exit)
}

// report writes the first line of the exit file: how the start went, whose error is
// given. The line comes before the answer to the daemon, so that a job that was
// started is known to have been. A program of which nothing can be written down is
// not left running: the error then says so.
func report(exit *os.File, self Identity, p payload, err error) (Report, error) {
	r := Report{Version: exitVersion, PID: p.pid, Time: time.Now().UTC(), Init: self}
	if err == nil {
		r.Clock, err = Clock()
	}
	if err == nil {
		err = writeLine(exit, r)
	}
	if err != nil {
		e := startError("config", err)
		r = Report{Version: exitVersion, Init: self, Stage: e.Stage, Errno: e.Errno, Message: e.Message}
		writeLine(exit, r) // else only the daemon learns of it
	}
	return r, err
}

// A step is one on the way to the program's first instruction. Its stage is that
// of the StartError which its failure becomes.
type step struct {
	stage string
	do    func() error
}

func take(steps []step) error {
	for _, s := range steps {
		if err := s.do(); err != nil {
			return startError(s.stage, err)
		}
	}
	return nil
}

// start takes the steps to the program's first instruction: what is the same for
// all jobs, then, as soon as there is a job, the rest. self is this process.
func start(handshake *os.File) (self Identity, p payload, err error) {
	var e early
	if err := json.Unmarshal([]byte(os.Args[1]), &e); err != nil {
		return self, p, fmt.Errorf("read setup: %w", err)
	}
	var r root
	filter := assembleFilter()
	if err := take([]step{
		{"process", func() (err error) { self, err = identify(); return err }},
		{"process", resetProcess},
		{"root", func() (err error) { r, err = e.root(); return err }},
		{"net", e.raiseLoopback},
	}); err != nil {
		return self, p, err
	}
	c, binds, err := receiveConfig(handshake)
	if err != nil {
		return self, p, err
	}
	log := stream.NewWriter(os.NewFile(logFD, "log"), 0)
	var program string
	err = take([]step{
		{"log", func() error { return log.SetCap(c.Output) }},
		{"net", func() error { return setHostname(c) }},
		{"root", func() (err error) { r, err = e.finish(r, c, binds); return err }},
		{"exec", func() (err error) { program, err = lookUp(c); return err }},
		{"root", enterJobRoot},
		{"privileges", func() error { return dropPrivileges(filter) }},
		{"cgroup", func() error { return applyCPUMax(c) }},
		{"exec", func() (err error) { p, err = forkPayload(c, program); return err }},
	})
	p.log = log
	return self, p, err
}

// root is the root as far as it can be made without a job.
func (e *early) root() (root, error) {
	if e.Late {
		return root{}, nil
	}
	return e.newRoot(nil)
}

// finish makes r, of root, that of the job.
func (e *early) finish(r root, c Config, binds []bind) (_ root, err error) {
	if e.Late {
		if r, err = e.lateRoot(c, binds); err != nil {
			return r, err
		}
	}
	return r, r.enter(c, binds)
}

// receiveConfig waits until this is the nsinit of a job. Its error is errNoJob if
// that will never be.
func receiveConfig(handshake *os.File) (c Config, binds []bind, err error) {
	fds, err := receiveFiles(handshakeFD)
	if err != nil {
		return c, nil, err
	}
	b, err := io.ReadAll(handshake)
	if err != nil {
		return c, nil, fmt.Errorf("read config: %w", err)
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return c, nil, fmt.Errorf("read config: %w", err)
	}
	if c.UID == 0 || c.GID == 0 {
		return c, nil, fmt.Errorf("read config: user %d, group %d: no job runs as root", c.UID, c.GID)
	}
	if len(fds) != len(c.Binds) {
		return c, nil, fmt.Errorf("read config: %d binds for %d places", len(fds), len(c.Binds))
	}
	for i, fd := range fds {
		binds = append(binds, bind{mount(fd), c.Binds[i]})
	}
	return c, binds, nil
}

// applyCPUMax puts cpu.max in force last, because nsinit is under it too.
func applyCPUMax(c Config) error {
	if c.CPUMax == "" {
		return nil
	}
	defer unix.Close(cpuMaxFD)
	if _, err := unix.Write(cpuMaxFD, []byte(c.CPUMax)); err != nil {
		return fmt.Errorf("cpu.max: write %q: %w", c.CPUMax, err)
	}
	return nil
}

// supervisors are the two threads of Go code that wait, one in poll(2) and one in
// wait4(2): with a single P the second would wait for the runtime to notice the
// first.
const supervisors = 2

// supervise records the program's output until it has ended, and then says how
// it did in the exit file.
func supervise(p payload, exit *os.File) error {
	runtime.GOMAXPROCS(supervisors)
	over, ended, err := pipe()
	if err != nil {
		return err
	}
	exits := make(chan Exit, 1)
	go func() {
		exits <- reap(p.pid)
		unix.Close(ended)
	}()
	r := recorder{log: p.log, main: p.pidfd, input: p.input, buf: make([]byte, stream.MaxFrame)}
	err = r.record(p.outputs, over)
	e := <-exits
	e.OutputBytes, e.OutputLimit, e.StdinBytes = r.log.Offset(), r.full, r.input.accepted()
	_, e.Unmarked = r.log.Owed()
	if err != nil {
		e.LogError = err.Error()
	}
	return errors.Join(writeLine(exit, e), exit.Sync(), exit.Close())
}
