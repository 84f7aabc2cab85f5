package main

import (
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

const (
	interruptSignal = syscall.SIGINT
	terminateSignal = syscall.SIGTERM
)

// TestInterrupts: each signal goes one step further, and run says which.
func TestInterrupts(t *testing.T) {
	for _, test := range []struct {
		name    string
		program string // begins with a line
		ready   string
		signals []os.Signal
		after   []string // what run says after each, or the job writes
		status  int
		left    bool // the job runs on
	}{
		{"forward and stop", "trap:", "trap set\n", []os.Signal{interruptSignal, interruptSignal},
			[]string{"interrupted\n", "jobcli: stopping job %s; interrupt again to leave it running\n"}, 7, false},
		{"leave", "deaf:", "deaf\n", []os.Signal{interruptSignal, interruptSignal, interruptSignal},
			[]string{
				"jobcli: SIGINT goes to job %s; interrupt again to stop it\n",
				"jobcli: stopping job %s; interrupt again to leave it running\n",
				"jobcli: job %[1]s is left running: jobcli stop %[1]s ends it\n",
			}, 125, true},
		{"terminate", "trap:", "trap set\n", []os.Signal{terminateSignal},
			[]string{"jobcli: stopping job %s; interrupt again to leave it running\n"}, 7, false},
		{"hang up", "hold:", "", []os.Signal{syscall.SIGHUP}, []string{"jobcli: stopping job"}, 143, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t)
			c, id, wait := s.running(t, "ready\n"+test.ready, "run", s.program, "out:ready", test.program)
			for i, signal := range test.signals {
				c.signals <- signal
				want := test.after[i]
				if strings.Contains(want, "%") {
					want = fmt.Sprintf(want, id)
				}
				if strings.HasPrefix(want, "jobcli: ") {
					c.err.await(t, want)
				} else {
					c.out.await(t, want)
				}
			}
			if code := wait(); code != test.status {
				t.Errorf("status %d, not %d\n%s", code, test.status, c.err)
			}
			ps := s.terminal("alice")
			ps.run(t.Context(), "ps", "-q")
			if left := strings.TrimSpace(ps.out.String()) == id; left != test.left {
				t.Errorf("job runs on: %v", left)
			} else if left && ps.run(t.Context(), "rm", "-f", id) != 0 {
				t.Errorf("rm:\n%s", ps.err)
			}
		})
	}
}

// TestInterruptBeforeStart: a worker that says nothing does not hold jobcli.
func TestInterruptBeforeStart(t *testing.T) {
	dir := t.TempDir()
	makeCertificates(t, dir+"/pki")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan net.Conn, 1)
	go func() { // ends with the listener at the latest
		conn, err := l.Accept()
		if err == nil {
			accepted <- conn
		}
	}()
	defer l.Close()
	c := newTerminal()
	c.vars["JOBCLI_ADDR"] = "https://" + l.Addr().String()
	c.vars["JOBCLI_CERT_DIR"] = dir + "/pki/alice"
	wait := c.start(t, "run", "true")
	conn := <-accepted
	defer conn.Close()
	c.signals <- interruptSignal
	if code := wait(); code != 130 {
		t.Errorf("status %d, not 130\n%s", code, c.err)
	}
	if want := "jobcli: interrupted before the worker named the job; it may have been started: see jobcli ps\n"; c.err.String() != want {
		t.Errorf("says %q, not %q", c.err, want)
	}
}

// TestInterruptLogs: other commands just end.
func TestInterruptLogs(t *testing.T) {
	s := newSite(t)
	c, id, wait := s.running(t, "deaf\n", "run", "-q", s.program, "deaf:")
	l := s.terminal("alice")
	followed := l.start(t, "logs", "-f", id)
	l.out.await(t, "deaf\n")
	l.signals <- interruptSignal
	if code := followed(); code != 130 || l.err.String() != "" {
		t.Errorf("logs: status %d\n%s", code, l.err)
	}
	w := s.terminal("alice")
	waited := w.start(t, "wait", id)
	w.signals <- terminateSignal
	if code := waited(); code != 143 {
		t.Errorf("wait: status %d\n%s", code, w.err)
	}
	if code := w.run(t.Context(), "rm", "-f", id); code != 0 {
		t.Errorf("rm: status %d\n%s", code, w.err)
	}
	if code := wait(); code != 137 {
		t.Errorf("run: status %d\n%s", code, c.err)
	}
}
