package nsinit

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// lateRoot is newRoot for a job whose root cannot be begun without it.
func (e *early) lateRoot(c Config, binds []bind) (r root, err error) {
	switch c.Root {
	case RootDir:
		return newDirRoot(binds)
	case RootHost:
		return e.newHostRoot()
	}
	return e.newRoot(binds)
}

// newDirRoot is newRoot with what is in the directory of Files.Root, in place of the
// host's. It is mounted at outer/dir for as long as it takes to copy mounts from it:
// one that is attached nowhere can be copied since Linux 6.15 only.
func newDirRoot(binds []bind) (r root, err error) {
	defer unix.Umask(unix.Umask(0))
	if err := r.makeOuter(); err != nil {
		return r, err
	}
	const at = "dir"
	if err := unix.Mkdirat(int(r.outer), at, 0o700); err != nil {
		return r, fmt.Errorf("mkdir /%s: %w", at, err)
	}
	if err := attachNew(int(r.outer), at, func() (mount, error) { return rootFD, nil }); err != nil {
		return r, err
	}
	base, err := openDir(int(r.outer), at)
	if err != nil {
		return r, err
	}
	defer unix.Close(base)
	v, err := wholeView(base, nosuidNodev)
	if err != nil {
		return r, err
	}
	if err := r.fill(v, binds); err != nil {
		return r, err
	}
	return r, r.detach(at)
}

// newHostRoot is newRoot with all that the host has mounted, as it is but for
// setuid, and a /proc of the job's own in place of the host's.
func (e *early) newHostRoot() (r root, err error) {
	host, err := cloneMount(unix.AT_FDCWD, "/", unix.MOUNT_ATTR_NOSUID) // outer is not among it yet
	if err != nil {
		return r, err
	}
	if err := r.makeOuter(); err != nil {
		return r, err
	}
	if err := r.mountJob(func() (mount, error) { return host, nil }); err != nil {
		return r, err
	}
	if err := r.detach("job/" + ownProc.at); err != nil && errno(err) != unix.EINVAL { // not a mount
		return r, err
	}
	if err := attachNew(r.job, ownProc.at, ownProc.make); err != nil {
		return r, err
	}
	if err := maskProc(r.job); err != nil {
		return r, err
	}
	return r, hide(r.job, e.Hidden)
}

// detach takes off what is mounted at path below outer, with all that is on it.
func (r *root) detach(path string) error {
	if err := unix.Fchdir(int(r.outer)); err != nil {
		return fmt.Errorf("fchdir: %w", err)
	}
	if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("umount /%s: %w", path, err)
	}
	return nil
}
