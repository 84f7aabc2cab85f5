//go:build linux

package units_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// jobsCgroup is where jobworker-jobs.service has its cgroup.
const jobsCgroup = "/sys/fs/cgroup/jobworker.slice/jobworker-jobs.service"

// TestUnits installs nothing: `make test-systemd` has put the units and both
// binaries where an operator would. Each part finds the worker running, and leaves
// it so.
func TestUnits(t *testing.T) {
	if os.Getenv("KERNELTEST") != "systemd" {
		t.Skip("needs a system that systemd has booted; run: make test-systemd")
	}
	command(t, "jobcli", "tls", "init", "-dir", "/etc/jobworker", "-host", "127.0.0.1", "-admin", "alice")
	t.Setenv("JOBCLI_ADDR", "https://127.0.0.1:8443")
	t.Setenv("JOBCLI_CERT_DIR", "/etc/jobworker/alice")
	if out := command(t, "systemd-analyze", "verify", "jobworker.service", "jobworker-jobs.service"); out != "" {
		t.Errorf("systemd-analyze verify:\n%s", out)
	}
	command(t, "systemctl", "start", "jobworker")
	for _, part := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"ready", testReady},
		{"limits", testLimits},
		{"reload", testReload},
		{"restart", testRestart},
		{"kill", testKill},
		{"stop", testStop},
		{"end of all jobs", testEndOfAll},
	} {
		t.Run(part.name, part.run)
	}
	if t.Failed() {
		t.Log(command(t, "journalctl", "--no-pager", "-u", "jobworker", "-u", "jobworker-jobs"))
	}
}

// command runs a program to its end and returns its standard output. What it must
// not do is fail.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(cmd.Args, " "), err, out, &stderr)
	}
	return strings.TrimSpace(string(out))
}

// status is the exit status of a program that may fail.
func status(t *testing.T, name string, args ...string) int {
	t.Helper()
	err := exec.CommandContext(t.Context(), name, args...).Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0
}

func mainPID(t *testing.T) int {
	t.Helper()
	s := command(t, "systemctl", "show", "-P", "MainPID", "jobworker")
	pid, err := strconv.Atoi(s)
	if err != nil || pid == 0 {
		t.Fatalf("MainPID %q", s)
	}
	return pid
}

// processes returns the process ids of a job's program and its children.
func processes(t *testing.T, id string) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(jobsCgroup, "jobs", id, "payload", "cgroup.procs"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(b))
}

// testReady: `systemctl start` has returned, so there is no need to wait.
func testReady(t *testing.T) { command(t, "jobcli", "ping") }

func testLimits(t *testing.T) {
	id := command(t, "jobcli", "start", "-memory", "64M", "-pids", "20", "-cpus", "0.5", "--", "sleep", "1000")
	for file, want := range map[string]string{"payload/memory.max": "67108864", "payload/pids.max": "20", "cpu.max": "50000 100000"} {
		b, err := os.ReadFile(filepath.Join(jobsCgroup, "jobs", id, file))
		if got := strings.TrimSpace(string(b)); err != nil || got != want {
			t.Errorf("%s is %q, %v: want %q", file, got, err, want)
		}
	}
	command(t, "jobcli", "kill", id)
}

func testReload(t *testing.T) {
	before := mainPID(t)
	command(t, "systemctl", "reload", "jobworker")
	command(t, "jobcli", "ping")
	if pid := mainPID(t); pid != before {
		t.Errorf("main process %d, was %d", pid, before)
	}
}

// counting is a job that prints the numbers from 1 until it is told to end.
const counting = `i=0; trap 'exit 7' TERM; while :; do i=$((i+1)); echo $i; sleep 0.02; done`

// testRestart: the job goes on, and someone who follows it misses nothing.
func testRestart(t *testing.T) {
	id := command(t, "jobcli", "start", "--", "sh", "-c", counting)
	follower := exec.CommandContext(t.Context(), "jobcli", "logs", "-q", "-f", id)
	var followed, complaints bytes.Buffer
	follower.Stdout, follower.Stderr = &followed, &complaints
	if err := follower.Start(); err != nil {
		t.Fatal(err)
	}
	before, program := mainPID(t), processes(t, id)[0]
	command(t, "systemctl", "restart", "jobworker")
	if pid := mainPID(t); pid == before {
		t.Errorf("main process is %d as before", pid)
	}
	if now := processes(t, id); !slices.Contains(now, program) {
		t.Errorf("processes %q: the job's program, %s, is gone", now, program)
	}
	last := command(t, "jobcli", "logs", "-n", "1", id)
	waitFor(t, "the job to go on", func() bool { return command(t, "jobcli", "logs", "-n", "1", id) != last })
	command(t, "jobcli", "stop", id)
	if code := status(t, "jobcli", "wait", id); code != 7 {
		t.Errorf("wait: status %d, want that of the trap, 7", code)
	}
	if err := follower.Wait(); err != nil {
		t.Errorf("logs -f: %v\n%s", err, &complaints)
	}
	checkCount(t, followed.String())
}

// checkCount fails when s is not the output of counting, from its begin.
func checkCount(t *testing.T, s string) {
	t.Helper()
	lines := strings.Fields(s)
	for i, l := range lines {
		if l != strconv.Itoa(i+1) {
			t.Fatalf("line %d is %q", i+1, l)
		}
	}
	if len(lines) < 2 {
		t.Errorf("only %d lines", len(lines))
	}
}

// testKill: systemd starts the worker again, and its jobs are there.
func testKill(t *testing.T) {
	id := command(t, "jobcli", "start", "--", "sh", "-c", counting)
	before, program := mainPID(t), processes(t, id)[0]
	if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the worker to be back", func() bool { return status(t, "jobcli", "ping") == 0 })
	if now := processes(t, id); !slices.Contains(now, program) {
		t.Errorf("processes %q: the job's program, %s, is gone", now, program)
	}
	command(t, "jobcli", "stop", id)
	checkCount(t, command(t, "jobcli", "logs", id))
}

// testStop: a job outlives a worker that is stopped, too.
func testStop(t *testing.T) {
	id := command(t, "jobcli", "start", "--", "sleep", "1000")
	command(t, "systemctl", "stop", "jobworker")
	if p := processes(t, id); len(p) == 0 {
		t.Error("the job ended with the worker")
	}
	command(t, "systemctl", "start", "jobworker")
	command(t, "jobcli", "stop", "-t", "0s", id)
	if code := status(t, "jobcli", "wait", id); code != 137 && code != 143 {
		t.Errorf("wait: status %d, want that of a signal", code)
	}
}

// testEndOfAll: whoever stops the unit of the jobs ends them, and the worker says
// so when it is back.
func testEndOfAll(t *testing.T) {
	id := command(t, "jobcli", "start", "--", "sleep", "1000")
	command(t, "systemctl", "stop", "jobworker-jobs")
	for _, unit := range []string{"jobworker", "jobworker-jobs"} {
		if s := command(t, "systemctl", "show", "-P", "ActiveState", unit); s != "inactive" {
			t.Errorf("%s is %s", unit, s)
		}
	}
	if _, err := os.Stat(jobsCgroup); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s: %v", jobsCgroup, err)
	}
	command(t, "systemctl", "start", "jobworker")
	if s := command(t, "jobcli", "status", "-o", "json", id); !strings.Contains(s, `"state":"ended"`) || !strings.Contains(s, `"reason":"lost"`) {
		t.Errorf("status of a job that was killed: %s", s)
	}
}

// waitFor waits until something outside of this process has come about.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited for %s", what)
		}
	}
}
