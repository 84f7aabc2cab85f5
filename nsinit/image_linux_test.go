package nsinit_test

import (
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"jobworker/internal/kerneltest"
)

// noexecSysctl forbids executable memfds where it is 2. It belongs to the PID
// namespace and cannot be lowered again, so the test takes a namespace of its own.
const noexecSysctl = "/proc/sys/vm/memfd_noexec"

// noexecEnv tells TestMain to forbid them.
const noexecEnv = "TEST_MEMFD_NOEXEC"

// TestNoExecutableMemfd runs TestExit where the image cannot be a memfd.
func TestNoExecutableMemfd(t *testing.T) {
	kerneltest.Root(t)
	if _, err := os.Stat(noexecSysctl); os.IsNotExist(err) {
		return // before Linux 6.3 nothing forbids them, and TestExit has said all
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run", "^TestExit$", "-test.v")
	cmd.Env = append(os.Environ(), noexecEnv+"=1")
	cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// forbidMemfds does what noexecEnv asks for, and checks that it has.
func forbidMemfds() {
	if os.Getenv(noexecEnv) == "" {
		return
	}
	if err := os.WriteFile(noexecSysctl, []byte("2"), 0); err != nil {
		panic(err)
	}
	if _, err := unix.MemfdCreate("x", unix.MFD_EXEC); err != unix.EACCES {
		panic(err)
	}
}
