//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A host runs the real vmexec, with busybox as the program.
type host struct{ vmexec, busybox string }

// newHost builds vmexec, because a race-enabled test binary cannot be the
// guest's init. Without a kernel there is nothing to boot: it skips.
func newHost(t *testing.T) host {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	h := host{filepath.Join(t.TempDir(), "vmexec"), filepath.Join(cache, "jobworker", "busybox")}
	if _, err := os.Stat(h.busybox); errors.Is(err, os.ErrNotExist) {
		t.Skipf("%v; to get it: make deps", err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", h.vmexec, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build vmexec: %v\n%s", err, out)
	}
	return h
}

// command is vmexec with script as what the guest's shell runs.
func (h host) command(ctx context.Context, script string, flags ...string) *exec.Cmd {
	return exec.CommandContext(ctx, h.vmexec, append(flags, h.busybox, "sh", "-c", script)...)
}

func (h host) run(t *testing.T, script string, flags ...string) (stdout, stderr string, status int) {
	t.Helper()
	cmd := h.command(t.Context(), script, flags...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

func TestMachine(t *testing.T) {
	h := newHost(t)
	t.Run("status, output and clock", func(t *testing.T) {
		t.Parallel()
		const binary = `\001\026\r\n\377` // bytes a terminal would act on or change
		before := time.Now().Truncate(time.Second)
		stdout, stderr, status := h.run(t, `printf '`+binary+`'; date +%s; exit 3`)
		if status != 3 || stderr != "" {
			t.Errorf("status %d, stderr %q: want 3 and none", status, stderr)
		}
		clock, ok := strings.CutPrefix(stdout, "\001\026\r\n\377")
		sec, err := strconv.ParseInt(strings.TrimSpace(clock), 10, 64)
		if !ok || err != nil {
			t.Fatalf("stdout %q: want the bytes and a time", stdout)
		}
		// The guest reads a clock of whole seconds.
		if now := time.Unix(sec, 0); now.Before(before.Add(-2*time.Second)) || now.After(time.Now().Add(2*time.Second)) {
			t.Errorf("guest's clock says %v, the host's %v", now, time.Now())
		}
	})
	t.Run("killed by a signal", func(t *testing.T) {
		t.Parallel()
		if _, stderr, status := h.run(t, `kill -9 $$`); status != 137 {
			t.Errorf("status %d, want 137\n%s", status, stderr)
		}
	})
	t.Run("kernel panic", func(t *testing.T) {
		t.Parallel()
		_, stderr, status := h.run(t, `echo c >/proc/sysrq-trigger; sleep 1000`)
		if status != 125 || !strings.Contains(stderr, "Kernel panic") {
			t.Errorf("status %d, want 125 and the console\n%s", status, stderr)
		}
	})
	t.Run("hang", func(t *testing.T) {
		t.Parallel()
		_, stderr, status := h.run(t, `sleep 1000`, "-timeout", "4s")
		if status != 125 || !strings.Contains(stderr, "still running after 4s") {
			t.Errorf("status %d, want 125 and the reason\n%s", status, stderr)
		}
	})
	t.Run("power off without a status", func(t *testing.T) {
		t.Parallel()
		_, stderr, status := h.run(t, `reboot -f`)
		if status != 125 || !strings.Contains(stderr, "without a status") {
			t.Errorf("status %d, want 125 and the reason\n%s", status, stderr)
		}
	})
}

// TestSystemd: the program is a service of the systemd that is the guest's init.
func TestSystemd(t *testing.T) {
	h := newHost(t)
	stdout, stderr, status := h.run(t, `cat /proc/1/comm; systemctl show -P ActiveState basic.target; cat /proc/self/cgroup; exit 3`, "-systemd")
	if want := "systemd\nactive\n0::/system.slice/vmexec.service\n"; stdout != want || status != 3 {
		t.Errorf("status %d, stdout %q: want 3 and %q\n%s", status, stdout, want, stderr)
	}
}

// TestKilled: whatever ends vmexec ends its machine too.
func TestKilled(t *testing.T) {
	h := newHost(t)
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGQUIT} {
		t.Run(sig.String(), func(t *testing.T) {
			cmd := h.command(t.Context(), "echo up; sleep 1000")
			cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir()) // SIGKILL leaves its files behind
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			up := make([]byte, 3)
			if _, err := io.ReadFull(out, up); err != nil || string(up) != "up\n" {
				t.Fatalf("guest says %q, %v", up, err)
			}
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			// QEMU has the other end: this returns when it is gone too.
			if n, err := out.Read(up); n != 0 || err == nil {
				t.Errorf("more output %q", up[:n])
			}
			if err := cmd.Wait(); err == nil {
				t.Error("vmexec succeeded")
			}
		})
	}
}

func TestUsage(t *testing.T) {
	const needle = "usage: vmexec"
	for _, tt := range []struct {
		args   []string
		status int
		stderr string
	}{
		{nil, 2, needle},
		{[]string{"-nonsense", "x"}, 2, "-nonsense"},
		{[]string{"-h"}, 0, needle},
		{[]string{"-kernel", "/nonexistent/k", "x"}, 125, "/nonexistent/k: no such file or directory; to get it: make deps"},
		{[]string{"-kernel", "/dev/null", "-busybox", "/dev/null", "testdata/nothing"}, 125, "testdata/nothing"},
		{[]string{"-kernel", "/dev/null", "-busybox", "/dev/null", "main.go"}, 125, "bad magic"},
		{[]string{"-kernel", "/dev/null", "-busybox", "/dev/null", "/bin/sh"}, 125, "CGO_ENABLED=0"},
	} {
		var stderr bytes.Buffer
		if status := run(tt.args, &stderr); status != tt.status || !strings.Contains(stderr.String(), tt.stderr) {
			t.Errorf("vmexec %q = %d, %q: want %d, %q", tt.args, status, stderr.String(), tt.status, tt.stderr)
		}
	}
}
