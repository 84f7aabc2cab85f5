package nsinit

import (
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A view is what a directory contributes to the job's root: a link for each link,
// and for anything else a mount, at the place that it has in the directory.
type view struct {
	base  int      // descriptor of the directory: the host's root, or Files.Root
	names []string // of what it contributes, relative
	attr  uint64   // added to the attributes that the mounts have there
}

// wholeView is all that is in base but what jobs have of their own.
func wholeView(base int, attr uint64) (view, error) {
	fd, err := unix.Openat(base, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return view{}, fmt.Errorf("open root directory: %w", err)
	}
	f := os.NewFile(uintptr(fd), "root directory")
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return view{}, err
	}
	if len(names) > maxNames {
		return view{}, fmt.Errorf("root directory: %d entries, more than %d: each is a mount", len(names), maxNames)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(notShown, name) })
	return view{base, names, attr}, nil
}

// maxNames bounds the mounts of a root whose content is somebody else's.
const maxNames = 256

// notShown are the names in the job's root that it has of its own, or that none
// has.
var notShown = []string{"proc", "sys", "dev", "tmp", "scratch"}

// shows reports whether the absolute path name is part of v.
func (v view) shows(name string) bool {
	return slices.ContainsFunc(v.names, func(n string) bool { return strings.HasPrefix(name+"/", "/"+n+"/") })
}

// mountPoint makes below root what v needs for name: a link for a link, and for
// anything else something to mount it on. What is not there is left out.
func (v view) mountPoint(root int, name string) error {
	var st unix.Stat_t
	err := unix.Fstatat(v.base, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stat /%s: %w", name, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return makePoint(root, name, st.Mode)
	}
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(v.base, name, target)
	if err != nil {
		return fmt.Errorf("readlink /%s: %w", name, err)
	}
	if err := mkdirAllAt(root, path.Dir(name)); err != nil {
		return err
	}
	return unix.Symlinkat(string(target[:n]), root, name)
}

// attach mounts name of v below job, if it is no link and there at all.
func (v view) attach(job int, name string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(v.base, name, &st, unix.AT_SYMLINK_NOFOLLOW); err == unix.ENOENT || st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return nil // as in mountPoint
	}
	return attachNew(job, name, func() (mount, error) { return cloneMount(v.base, name, v.attr) })
}

// A bind is a mount that a job asks for.
type bind struct {
	mount  mount
	target string // absolute, as the job sees it
}

// mountPoint makes the place of b below root, where v does not have it.
func (b bind) mountPoint(root int, v view) error {
	if v.shows(b.target) {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(b.mount), &st); err != nil {
		return fmt.Errorf("stat bind to %s: %w", b.target, err)
	}
	return makePoint(root, strings.TrimPrefix(b.target, "/"), st.Mode)
}

// makePoint makes something at rel to mount a file of the mode on.
func makePoint(root int, rel string, mode uint32) error {
	if mode&unix.S_IFMT == unix.S_IFDIR {
		return mkdirAllAt(root, rel)
	}
	if err := mkdirAllAt(root, path.Dir(rel)); err != nil {
		return err
	}
	return createAt(root, rel, "")
}

func mkdirAllAt(root int, rel string) error {
	if rel == "." {
		return nil
	}
	if err := mkdirAllAt(root, path.Dir(rel)); err != nil {
		return err
	}
	if err := unix.Mkdirat(root, rel, 0o755); err != nil && err != unix.EEXIST {
		return fmt.Errorf("mkdir /%s: %w", rel, err)
	}
	return nil
}
