// Package kerneltest says which kernel a test needs.
//
// A developer's machine may have no cgroup v2, or another one's; the tests
// carry their own kernel, which `make test-vm` boots (internal/vmexec). A test
// that needs it begins with VM, a test that needs only root and a cgroup2 mount
// with Root:
//
//	func TestMemoryMax(t *testing.T) {
//		kerneltest.VM(t)
//		...
//	}
//
// Outside, such a test skips and prints the command that runs it. Inside, where
// the environment says KERNELTEST=vm, it never skips: what is missing there is
// a failure. `make test-vm` runs every package whose tests import this one, and
// fails on any skip.
//
// All functions are called from the test's own goroutine; they do not block.
package kerneltest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	cgroupMount = "/sys/fs/cgroup" // in the machine
	diskMount   = "/disk"
)

// controllers are those the machine must have.
var controllers = []string{"cpu", "memory", "io", "pids"}

// VM returns when the test runs as root in the machine of vmexec, whose
// /sys/fs/cgroup is a cgroup v2 with the cpu, memory, io and pids controllers.
// Elsewhere it skips the test. In a machine that lacks one of them it fails it.
func VM(t testing.TB) {
	t.Helper()
	if !inVM() {
		t.Skipf("needs root and cgroup v2 on a kernel of its own; run: make test-vm PKG=%s RUN='^%s$'", pkg(), topName(t))
	}
	if err := checkRoot(); err != nil {
		t.Fatalf("kerneltest: %v", err)
	}
	b, err := os.ReadFile(filepath.Join(cgroupMount, "cgroup.controllers"))
	if err != nil {
		t.Fatalf("kerneltest: %v", err)
	}
	have := strings.Fields(string(b))
	for _, c := range controllers {
		if !slices.Contains(have, c) {
			t.Fatalf("kerneltest: cgroup controller %s is missing: have %q", c, have)
		}
	}
}

// Root returns when the test runs as root and sees a cgroup2 mount, with or
// without controllers (a hybrid host has one). Otherwise it skips the test and
// says which is missing; in the machine it fails it.
func Root(t testing.TB) {
	t.Helper()
	err := checkRoot()
	if err == nil {
		err = checkCgroup2()
	}
	switch {
	case err == nil:
	case inVM():
		t.Fatalf("kerneltest: %v", err)
	default:
		t.Skipf("%v; run as root, or: make test-vm PKG=%s RUN='^%s$'", err, pkg(), topName(t))
	}
}

// Disk returns a new directory on the machine's ext4 file system, which lies on
// a whole NVMe disk that io.max can limit. It is removed with all it holds when
// the test is over. Disk implies VM.
func Disk(t testing.TB) string {
	t.Helper()
	VM(t)
	dir, err := os.MkdirTemp(diskMount, "test-")
	if err != nil {
		t.Fatalf("kerneltest: %v", err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("kerneltest: %v", err)
		}
	})
	return dir
}

func inVM() bool { return os.Getenv("KERNELTEST") == "vm" }

func checkRoot() error {
	if uid := os.Geteuid(); uid != 0 {
		return fmt.Errorf("effective uid is %d, not root", uid)
	}
	return nil
}

func checkCgroup2() error {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	// The file system type follows the separator, proc_pid_mountinfo(5).
	if !strings.Contains(string(b), " - cgroup2 ") {
		return fmt.Errorf("no cgroup2 mount in /proc/self/mountinfo")
	}
	return nil
}

// pkg names the package under test as the make target wants it. The go command
// runs a test in its package's directory.
func pkg() string {
	dir, err := os.Getwd()
	if err != nil {
		return "./..."
	}
	for top := dir; top != filepath.Dir(top); top = filepath.Dir(top) {
		if _, err := os.Stat(filepath.Join(top, "go.mod")); err == nil {
			return "." + strings.TrimPrefix(dir, top)
		}
	}
	return "./..."
}

func topName(t testing.TB) string {
	name, _, _ := strings.Cut(t.Name(), "/")
	return name
}
