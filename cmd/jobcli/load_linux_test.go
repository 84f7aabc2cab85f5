package main

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestInputLoad: an input of any size goes through a jobcli and a worker that both
// hold only a little of it.
func TestInputLoad(t *testing.T) {
	size := int64(loadBytes)
	if os.Getenv("KERNELTEST") == "vm" {
		size = 16 << 20 // the processor is emulated
	}
	s := newSite(t)
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Args = []string{"jobcli", "run", "-q", "-i", s.program, "sum:", "hold:"}
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
	for k, v := range s.terminal("alice").vars {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	hash := sha256.New()
	cmd.Stdin = io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{4}), size), hash)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	// The peak is counted from now on: proc_pid_clear_refs(5).
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
	before := memory(t, os.Getpid(), "VmRSS")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	client, worker := memory(t, cmd.Process.Pid, "VmHWM"), memory(t, os.Getpid(), "VmHWM")-before
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if code := exitCode(t, cmd.Wait()); code != 143 {
		t.Errorf("status %d, not 143", code)
	}
	if want := fmt.Sprintf("%d %x\n", size, hash.Sum(nil)); err != nil || line != want {
		t.Errorf("the job says %q, %v, want %q", line, err, want)
	}
	if client > loadMemory || worker > loadMemory {
		t.Errorf("jobcli took %d KiB, the worker %d KiB more than before", client, worker)
	}
	t.Logf("%d MiB of input: jobcli took %d KiB, the worker %d KiB more than before", size>>20, client, worker)
}

// memory returns a field of /proc/PID/status, in KiB.
func memory(t *testing.T, pid int, field string) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "\n"+field+":")
	n, err := strconv.Atoi(strings.Fields(rest + " ? ?")[0])
	if err != nil {
		t.Fatalf("%s in %s: %v", field, b, err)
	}
	return n
}
