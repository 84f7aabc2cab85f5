package nsinit

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// The descriptors nsinit is executed with. Standard input and output are
// /dev/null, standard error is the daemon's.
const (
	controlFD = 3 + iota // the socket of the protocol
	logFD                // Files.Log
	exitFD               // Files.Exit
	payloadFD            // Files.PayloadCgroup
	cpuMaxFD             // Files.CPUMax, if Config.CPUMax is not empty
)

// initName is argv[0] of nsinit, by which MaybeRun knows it.
const initName = "jobworker-nsinit"

// socketpair returns the two ends of the control socket. Ours is non-blocking,
// so that the runtime's poller waits for it and deadlines work.
func socketpair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, nil, errors.Join(err, unix.Close(fds[0]), unix.Close(fds[1]))
	}
	return os.NewFile(uintptr(fds[0]), "control"), os.NewFile(uintptr(fds[1]), "control"), nil
}

func shutdownWrite(f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	err = conn.Control(func(fd uintptr) { serr = unix.Shutdown(int(fd), unix.SHUT_WR) })
	return errors.Join(err, serr)
}

// errno returns the system's error number in err, or 0.
func errno(err error) syscall.Errno {
	n, _ := errors.AsType[syscall.Errno](err)
	return n
}

// explainClone says what a refused clone3(2) means for the cgroup and the
// namespaces it was asked for.
func explainClone(err error) string {
	why := map[syscall.Errno]string{
		unix.ENOSYS:     "this kernel has no clone3, or a seccomp filter hides it",
		unix.EOPNOTSUPP: "the cgroup is threaded",
		unix.EBUSY:      "the cgroup has controllers enabled for its children",
		unix.EACCES:     "no permission to put a process into the cgroup",
		unix.ENOENT:     "the cgroup is not below the root of this process's cgroup namespace, or was removed",
		unix.EPERM:      "no permission to make namespaces",
		unix.ENOSPC:     "too many namespaces, see /proc/sys/user/max_*_namespaces",
		unix.EUSERS:     "too many namespaces, see /proc/sys/user/max_*_namespaces",
	}[errno(err)]
	if why == "" {
		return err.Error()
	}
	return fmt.Sprintf("%v: %s", err, why)
}
