package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"jobworker/job"
)

// TestTerminal: at a terminal the prompt has the worker's state, what is pushed
// leaves alone what is being typed, and the next command is taken at once.
func TestTerminal(t *testing.T) {
	s := newSite(t)
	addr, stop := s.server(t, "127.0.0.1:0")
	s.addr = addr
	p := newPTY(t, 100)
	before := p.mode(t)
	c := s.terminal("alice")
	c.tty = p.slave
	wait := c.start(t, "console")

	p.await(t, "help lists the commands")
	p.await(t, "[worker] connected to https://"+addr+": ready")
	p.awaitLine(t, "worker (ready)> ")
	p.typed(t, "ping\r")
	p.await(t, "[1] worker: pong ")
	p.typed(t, "calculate(0.1, \"hello world\")\rsta")
	p.await(t, `[2] worker: calculate done after `)
	p.awaitLine(t, "worker (ready)> sta")
	if _, err := s.worker.SetReady(false, "eve\x1b[2J"); err != nil {
		t.Fatal(err)
	}
	p.await(t, `[worker] unready, by eve\x1b[2J`)
	p.awaitLine(t, "worker (unready)> sta")
	p.typed(t, "r\x7frt\r")
	p.await(t, "[3] worker: ready")
	p.awaitLine(t, "worker (ready)> ")
	p.typed(t, "\x1b[A")
	p.awaitLine(t, "worker (ready)> start")
	p.typed(t, "\x03")
	p.await(t, "worker (ready)> start^C")

	// Pasted at once: each is answered, in order, while they run.
	n := many()
	line := func(after int, text string) string { return fmt.Sprintf("[%d] %s", 3+n+after, text) }
	p.typed(t, strings.Repeat("calculate 1000 x\r", n)+"ping\rstatus\rwait\rping\r")
	p.await(t, line(1, "worker: pong "))
	p.await(t, line(2, fmt.Sprintf("worker: jobs         %d, %[1]d of them calculates", n)))
	p.await(t, line(4, "worker: pong "))
	p.typed(t, "\x03")
	p.await(t, line(3, "error: broken off"))
	p.typed(t, "\xff\xfe\x00\x80\x1b[2Jx\r"+strings.Repeat("x", 2*maxLine)+"\rping\r")
	p.await(t, line(5, "error: no command "))
	p.await(t, line(6, "error: the line is longer than 65536 bytes"))
	p.await(t, line(7, "worker: pong "))

	stop()
	p.await(t, "[worker] connection lost, trying again: ")
	p.awaitLine(t, "worker (gone)> ")
	p.typed(t, "ping\r")
	p.await(t, line(8, "worker: error: "))
	p.await(t, line(8, "worker: hint: is jobworker running there?"))
	_, stop = s.server(t, addr)
	defer stop()
	p.await(t, "[worker] is back: ready")
	p.awaitLine(t, "worker (ready)> ")

	if p.mode(t) == before {
		t.Error("the terminal does not hand over single keys")
	}
	p.typed(t, "\x04")
	if code := wait(); code != 0 {
		t.Errorf("status %d\n%s", code, c.err)
	}
	if p.mode(t) != before {
		t.Error("the terminal is not what it was")
	}
	if jobs, _, err := s.worker.List(job.Filter{State: job.Running}); err != nil || len(jobs) != n {
		t.Errorf("%d jobs run, %v", len(jobs), err)
	}
	if c.err.String() != "" {
		t.Errorf("standard error has\n%s", c.err)
	}
}

// TestTerminalWorkers: @NAME changes whom commands and prompt are for.
func TestTerminalWorkers(t *testing.T) {
	a, b := newSite(t), newSite(t)
	b.pki = a.pki
	b.addr = b.serve(t, "127.0.0.1:0")
	p := newPTY(t, 100)
	c := a.terminal("alice")
	c.tty = p.slave
	wait := c.start(t, "console", "-worker", "one=https://"+a.addr, "-worker", "two=https://"+b.addr)
	p.awaitLine(t, "one (ready)> ")
	p.typed(t, "@two stop\r")
	p.await(t, "[two] unready, by alice")
	p.awaitLine(t, "one (ready)> ")
	p.typed(t, "@two\r")
	p.awaitLine(t, "two (unready)> ")
	p.typed(t, "ping\r@one ping\rquit\r")
	p.await(t, "[3] two: hint: start makes it ready")
	p.await(t, "[4] one: pong ")
	if code := wait(); code != 0 {
		t.Errorf("status %d", code)
	}
}

// TestPlainTerminal: a terminal that can do nothing gets a prompt and plain lines.
func TestPlainTerminal(t *testing.T) {
	s := newSite(t)
	p := newPTY(t, 100)
	before := p.mode(t)
	c := s.terminal("alice")
	c.tty = p.slave
	c.vars["TERM"] = "dumb"
	wait := c.start(t, "console", "-q")
	p.until(t, "worker (…)> ", func(rows []string) int {
		return slices.IndexFunc(rows, func(row string) bool { return strings.HasSuffix(strings.TrimSpace(row), ")>") })
	})
	p.typed(t, "ping\n")
	p.await(t, "[1] worker: pong ")
	p.typed(t, "quit\n")
	if code := wait(); code != 0 || p.mode(t) != before {
		t.Errorf("status %d", code)
	}
}

// process starts the console as a process of its own, in a session of its own that
// has the terminal.
func (s *site) process(t *testing.T, p *pty) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Args = []string{"jobcli", "console"}
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0", "TERM=xterm")
	for k, v := range s.terminal("alice").vars {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.slave, p.slave, p.slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// TestTerminalSignals: the terminal is what it was after a signal, and while the
// console is suspended.
func TestTerminalSignals(t *testing.T) {
	s := newSite(t)
	for sig, status := range map[syscall.Signal]int{syscall.SIGTERM: 143, syscall.SIGHUP: 129} {
		p := newPTY(t, 80)
		before := p.mode(t)
		cmd := s.process(t, p)
		p.awaitLine(t, "worker (ready)> ")
		p.typed(t, "pin")
		p.awaitLine(t, "worker (ready)> pin")
		raw := p.mode(t)
		p.typed(t, "\x1a")
		var ws unix.WaitStatus
		if _, err := unix.Wait4(cmd.Process.Pid, &ws, unix.WUNTRACED, nil); err != nil || !ws.Stopped() {
			t.Fatalf("^Z: %v, %#x", err, ws)
		}
		if p.mode(t) != before {
			t.Error("suspended: the terminal is not what it was")
		}
		if err := cmd.Process.Signal(unix.SIGCONT); err != nil {
			t.Fatal(err)
		}
		p.typed(t, "g")
		p.awaitLine(t, "worker (ready)> ping")
		if p.mode(t) != raw {
			t.Error("continued: the terminal does not hand over single keys")
		}
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if code := exitCode(t, cmd.Wait()); code != status {
			t.Errorf("%s: status %d, not %d", sig, code, status)
		}
		if p.mode(t) != before {
			t.Errorf("%s: the terminal is not what it was", sig)
		}
	}
}

// TestConsoleKilled: a console that is killed in the middle harms neither the worker
// nor its jobs.
func TestConsoleKilled(t *testing.T) {
	s := newSite(t)
	p := newPTY(t, 200)
	cmd := s.process(t, p)
	p.awaitLine(t, "worker (ready)> ")
	p.typed(t, "run "+s.program+" trap:\rcalculate 1 survives\rlogs -f\rjobs\rwait\r"+strings.Repeat("ping\r", 50))
	p.await(t, "[2] worker: job ")
	id := regexp.MustCompile(anyID).FindString(p.await(t, "[1] worker: job "))
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	c := s.console(t)
	c.say(t, "ping", "status")
	c.out.await(t, "[1] worker: pong ")
	jobs, _, err := s.worker.List(job.Filter{})
	if err != nil || len(jobs) != 2 {
		t.Fatalf("%d jobs, %v", len(jobs), err)
	}
	j, err := s.worker.Wait(t.Context(), jobs[0].ID) // the newest
	if err != nil || j.Verdict.Reason != job.Exited || *j.Verdict.Code != 0 {
		t.Errorf("the calculate: %+v, %v", j.Verdict, err)
	}
	if j, err := s.worker.Status(id); err != nil || j.State != job.Running {
		t.Errorf("the job: %s, %v", j.State, err)
	}
	c.say(t, "cancel "+id)
	c.out.await(t, "over: stopped by alice, exit code 7\n")
	c.quit(t)
}
