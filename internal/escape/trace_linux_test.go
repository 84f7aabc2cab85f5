package escape_test

import (
	"bufio"
	"fmt"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"jobworker/internal/kerneltest"
)

// TestTraceInit: root itself looks into nsinit only with CAP_SYS_PTRACE, which
// overrides that it is not dumpable (ptrace(2), access mode checking). Another
// process with the capabilities of nsinit is open to root.
func TestTraceInit(t *testing.T) {
	kerneltest.VM(t)
	s := newSite(t)
	r := s.run(s.client("alice"), shell(waiting))
	meek := exec.CommandContext(t.Context(), executable(s), "meek")
	out, err := meek.StdoutPipe()
	s.must(err, meek.Start())
	t.Cleanup(func() { meek.Process.Kill(); meek.Wait() }) // killed: no status to look at
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("meek: %q, %v", line, err)
	}
	for _, tt := range []struct {
		what, want string
		pid        int
	}{
		{"nsinit", "mem EACCES, environ EACCES\n", r.pid("init")},
		{"another process", "mem ok, environ ok\n", meek.Process.Pid},
	} {
		got, err := exec.CommandContext(t.Context(), executable(s), "peek", strconv.Itoa(tt.pid)).Output()
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: %q, %v, want %q", tt.what, got, err, tt.want)
		}
	}
}

// meek waits with no capability but CAP_KILL, as nsinit does.
func meek([]string) error {
	if err := setCapabilities(1 << unix.CAP_KILL); err != nil {
		return err
	}
	fmt.Println("ready")
	select {}
}

// peek tries to look into a process with all capabilities but CAP_SYS_PTRACE.
func peek(args []string) error {
	runtime.LockOSThread()
	if err := setCapabilities(1<<(unix.CAP_LAST_CAP+1) - 1 - 1<<unix.CAP_SYS_PTRACE); err != nil {
		return err
	}
	var words []any
	for _, name := range []string{"mem", "environ"} {
		fd, err := unix.Open("/proc/"+args[0]+"/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			_, err = unix.Read(fd, nil) // environ decides here
		}
		words = append(words, errorName(err))
	}
	_, err := fmt.Printf("mem %s, environ %s\n", words...)
	return err
}

func errorName(err error) string {
	if errno, ok := err.(syscall.Errno); ok && errno != 0 {
		return unix.ErrnoName(errno)
	}
	return "ok"
}

// setCapabilities leaves all threads no others.
func setCapabilities(set uint64) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	for i := range data {
		word := uint32(set >> (32 * i))
		data[i] = unix.CapUserData{Effective: word, Permitted: word}
	}
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&hdr)), uintptr(unsafe.Pointer(&data[0])), 0)
	if errno != 0 {
		return errno
	}
	return nil
}
