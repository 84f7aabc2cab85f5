//go:build linux

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"jobworker/internal/kerneltest"
)

// TestNotDumpable: the daemon's memory is read by no process, and goes to no core
// file. The kernel shows it by whom the files in /proc/<pid> belong to: root, and
// not the process's own user and group (proc_pid(5)).
func TestNotDumpable(t *testing.T) {
	kerneltest.Root(t)
	const group = 54321
	p := newProcess(t)
	program := filepath.Join(p.dir, "jobworker")
	copyProgram(t, program)
	for _, tt := range []struct {
		what string
		args []string
		want uint32
	}{
		{"a program that says nothing of it", []string{"/bin/sh", "-c", "echo ready; exec sleep 1000"}, group},
		{"the daemon", append([]string{program}, p.args...), 0},
	} {
		cmd := exec.CommandContext(t.Context(), tt.args[0], tt.args[1:]...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GORACE=atexit_sleep_ms=0"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Gid: group}}
		if got := groupOf(t, cmd); got != tt.want {
			t.Errorf("%s: its files in /proc belong to group %d, want %d", tt.what, got, tt.want)
		}
	}
}

// groupOf starts the program, and ends it after its first line of output.
func groupOf(t *testing.T, cmd *exec.Cmd) uint32 {
	t.Helper()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait() // by the signal, or with a status after it
	}()
	if line, err := readLine(stdout); err != nil {
		t.Fatalf("%s: %q, %v", cmd.Path, line, err)
	}
	var st syscall.Stat_t
	if err := syscall.Stat(fmt.Sprintf("/proc/%d/environ", cmd.Process.Pid), &st); err != nil {
		t.Fatal(err)
	}
	return st.Gid
}
