package cgroupv2

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// private finds a place on a mount of its own, where no cgroup2 mount is visible that can be
// written to: in a container that is not privileged, or on a host with cgroup v1. The mount is attached to nothing: it
// exists through its file descriptor, and paths lead to it only through /proc/self/fd. Its
// top is the cgroup that this process is in.
func private(name string) (place, error) {
	fd, err := mountDetached()
	if err != nil {
		return place{}, fmt.Errorf("no writable cgroup2 mount is visible, and none can be made: %w", err)
	}
	top := fmt.Sprintf("/proc/self/fd/%d", fd)
	root := topOrDefault(top)
	if name != "" {
		root = filepath.Join(top, name)
	}
	return place{root: root, top: top, mount: fd}, nil
}

// mountDetached makes the mount from a cgroup namespace of its own. A mount made in the
// initial one sets the options of the whole hierarchy, and one without nsdelegate would
// take that protection from the host (kernel/cgroup/cgroup.c, apply_cgroup_root_flags).
//
//	open("/proc/thread-self/ns/cgroup")  = home
//	unshare(CLONE_NEWCGROUP)
//	fsopen("cgroup2")                    = fs
//	fsconfig(fs, FSCONFIG_CMD_CREATE)
//	fsmount(fs, NOSUID|NODEV|NOEXEC)     = mount
//	setns(home, CLONE_NEWCGROUP)
func mountDetached() (fd int, err error) {
	runtime.LockOSThread()
	home, err := openAt(unix.AT_FDCWD, "/proc/thread-self/ns/cgroup", unix.O_RDONLY)
	if err != nil {
		runtime.UnlockOSThread()
		return -1, failure("open", "/proc/thread-self/ns/cgroup", err)
	}
	defer unix.Close(home)
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		runtime.UnlockOSThread()
		return -1, failure("unshare", "cgroup namespace", err)
	}
	fd, err = newMount()
	if back := unix.Setns(home, unix.CLONE_NEWCGROUP); back != nil {
		// The thread stays locked: no other goroutine may run in the wrong namespace.
		if fd >= 0 {
			unix.Close(fd)
		}
		return -1, errors.Join(err, failure("setns", "cgroup namespace", back))
	}
	runtime.UnlockOSThread()
	return fd, err
}

// newMount mounts cgroup2 and attaches it to nothing; the caller owns the descriptor.
func newMount() (int, error) {
	fs, err := unix.Fsopen("cgroup2", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, failure("fsopen", "cgroup2", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, failure("fsconfig", "cgroup2", err)
	}
	attr := unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attr)
	if err != nil {
		return -1, failure("fsmount", "cgroup2", err)
	}
	return fd, nil
}
