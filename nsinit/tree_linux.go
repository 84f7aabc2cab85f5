package nsinit

import (
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// OpenPath opens the absolute path name for CloneTree, without following any link.
// The error is a *os.PathError, of unix.ELOOP for a link.
func OpenPath(name string) (*os.File, error) {
	return openPath(unix.AT_FDCWD, name, name, unix.RESOLVE_NO_SYMLINKS)
}

// OpenBeneath opens name below the directory dir for CloneTree. Links are followed
// as long as they stay in dir: what leads out, at any step of the way, is unix.EXDEV
// (openat2(2)). The error is a *os.PathError.
func OpenBeneath(dir *os.File, name string) (*os.File, error) {
	return openPath(int(dir.Fd()), name, path.Join(dir.Name(), name), unix.RESOLVE_BENEATH)
}

func openPath(dir int, name, full string, resolve uint64) (*os.File, error) {
	fd, err := openat2(dir, name, unix.O_PATH, resolve)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: full, Err: err}
	}
	return os.NewFile(uintptr(fd), full), nil
}

// CloneTree returns a mount of f, a directory or file of OpenPath or OpenBeneath, that
// is attached nowhere: for Files.Root and Files.Binds. It is private, nosuid, nodev,
// and read-only unless write is set. What else is mounted below f is not part of it.
func CloneTree(f *os.File, write bool) (*os.File, error) {
	m, err := copyMount(int(f.Fd()), "")
	if err != nil {
		return nil, err
	}
	attr := uint64(nosuidNodev | readOnly)
	if write {
		attr = nosuidNodev
	}
	tree := os.NewFile(uintptr(m), f.Name())
	if err := m.set(attr, 0); err != nil {
		tree.Close()
		return nil, err
	}
	return tree, nil
}
