package nsinit

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func joinSessionKeyring() error {
	_, _, errno := unix.Syscall(unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0)
	if errno != 0 && errno != unix.ENOSYS { // a kernel without keyrings has none to leave
		return errno
	}
	return nil
}

// dropBoundingSet empties this thread's capability bounding set. The kernel
// says EINVAL behind the last capability it knows.
func dropBoundingSet() error {
	for c := uintptr(0); ; c++ {
		switch err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); {
		case err == unix.EINVAL && c > 0:
			return nil
		case err != nil:
			return err
		}
	}
}

// clearInheritable empties this thread's inheritable set, and with it the
// ambient set, which is always a part of it (capabilities(7)).
func clearInheritable() error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return err
	}
	data[0].Inheritable, data[1].Inheritable = 0, 0
	return unix.Capset(&hdr, &data[0])
}

// keepOnlyKill leaves all threads of nsinit no capability but CAP_KILL, with
// which it signals the job's processes: they have another user id.
func keepOnlyKill() error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	const kill = 1 << unix.CAP_KILL
	data := [2]unix.CapUserData{{Effective: kill, Permitted: kill}}
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&hdr)), uintptr(unsafe.Pointer(&data[0])), 0)
	if errno == unix.ENOTSUP && cgo {
		return nil // AllThreadsSyscall knows no threads of C: only tests with -race are built so
	}
	if errno != 0 {
		return fmt.Errorf("capset: %w", errno)
	}
	return nil
}
