//go:build linux

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"jobworker/httpapi"
	"jobworker/internal/kerneltest"
	"jobworker/job"
)

// A child is the daemon as a process of its own.
type child struct {
	*process
	cmd    *exec.Cmd
	url    string
	stdout *os.File // read end
	lines  *bufio.Reader
	stderr bytes.Buffer
}

// testUIDs are user ids that no other test uses.
const testUIDs = job.DefaultUIDBase + 1<<25

// startChild runs the daemon until the test is over, with its standard output in a
// pipe of the smallest size.
func startChild(t *testing.T, args ...string) *child {
	t.Helper()
	kerneltest.Root(t)
	return newProcess(t).startChild(t, args...)
}

// startChild runs the daemon with p's files.
func (p *process) startChild(t *testing.T, args ...string) *child {
	t.Helper()
	c := &child{process: p}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 4096); err != nil {
		t.Fatal(err)
	}
	c.stdout, c.lines = r, bufio.NewReader(r)
	c.cmd = exec.Command("/proc/self/exe")
	c.cmd.Args = append(append([]string{"jobworker"}, c.args...), append([]string{"-uid-base", fmt.Sprint(testUIDs), "-uid-count", "100"}, args...)...)
	c.cmd.Stdout, c.cmd.Stderr = w, &c.stderr
	c.cmd.WaitDelay = time.Second // jobs that it leaves have its standard error too
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close() // or the end of a daemon that does not come up would not be seen
	t.Cleanup(func() {
		r.Close()
		// Killed, it would leave its jobs to run. Both fail if the test has waited for it.
		c.cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(20*time.Second, func() { c.cmd.Process.Kill() })
		c.cmd.Wait()
		kill.Stop()
		if t.Failed() {
			t.Logf("standard error of the daemon:\n%s", &c.stderr)
		}
	})
	line, err := c.lines.ReadString('\n')
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "jobworker: serving on ")
	if !ok {
		t.Fatalf("standard output: %q, %v", line, err)
	}
	c.url = url
	return c
}

// signal sends the daemon SIGTERM.
func (c *child) signal() {
	c.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		c.Fatal(err)
	}
}

// wait waits for the end of the daemon and checks its exit status.
func (c *child) wait(want int) {
	c.Helper()
	c.cmd.Wait() // says what the status is
	if code := c.cmd.ProcessState.ExitCode(); code != want {
		c.Errorf("exit status %d, want %d", code, want)
	}
}

// TestTerminate: a worker that is terminated tells how its jobs end, says that it goes,
// exits 0 and leaves nothing; commands and a signal meanwhile do no harm.
func TestTerminate(t *testing.T) {
	d := startChild(t)
	c := d.client(d.url, "alice")
	events, err := c.Events(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	grace := httpapi.Duration(500 * time.Millisecond)
	deaf := httpapi.Spec{Argv: []string{"sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1000; done"}, Grace: &grace}
	s, err := c.Run(t.Context(), deaf, "")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	awaitReady(t, s)
	if _, err := c.Start(t.Context(), httpapi.Spec{Argv: []string{"sleep", "1000"}}, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Calculate(t.Context(), httpapi.CalculateRequest{Seconds: 1000, Message: "never"}, ""); err != nil {
		t.Fatal(err)
	}

	change, err := c.TerminateWorker(t.Context())
	if err != nil || !change.Changed || change.State != httpapi.Terminating {
		t.Fatalf("terminate: %+v, %v", change, err)
	}
	d.signal()
	if change, err := c.TerminateWorker(t.Context()); err != nil || change.Changed {
		t.Errorf("terminate again: %+v, %v", change, err)
	}
	for name, do := range map[string]func() error{
		"start": func() error { _, err := c.StartWorker(t.Context()); return err },
		"job":   func() error { _, err := c.Start(t.Context(), deaf, ""); return err },
		"ping":  func() error { _, err := c.Ping(t.Context()); return err },
	} {
		if p, ok := errors.AsType[*httpapi.Problem](do()); !ok || p.Type != httpapi.TypeShuttingDown {
			t.Errorf("%s while it terminates: %+v", name, p)
		}
	}

	story := ""
	for {
		e, err := events.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("events end with %v after\n%s", err, story)
		}
		if e.Verdict != nil {
			e.By = e.Verdict.Reason + " by " + e.Verdict.By + " " + e.Verdict.Signal
		}
		story += e.Type + " " + e.By + "\n"
	}
	_, after, _ := strings.Cut(story, "worker.terminating alice\n")
	if strings.Count(after, "job.ended stopped by (shutdown) SIGTERM\n") != 2 || strings.Count(after, "job.ended stopped by (shutdown) SIGKILL\n") != 1 {
		t.Errorf("events:\n%s", story)
	}
	if last := lastLine(t, s); last != "end complete" {
		t.Errorf("last line of the output: %s", last)
	}
	d.wait(0)
	d.nothingLeft()
}

func awaitReady(t *testing.T, s *httpapi.Stream) {
	t.Helper()
	for {
		fr, err := s.Next()
		if err != nil {
			t.Fatal(err)
		}
		if bytes.HasPrefix(fr.Data, []byte("ready\n")) {
			return
		}
	}
}

// lastLine reads s to its end.
func lastLine(t *testing.T, s *httpapi.Stream) (last string) {
	t.Helper()
	for {
		fr, err := s.Next()
		if err == io.EOF {
			return last
		}
		if err != nil {
			t.Fatal(err)
		}
		last = fr.Type + " " + fr.Reason
	}
}

// cgroups returns the roots of the daemon's tree, on whatever mounts there are.
func (c *child) cgroups() (roots []string) {
	c.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		c.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if !strings.Contains(line, " - cgroup2 ") {
			continue
		}
		root := filepath.Join(strings.Fields(line)[4], c.args[slices.Index(c.args, "-cgroup-root")+1])
		if _, err := os.Stat(root); !os.IsNotExist(err) {
			roots = append(roots, root)
		}
	}
	return roots
}

// nothingLeft fails if a daemon that has ended has left more than its records.
func (c *child) nothingLeft() {
	c.Helper()
	if conn, err := net.Dial("tcp", strings.TrimPrefix(c.url, "https://")); err == nil {
		conn.Close()
		c.Error("the address is still listened on")
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), c.dir) {
		c.Errorf("mounts below %s, or %v", c.dir, err)
	}
	if roots := c.cgroups(); len(roots) > 0 {
		c.Errorf("cgroups are left: %q", roots)
	}
	status, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil || len(status) == 0 {
		c.Fatal("no processes: ", err)
	}
	for _, name := range status {
		b, _ := os.ReadFile(name) // it may have ended
		for uid := testUIDs; uid < testUIDs+100; uid++ {
			if strings.Contains(string(b), fmt.Sprintf("\nUid:\t%d\t", uid)) {
				c.Errorf("a process is left:\n%s", b)
			}
		}
	}
}

// TestTwoSignalsAfterTerminate: the first signal after a terminate is not the second
// one, which cuts short.
func TestTwoSignalsAfterTerminate(t *testing.T) {
	kerneltest.Root(t)
	p := newProcess(t)
	p.signals = make(chan os.Signal) // a send returns when the signal is being handled
	c := p.client(p.start(), "alice")
	grace := httpapi.Duration(time.Hour)
	s, err := c.Run(t.Context(), httpapi.Spec{Argv: []string{"sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1000; done"}, Grace: &grace}, "")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	awaitReady(t, s)
	if _, err := c.TerminateWorker(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.signals <- syscall.SIGTERM
	if w, err := c.Worker(t.Context()); err != nil || w.State != httpapi.Terminating || w.Jobs != 1 {
		t.Errorf("after one signal: %+v, %v", w, err)
	}
	select {
	case p.signals <- syscall.SIGTERM:
	case code := <-p.code:
		t.Fatalf("ended after one signal: exit status %d:\n%s", code, p.log)
	}
	if code := <-p.code; code != 1 || !strings.Contains(p.log.String(), "second signal, terminated") {
		t.Errorf("exit status %d:\n%s", code, p.log)
	}
}

// TestMessages: the daemon prints the message of a calculate that has come to its end,
// as one line that is harmless to a terminal.
func TestMessages(t *testing.T) {
	d := startChild(t)
	c := d.client(d.url, "alice")
	for message, want := range map[string]string{
		"plain text":                 "plain text\n",
		"":                           "\n",
		"a\x1b[2J\r\nb\u202ec\u2028": `a\x1b[2J\r\nb\u202ec\u2028` + "\n",
		`"quoted" \ ä`:               `"quoted" \ ä` + "\n",
	} {
		if _, err := c.Calculate(t.Context(), httpapi.CalculateRequest{Message: message}, ""); err != nil {
			t.Fatal(err)
		}
		if got, err := d.lines.ReadString('\n'); got != want || err != nil {
			t.Errorf("message %q: printed %q, %v, want %q", message, got, err, want)
		}
	}
	j, err := c.Calculate(t.Context(), httpapi.CalculateRequest{Seconds: 1000, Message: "stopped"}, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Stop(t.Context(), j.ID, httpapi.StopRequest{}); err != nil {
		t.Fatal(err)
	}
	d.signal()
	d.wait(0)
	if rest, err := io.ReadAll(d.lines); len(rest) > 0 || err != nil {
		t.Errorf("and then %q, %v", rest, err)
	}
}

// TestStandardOutput: whoever reads the daemon's standard output cannot hold it up by
// not doing so, nor end it by going away.
func TestStandardOutput(t *testing.T) {
	for name, change := range map[string]func(d *child) error{
		"nobody": func(d *child) error { return d.stdout.Close() },
		"stuck":  func(*child) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			d := startChild(t)
			if err := change(d); err != nil {
				t.Fatal(err)
			}
			c := d.client(d.url, "alice")
			for range 4 { // the pipe holds one
				j, err := c.Calculate(t.Context(), httpapi.CalculateRequest{Message: strings.Repeat("x", httpapi.MaxMessage)}, "")
				if err != nil {
					t.Fatal(err)
				}
				if j, err = c.Wait(t.Context(), j.ID, time.Minute); err != nil || j.State != httpapi.Ended {
					t.Fatalf("%+v, %v", j, err)
				}
			}
			d.signal()
			d.wait(0)
			d.nothingLeft()
		})
	}
}

// TestInitialState: a worker may begin unready, and is told so.
func TestInitialState(t *testing.T) {
	d := startChild(t, "-initial-state", "unready")
	c := d.client(d.url, "alice")
	_, err := c.Ping(t.Context())
	if p, ok := errors.AsType[*httpapi.Problem](err); !ok || p.Type != httpapi.TypeUnready {
		t.Errorf("ping: %v", err)
	}
	if change, err := c.StartWorker(t.Context()); err != nil || !change.Changed {
		t.Errorf("start: %+v, %v", change, err)
	}
	if _, err := c.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := c.TerminateWorker(t.Context()); err != nil {
		t.Error(err)
	}
	d.wait(0)
}
