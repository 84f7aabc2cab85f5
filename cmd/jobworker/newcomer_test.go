//go:build linux

package main

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"jobworker/internal/kerneltest"
)

// TestNewcomer: what a daemon lacks first is said, with what to do about it.
func TestNewcomer(t *testing.T) {
	kerneltest.Root(t)
	t.Run("not root", func(t *testing.T) {
		p := newProcess(t)
		const nobody = 65534
		giveAway(t, p.dir, nobody)
		cmd := exec.CommandContext(t.Context(), filepath.Join(p.dir, "jobworker"), p.args...)
		copyProgram(t, cmd.Path)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		cmd.Env = []string{"GORACE=atexit_sleep_ms=0"}
		out, err := cmd.CombinedOutput()
		exit, _ := errors.AsType[*exec.ExitError](err)
		if want := "jobworker: open worker: must be root (try sudo): "; exit == nil || exit.ExitCode() != 1 || !strings.HasPrefix(string(out), want) {
			t.Errorf("%v: %s, want %q", err, out, want)
		}
	})
	t.Run("no controllers", func(t *testing.T) {
		p := newProcess(t)
		p.start()
		missing := strings.Contains(p.log.String(), "limits cannot be enforced")
		if code := p.stop(); code != 0 {
			t.Fatalf("exit status %d:\n%s", code, p.log)
		}
		if !missing {
			return // all are there, and the daemon has served
		}
		p = newProcess(t)
		p.args = append(p.args, "-allow-missing-controllers=false")
		code := run(t.Context(), env{p.log, p.log, func(string) string { return "" }, p.signals}, p.args)
		for _, want := range []string{"jobworker: open worker: ", "missing controllers: ", "; to mend it, ", "go without: -allow-missing-controllers"} {
			if code != 1 || !strings.Contains(p.log.String(), want) {
				t.Errorf("exit status %d, want 1 and %q:\n%s", code, want, p.log)
			}
		}
	})
}

// giveAway makes everything below dir, and the way to it, that of a user.
func giveAway(t *testing.T, dir string, uid int) {
	t.Helper()
	for up := dir; up != os.TempDir(); up = filepath.Dir(up) {
		if err := os.Chmod(up, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(path, uid, uid)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// copyProgram copies this binary to where others may execute it.
func copyProgram(t *testing.T, to string) {
	t.Helper()
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o755); err != nil {
		t.Fatal(err)
	}
}
