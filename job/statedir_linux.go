package job

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"jobworker/internal/failpoint"
)

// Names in a state directory.
const (
	lockName    = "lock"
	jobsDir     = "jobs"
	logName     = "output.jsonl"
	exitName    = "exit.json"
	controlName = "control"
	stdinName   = "stdin"
	countName   = "stdin.count"
	scratchName = "scratch"

	// trashPrefix marks the directory of a job that is being removed. No id
	// begins with a dot.
	trashPrefix = ".removed-"
)

// A stateDir is a worker's directory, locked for it.
type stateDir struct {
	path string
	lock *os.File
}

// openStateDir makes the directory if need be, checks that nobody else can
// change what is in it, and locks it.
func openStateDir(path string) (*stateDir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	if err := checkPrivate(path); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	s := &stateDir{path, lock}
	if err := lockFor(lock); err != nil {
		return nil, errors.Join(fmt.Errorf("state directory %s: %w", path, err), lock.Close())
	}
	if err := s.prepare(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

// lastLock is the longest pause of lockFor, half of all that it waits.
const lastLock = 256 * time.Millisecond

// lockFor locks f for this process, until it is closed or the process ends. It tries
// for half a second: a process that a worker was just forking when it was killed has
// the lock too, until it executes (flock(2): a lock goes with the open file
// description).
func lockFor(f *os.File) error {
	for pause := time.Millisecond; ; pause *= 2 {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err != unix.EWOULDBLOCK {
			return os.NewSyscallError("flock", err)
		}
		if pause > lastLock {
			return errors.New("in use by another worker")
		}
		time.Sleep(pause)
	}
}

// lockCgroup takes the cgroup at path for this worker alone: which jobs in it are of
// the worker that looks, and which are left over, nobody else could tell.
func lockCgroup(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := lockFor(f); err != nil {
		return nil, errors.Join(fmt.Errorf("cgroup %s: %w", path, err), f.Close())
	}
	return f, nil
}

// checkDirs refuses what the administrator named but is not there: nsinit leaves
// out what does not exist, which is right for the directories of hostDirs alone.
func checkDirs(dirs []string) error {
	for _, dir := range dirs {
		fi, err := os.Lstat(dir)
		if err != nil {
			return fmt.Errorf("exposed directory: %w", err)
		}
		if !fi.IsDir() {
			return fmt.Errorf("exposed directory %s: is not a directory", dir)
		}
	}
	return nil
}

// checkPrivate refuses a directory that is not root's alone: whoever can write
// to it decides what runs as whom.
func checkPrivate(path string) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return &os.PathError{Op: "stat", Path: path, Err: err}
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		return fmt.Errorf("state directory %s: is not a directory", path)
	case st.Uid != 0:
		return fmt.Errorf("state directory %s: belongs to user %d, not to root", path, st.Uid)
	case st.Mode&0o077 != 0:
		return fmt.Errorf("state directory %s: mode %04o lets others in: chmod 0700 it", path, st.Mode&0o7777)
	}
	return nil
}

// prepare makes the directory of the jobs and finishes removals that were cut
// short.
func (s *stateDir) prepare() error {
	jobs := filepath.Join(s.path, jobsDir)
	if err := os.Mkdir(jobs, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	entries, err := os.ReadDir(jobs)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), trashPrefix) {
			if err := removeTree(filepath.Join(jobs, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *stateDir) close() error { return s.lock.Close() }

// job returns the directory of the job with an id.
func (s *stateDir) job(id string) string { return filepath.Join(s.path, jobsDir, id) }

// jobs returns the ids of the jobs that have a directory.
func (s *stateDir) jobs() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.path, jobsDir))
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, e := range entries {
		if id, ok := ParseID(e.Name()); ok {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// remove deletes the directory of a job. It is renamed first, so that no crash
// leaves half of a job.
func (s *stateDir) remove(id string) error {
	trash := filepath.Join(s.path, jobsDir, trashPrefix+id)
	if err := os.Rename(s.job(id), trash); err != nil {
		return err
	}
	failpoint.Here("remove.renamed")
	err := removeTree(trash)
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
		return removeByName(trash)
	}
	return err
}

// removeByName deletes the directory of a job that never was, by the names of what it
// can hold: that takes no descriptors, for want of which the start may have failed.
func removeByName(dir string) error {
	for _, name := range []string{recordName, tempName, logName, exitName, stopName, controlName, stdinName, countName, scratchName} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return os.Remove(dir)
}

// unused reports whether there is nothing in the directory of a job, or no more than
// half a record: no job was ever there.
func (s *stateDir) unused(id string) (bool, error) {
	entries, err := os.ReadDir(s.job(id))
	if err != nil {
		return false, err
	}
	return len(entries) == 0 || len(entries) == 1 && entries[0].Name() == tempName, nil
}

// uid returns the user id of the job with an id as the group of its directory says,
// which makeRecord has set: it has to stay taken even if the record cannot be read.
func (s *stateDir) uid(id string) (uint32, error) {
	var st unix.Stat_t
	if err := unix.Lstat(s.job(id), &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: s.job(id), Err: err}
	}
	return st.Gid, nil
}
