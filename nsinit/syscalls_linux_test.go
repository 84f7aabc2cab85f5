package nsinit_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// probeEnv makes this test binary the program that makes the calls of probes.
const probeEnv = "NSINIT_TEST_PROBE"

// A probe is a system call that a job must not be able to make. outside is what
// it answers without the filter, so that the test sees that it is the filter
// that answers in the job; 0 is success.
type probe struct {
	name    string
	number  uintptr
	args    [3]uintptr
	inside  syscall.Errno
	outside []syscall.Errno
}

const (
	afVsock = 40
	x32     = 1 << 30
)

// probes do no harm where they succeed.
var probes = []probe{
	{"ptrace ATTACH", unix.SYS_PTRACE, [3]uintptr{unix.PTRACE_ATTACH, 1 << 30}, unix.EPERM, []syscall.Errno{unix.ESRCH}},
	{"keyctl GET_KEYRING_ID", unix.SYS_KEYCTL, [3]uintptr{unix.KEYCTL_GET_KEYRING_ID, ^uintptr(2), 0}, unix.EPERM, []syscall.Errno{0, unix.ENOKEY, unix.ENOSYS}},
	{"io_uring_setup", unix.SYS_IO_URING_SETUP, [3]uintptr{0, 0}, unix.EPERM, []syscall.Errno{unix.EFAULT, unix.EINVAL, unix.ENOSYS}},
	{"bpf", unix.SYS_BPF, [3]uintptr{99, 0, 0}, unix.EPERM, []syscall.Errno{unix.EINVAL, unix.ENOSYS}},
	{"userfaultfd", unix.SYS_USERFAULTFD, [3]uintptr{^uintptr(0)}, unix.EPERM, []syscall.Errno{unix.EINVAL, unix.ENOSYS}},
	{"perf_event_open", unix.SYS_PERF_EVENT_OPEN, [3]uintptr{0}, unix.EPERM, []syscall.Errno{unix.EFAULT, unix.ENOSYS}},
	{"kcmp", unix.SYS_KCMP, [3]uintptr{1 << 30, 1 << 30}, unix.EPERM, []syscall.Errno{unix.ESRCH, unix.ENOSYS}},
	{"open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, [3]uintptr{0, 0, 0}, unix.EPERM, []syscall.Errno{unix.EFAULT}},
	{"personality ADDR_NO_RANDOMIZE", unix.SYS_PERSONALITY, [3]uintptr{0x0040000}, unix.EPERM, []syscall.Errno{0}},
	{"ioctl TIOCSTI", unix.SYS_IOCTL, [3]uintptr{^uintptr(0), unix.TIOCSTI}, unix.EPERM, []syscall.Errno{unix.EBADF}},
	{"ioctl TIOCLINUX", unix.SYS_IOCTL, [3]uintptr{^uintptr(0), unix.TIOCLINUX}, unix.EPERM, []syscall.Errno{unix.EBADF}},
	{"socket VSOCK", unix.SYS_SOCKET, [3]uintptr{afVsock, unix.SOCK_STREAM | unix.SOCK_CLOEXEC}, unix.EAFNOSUPPORT, []syscall.Errno{0, unix.EAFNOSUPPORT}},
	{"socket PACKET", unix.SYS_SOCKET, [3]uintptr{unix.AF_PACKET, unix.SOCK_RAW | unix.SOCK_CLOEXEC}, unix.EAFNOSUPPORT, []syscall.Errno{0, unix.EAFNOSUPPORT}},
	{"unshare USER", unix.SYS_UNSHARE, [3]uintptr{unix.CLONE_NEWUSER}, unix.EPERM, []syscall.Errno{unix.EINVAL}}, // of a process with threads
	{"call 4000", 4000, [3]uintptr{}, unix.ENOSYS, []syscall.Errno{unix.ENOSYS}},
	{"x32 getpid", x32 + unix.SYS_GETPID, [3]uintptr{}, unix.ENOSYS, []syscall.Errno{0, unix.ENOSYS}},
	{"getpid", unix.SYS_GETPID, [3]uintptr{}, 0, []syscall.Errno{0}},
	{"unshare FILES", unix.SYS_UNSHARE, [3]uintptr{unix.CLONE_FILES}, 0, []syscall.Errno{0}},
}

// probeAll makes the calls and writes what they answer to standard output.
func probeAll() error {
	answers := make(map[string]syscall.Errno)
	for _, p := range probes {
		_, _, errno := unix.RawSyscall(p.number, p.args[0], p.args[1], p.args[2])
		answers[p.name] = errno
	}
	return json.NewEncoder(os.Stdout).Encode(answers)
}

// TestSystemCalls makes the calls in a job, and outside of one.
func TestSystemCalls(t *testing.T) {
	fx := newFixture(t)
	program := filepath.Join(fx.scratch, "probe")
	copyTestBinary(t, program)
	c := fx.config("")
	c.Argv, c.Env = []string{"/scratch/probe"}, append(c.Env, probeEnv+"=1")
	p, err := fx.launch(t.Context(), c)
	must(t, err)
	must(t, errors.Join(p.Wait(), p.Close()))
	if e := fx.exited(); e == nil || e.Code == nil || *e.Code != 0 {
		t.Fatalf("exit file %s; output %s", fx.read(fx.exit), fx.output())
	}
	outside := exec.Command(program)
	outside.Env = append(os.Environ(), probeEnv+"=1")
	out, err := outside.Output()
	must(t, err)

	var in, off map[string]syscall.Errno
	must(t, errors.Join(json.Unmarshal([]byte(fx.output()), &in), json.Unmarshal(out, &off)))
	for _, p := range probes {
		if got := in[p.name]; got != p.inside {
			t.Errorf("%s: %v in a job, want %v", p.name, got, p.inside)
		}
		if got := off[p.name]; !slices.Contains(p.outside, got) {
			t.Errorf("%s: %v outside of a job, want one of %v", p.name, got, p.outside)
		}
	}
}

// copyTestBinary makes this program one that a job can execute.
func copyTestBinary(t *testing.T, name string) {
	t.Helper()
	from, err := os.Open("/proc/self/exe")
	must(t, err)
	defer from.Close()
	to, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	must(t, err)
	_, err = io.Copy(to, from)
	must(t, errors.Join(err, to.Close()))
}
