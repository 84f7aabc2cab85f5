package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"jobworker/internal/kerneltest"
)

// localProgram is a program that a job of run -local finds, whose root shows only the
// system's own directories: a shell, and in a machine without one the test's program.
func localProgram(t *testing.T) (path string, args func(steps, script string) []string) {
	t.Helper()
	if _, err := os.Stat("/bin/sh"); err == nil {
		return "/bin/sh", func(_, script string) []string { return []string{"sh", "-c", script} }
	}
	if os.Getenv("KERNELTEST") != "vm" {
		t.Fatal("no /bin/sh")
	}
	if err := os.MkdirAll("/usr/bin", 0o755); err != nil {
		t.Fatal(err)
	}
	path = "/usr/bin/" + programName
	if err := copyFile(path, "/proc/self/exe"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(path) })
	return path, func(steps, _ string) []string { return append([]string{path}, strings.Fields(steps)...) }
}

// local prepares a jobcli run -local as a process of its own, which is this binary.
func local(t *testing.T, argv []string, flags ...string) (cmd *exec.Cmd, stderr *screen) {
	t.Helper()
	cmd = exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Args = append(append([]string{"jobcli", "run", "-local"}, flags...), argv...)
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	stderr = newScreen()
	cmd.Stderr = stderr
	return cmd, stderr
}

func exitCode(t *testing.T, err error) int {
	t.Helper()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0
}

// checkClean fails when a process left its state or its cgroup behind.
func checkClean(t *testing.T, pid int) {
	t.Helper()
	if left := leftovers(); left != "" && strings.Contains(left, "jobcli-local-") {
		t.Errorf("state is left: %s", left)
	}
	found, err := filepath.Glob(fmt.Sprintf("/sys/fs/cgroup/jobworker-%d", pid))
	more, _ := filepath.Glob(fmt.Sprintf("/sys/fs/cgroup/*/jobworker-%d", pid))
	if err != nil || len(found)+len(more) > 0 {
		t.Errorf("cgroups are left: %v %v, %v", found, more, err)
	}
}

// TestLocal: the one-command try-out, as a process.
func TestLocal(t *testing.T) {
	kerneltest.Root(t)
	_, args := localProgram(t)
	for _, test := range []struct {
		name           string
		flags          []string
		steps, script  string
		status         int
		stdout, stderr string // stderr: contained in it
	}{
		{"streams and code", nil, "out:hello err:oops exit:3", "echo hello; echo oops >&2; exit 3", 3, "hello\n", "oops\n"},
		{"success", []string{"-q"}, "out:hello", "echo hello", 0, "hello\n", ""},
		{"all grants", []string{"-q", "-user", "54321", "-net", "host", "-userns", "-bind", "/usr:/opt/usr", "-bind", "/usr:/opt/2:rw"}, "out:hello", "echo hello", 0, "hello\n", ""},
		{"timeout", []string{"-timeout", "100ms", "-grace", "0s"}, "hold:", "sleep 100", 124, "", "timed_out"},
		{"not found", []string{"-dir", "/", "nosuchprogram"}, "", "", 127, "", "nosuchprogram"},
		{"not executable", []string{"/etc"}, "", "", 126, "", "/etc"},
		{"bad flag", []string{"-memory", "x"}, "", "", 2, "", "-memory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd, stderr := local(t, args(test.steps, test.script), test.flags...)
			stdout, err := cmd.Output()
			if code := exitCode(t, err); code != test.status {
				t.Errorf("status %d, not %d", code, test.status)
			}
			if string(stdout) != test.stdout || !strings.Contains(stderr.String(), test.stderr) {
				t.Errorf("stdout %q, stderr %q", stdout, stderr)
			}
			if test.name == "success" && stderr.String() != "" {
				t.Errorf("stderr %q", stderr)
			}
			checkClean(t, cmd.Process.Pid)
		})
	}
}

// TestLocalLimit: a limit is in force or refused, with the reason.
func TestLocalLimit(t *testing.T) {
	kerneltest.Root(t)
	_, args := localProgram(t)
	cmd, stderr := local(t, args("mem:100000000", "head -c 100000000 /dev/zero | tail | wc -c"), "-memory", "32M")
	stdout, err := cmd.Output()
	switch code := exitCode(t, err); code {
	case 137:
		if !strings.Contains(stderr.String(), "oom_killed") || len(stdout) > 0 {
			t.Errorf("stdout %q, stderr %q", stdout, stderr)
		}
	case 125:
		for _, want := range []string{"limits that cannot be enforced here: ", "memory (", "limits.memory_bytes"} {
			if !strings.Contains(stderr.String(), want) {
				t.Errorf("%q does not say %q", stderr, want)
			}
		}
	default:
		t.Errorf("status %d: %s", code, stderr)
	}
	checkClean(t, cmd.Process.Pid)
}

// TestLocalEnds: a signal and a reader that goes away take the embedded worker along.
func TestLocalEnds(t *testing.T) {
	kerneltest.Root(t)
	_, args := localProgram(t)
	for _, test := range []struct {
		name   string
		end    func(p *os.Process, stdout *os.File) error
		status int
	}{
		{"SIGTERM", func(p *os.Process, _ *os.File) error { return p.Signal(syscall.SIGTERM) }, 143},
		{"SIGHUP", func(p *os.Process, _ *os.File) error { return p.Signal(syscall.SIGHUP) }, 143},
		{"SIGINT", func(p *os.Process, _ *os.File) error { return p.Signal(syscall.SIGINT) }, 130},
		{"closed pipe", func(_ *os.Process, stdout *os.File) error { return stdout.Close() }, 141},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			cmd, stderr := local(t, args("flood:", "exec yes"))
			cmd.Stdout = w
			err = cmd.Start()
			w.Close()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := bufio.NewReader(r).ReadString('\n'); err != nil {
				t.Error(err)
			}
			if err := test.end(cmd.Process, r); err != nil {
				t.Error(err)
			}
			if test.status != 141 {
				go func() { // ends with the process, for which Wait waits below
					buf := make([]byte, 64<<10)
					for _, err := r.Read(buf); err == nil; _, err = r.Read(buf) {
					}
				}()
			}
			if code := exitCode(t, cmd.Wait()); code != test.status {
				t.Errorf("status %d, not %d: %s", code, test.status, stderr)
			}
			checkClean(t, cmd.Process.Pid)
		})
	}
}
