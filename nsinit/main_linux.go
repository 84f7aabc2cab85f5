package nsinit

import (
	"encoding/json"
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
	c, err := readConfig(handshake)
	if err != nil {
		return err
	}
	p, serr := start(c)
	report := Report{PID: p.pid, Time: time.Now().UTC()}
	if serr != nil {
		report = Report{Stage: serr.Stage, Errno: serr.Errno, Message: serr.Message}
	}
	if err := json.NewEncoder(handshake).Encode(report); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	handshake.Close()
	if serr != nil {
		return nil
	}
	if err := keepOnlyKill(); err != nil {
		return err
	}
	return supervise(p)
}

func readConfig(handshake io.Reader) (Config, error) {
	b, err := io.ReadAll(handshake)
	if err != nil {
		return Config{}, fmt.Errorf("read config: %w", err)
	}
	var c Config
	if err := json.Unmarshal(b, &c); err != nil {
		return Config{}, fmt.Errorf("read config: %w", err)
	}
	return c, nil
}

// start takes the steps to the program's first instruction, in order.
func start(c Config) (payload, *StartError) {
	var p payload
	for _, step := range []struct {
		stage string
		do    func() error
	}{
		{"process", resetProcess},
		{"root", func() error { return buildRoot(c) }},
		{"net", func() error { return joinNetwork(c.ID) }},
		{"privileges", func() error { return dropPrivileges() }},
		{"cgroup", func() error { return applyCPUMax(c) }},
		{"exec", func() (err error) { p, err = forkPayload(c); return err }},
	} {
		if err := step.do(); err != nil {
			return payload{}, startError(step.stage, err)
		}
	}
	return p, nil
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

// supervise records the program's output until it has ended, and then says how
// it did.
func supervise(p payload) error {
	over, ended, err := pipe()
	if err != nil {
		return err
	}
	exits := make(chan Exit, 1)
	go func() {
		exits <- reap(p.pid)
		unix.Close(ended)
	}()
	r := recorder{log: stream.NewWriter(os.NewFile(logFD, "log"), 0), main: p.pidfd, buf: make([]byte, stream.MaxFrame)}
	err = r.record(p.outputs, over)
	e := <-exits
	e.OutputBytes = r.log.Offset()
	if err != nil {
		e.LogError = err.Error()
	}
	return writeExit(os.NewFile(exitFD, "exit file"), e)
}
