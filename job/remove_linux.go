package job

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// maxDepth is how many directories removeTree has open at once.
const maxDepth = 32

// A remover deletes a tree that a job has made, however deep it is and whatever
// links are in it. os.RemoveAll holds a descriptor a level, of which a job can
// make more than this process may have.
type remover struct {
	root  int // the tree's top directory
	moved int // directories moved up to it
}

// removeTree deletes the directory name and all that is in it, and follows no
// link. Nothing else changes the tree.
func removeTree(name string) error {
	root, err := os.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer root.Close()
	r := remover{root: int(root.Fd())}
	for { // again, as long as what was too deep has come up
		moved := r.moved
		if err := r.empty(root, 0); err != nil {
			return fmt.Errorf("remove %s: %w", name, err)
		}
		if r.moved == moved {
			return os.Remove(name)
		}
		if _, err := root.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
}

// empty deletes what is in dir.
func (r *remover) empty(dir *os.File, depth int) error {
	for {
		names, err := dir.Readdirnames(1000)
		for _, name := range names {
			if err := r.remove(int(dir.Fd()), name, depth); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// remove deletes name in dir. A directory that is too deep is moved up instead.
func (r *remover) remove(dir int, name string, depth int) error {
	err := unix.Unlinkat(dir, name, 0)
	if err == nil || err == unix.ENOENT {
		return nil
	}
	if err != unix.EISDIR {
		return &os.PathError{Op: "unlink", Path: name, Err: err}
	}
	if depth == maxDepth {
		r.moved++
		return os.NewSyscallError("renameat", unix.Renameat(dir, name, r.root, fmt.Sprintf("moved-%d", r.moved)))
	}
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: name, Err: err}
	}
	sub := os.NewFile(uintptr(fd), name)
	if err := errors.Join(r.empty(sub, depth+1), sub.Close()); err != nil {
		return err
	}
	return os.NewSyscallError("rmdir", unix.Unlinkat(dir, name, unix.AT_REMOVEDIR))
}
