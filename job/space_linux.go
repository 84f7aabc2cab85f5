package job

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A space is what a worker knows about its disk. Its mutex comes before the
// worker's.
type space struct {
	mu   sync.Mutex // guards the rest, while jobs are counted
	used int64      // bytes of the state directory
	at   time.Time  // when they were counted
}

// spaceAge is how old the count of bytes may be that decides over a start: each
// takes a system call for every job that runs.
const spaceAge = time.Second

// checkSpace returns ErrNoSpace where another job might fill the disk.
func (w *Worker) checkSpace() error {
	if w.cfg.ReserveBytes != 0 {
		var st unix.Statfs_t
		if err := unix.Statfs(w.cfg.StateDir, &st); err != nil {
			return &os.PathError{Op: "statfs", Path: w.cfg.StateDir, Err: err}
		}
		// ramfs, for one, counts nothing.
		if free := int64(st.Bavail) * st.Bsize; st.Blocks != 0 && free < w.cfg.ReserveBytes {
			return fmt.Errorf("%w: %d bytes are free, %d in reserve", ErrNoSpace, free, w.cfg.ReserveBytes)
		}
	}
	if most := w.cfg.MaxStateBytes; most != 0 {
		if used := w.stateBytes(); used >= most {
			return fmt.Errorf("%w: the jobs take %d bytes of %d", ErrNoSpace, used, most)
		}
	}
	return nil
}

// stateBytes returns what the files of all jobs take, a second ago at most.
func (w *Worker) stateBytes() int64 {
	w.space.mu.Lock()
	defer w.space.mu.Unlock()
	if time.Since(w.space.at) < spaceAge {
		return w.space.used
	}
	w.space.used = 0
	for _, t := range w.inOrder() {
		w.space.used += t.diskBytes()
	}
	w.space.at = time.Now()
	return w.space.used
}

// forget has the bytes counted again before the next start.
func (s *space) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = time.Time{}
}

// diskBytes returns what the job's files take on the disk, but for its /scratch,
// which goes when the job does.
func (t *task) diskBytes() int64 {
	if n := t.size.Load(); n != 0 {
		return n
	}
	over, n := isDone(t.done), int64(0)
	entries, _ := os.ReadDir(t.dir) // without what has just been removed
	for _, e := range entries {
		var st unix.Stat_t
		if unix.Lstat(filepath.Join(t.dir, e.Name()), &st) == nil {
			n += st.Blocks * 512
		}
	}
	if over {
		t.size.Store(n)
	}
	return n
}

// noSpace marks errors of a disk that takes no more.
func noSpace(err error) error {
	for _, full := range []error{unix.ENOSPC, unix.EDQUOT, unix.EROFS} {
		if errors.Is(err, full) {
			return fmt.Errorf("%w: %w", ErrNoSpace, err)
		}
	}
	return err
}

// exitSize is more than an exit file takes.
const exitSize = 4 << 10

// reserveExit makes room on the disk for the exit file f, which may have to be
// written when there is none left. Not all file systems can (fallocate(2):
// EOPNOTSUPP), and then it takes its chance.
func reserveExit(f *os.File) error {
	err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, exitSize)
	if err != nil && err != unix.EOPNOTSUPP {
		return &os.PathError{Op: "fallocate", Path: f.Name(), Err: err}
	}
	return nil
}

// removeScratch makes room as soon as the job is over, since nobody is served
// from there.
func (t *task) removeScratch() {
	t.removal.Lock()
	defer t.removal.Unlock()
	err := removeTree(filepath.Join(t.dir, scratchName))
	if !errors.Is(err, os.ErrNotExist) { // a tmpfs, or the job has been removed
		t.complain("remove scratch", err)
	}
}
