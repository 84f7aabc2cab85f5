package nsinit

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// A mount is a file descriptor of a mount that is not attached anywhere yet.
// Its attributes are set before it is: there is no moment in which the job or
// another mount could find it writable (CVE-2025-31133 and its kin needed one).
// An error ends nsinit, so nothing is closed on the way to one.
type mount int

// Attributes of mounts, see mount_setattr(2).
const (
	nosuidNodev = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
	readOnly    = unix.MOUNT_ATTR_RDONLY
	noexec      = unix.MOUNT_ATTR_NOEXEC
)

// An option is a parameter of a file system, as in mount(8) -o key=value.
type option struct{ key, value string }

// newMount makes a file system.
//
//	fsopen(fstype), fsconfig(SET_STRING)…, fsconfig(CMD_CREATE), fsmount(attr)
func newMount(fstype string, attr int, options ...option) (mount, error) {
	fd, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("fsopen %s: %w", fstype, err)
	}
	defer unix.Close(fd)
	for _, o := range options {
		if err := unix.FsconfigSetString(fd, o.key, o.value); err != nil {
			return -1, fmt.Errorf("fsconfig %s %s=%s: %w", fstype, o.key, o.value, err)
		}
	}
	if err := unix.FsconfigCreate(fd); err != nil {
		return -1, fmt.Errorf("fsconfig %s: create: %w", fstype, err)
	}
	m, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, attr)
	if err != nil {
		return -1, fmt.Errorf("fsmount %s: %w", fstype, err)
	}
	return mount(m), nil
}

// cloneMount makes a copy of what is mounted at path below dir, with all that is
// mounted below it, private and with attr set on every part.
func cloneMount(dir int, path string, attr uint64) (mount, error) {
	m, err := openTree(dir, path, unix.AT_RECURSIVE)
	if err != nil {
		return -1, err
	}
	return m, m.set(attr, unix.AT_RECURSIVE)
}

// copyMount makes a copy of path below dir alone, with the attributes that it has
// there.
func copyMount(dir int, path string) (mount, error) { return openTree(dir, path, 0) }

// openTree copies what is at path below dir, or dir itself for an empty path.
func openTree(dir int, path string, flags uint) (mount, error) {
	fd, err := unix.OpenTree(dir, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW|flags)
	if err != nil {
		return -1, fmt.Errorf("open_tree %s: %w", path, err)
	}
	return mount(fd), nil
}

// set makes m private and adds attr to what it has; with AT_RECURSIVE also what is
// mounted below it.
func (m mount) set(attr uint64, flags uint) error {
	set := unix.MountAttr{Attr_set: attr, Propagation: unix.MS_PRIVATE}
	if err := unix.MountSetattr(int(m), "", unix.AT_EMPTY_PATH|flags, &set); err != nil {
		return fmt.Errorf("mount_setattr: %w", err)
	}
	return nil
}

// protect makes m read-only, after it has been filled.
func (m mount) protect() error { return m.set(readOnly, 0) }

// attachAt mounts m over what fd is.
func (m mount) attachAt(fd int) error {
	err := unix.MoveMount(int(m), "", fd, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	if err == unix.EINVAL {
		return fmt.Errorf("move_mount: %w: a directory goes over a directory, a file over a file", err)
	}
	if err != nil {
		return fmt.Errorf("move_mount: %w", err)
	}
	return nil
}

// attach mounts m at path below dir, following no link at its end. Where there can
// be links before that, attachWithin is for it.
func (m mount) attach(dir int, path string) error {
	if err := unix.MoveMount(int(m), "", dir, path, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("move_mount %s: %w", path, err)
	}
	return nil
}

func (m mount) close() { unix.Close(int(m)) }
