package cgroupv2

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The cgroups of a tree; see the package comment.
const (
	supervisorName = "supervisor"
	jobsName       = "jobs"
	initName       = "init"
	payloadName    = "payload"
)

// Tree is one cgroup and what is below it. All its methods but Close are safe for
// concurrent use.
type Tree struct {
	place   place
	missing []Missing // in the order of Controllers
	jobs    int       // fd of jobs/; every file of every job is opened relative to it

	// What Open did, for Close to undo.
	madeRoot, madeJobs, madeSupervisor bool
	moved                              bool         // this process, from the root to supervisor/
	enabled                            []Controller // in the root
}

// Open finds the place of a tree, makes what is not there, and enables the controllers.
// It looks for the mount of cgroup2 in /proc/self/mountinfo. Where none is visible that
// can be written to it makes one of the cgroup that this process is in, for itself alone, if it may: neither
// the host's mounts nor the options of its hierarchy change.
//
// This process is moved, to supervisor/, only if it is in the tree's root itself. Where
// the root is directly below the top of the mount, controllers are enabled in the top as
// well; any other parent is somebody else's, and what it does not hand down is missing.
//
// The error is a *MissingError when controllers are missing and cfg does not allow that.
// After an error nothing that Open made is left. The caller owns the tree and closes it.
func Open(cfg Config) (*Tree, error) {
	p, err := find(cfg.Root)
	if err != nil {
		return nil, fmt.Errorf("open cgroup tree: %w", err)
	}
	t := &Tree{place: p, jobs: -1}
	if err = t.setUp(); err == nil && len(t.missing) > 0 && !cfg.AllowMissing {
		err = &MissingError{Root: p.root, Missing: t.missing}
	}
	if err == nil {
		return t, nil
	}
	var missing *MissingError
	if !errors.As(err, &missing) {
		err = failure("open cgroup tree", p.root, err)
	}
	return nil, errors.Join(err, t.Close())
}

// setUp makes the cgroups from the root down to jobs/.
func (t *Tree) setUp() (err error) {
	if t.madeRoot, err = makeDir(t.place.root); err != nil {
		return err
	}
	if err := checkDomain(t.place.root); err != nil {
		return err
	}
	if err := t.leaveRoot(); err != nil {
		return err
	}
	refused := make(refusals)
	if t.place.parent() == t.place.top {
		if _, err := enable(t.place.top, refused); err != nil {
			return err
		}
	}
	if t.enabled, err = enable(t.place.root, refused); err != nil {
		return err
	}
	jobs := filepath.Join(t.place.root, jobsName)
	if t.madeJobs, err = makeDir(jobs); err != nil {
		return err
	}
	if t.jobs, err = openAt(unix.AT_FDCWD, jobs, dirFlags); err != nil {
		return failure("open", jobs, err)
	}
	if err := unix.Faccessat(t.jobs, "cgroup.kill", unix.F_OK, 0); err != nil {
		return failure("cgroup.kill", "needs Linux 5.14 or later", err)
	}
	if _, err := enable(jobs, refused); err != nil {
		return err
	}
	t.missing, err = t.findMissing(refused)
	return err
}

// checkDomain returns an error for a cgroup that can hold threads only (cgroup.type is
// "threaded") or nothing at all ("domain invalid"): jobs below it could not start.
func checkDomain(dir string) error {
	if !isInner(dir) {
		return nil
	}
	file := filepath.Join(dir, "cgroup.type")
	s, err := readAt(unix.AT_FDCWD, file)
	if err != nil {
		return failure("read", file, err)
	}
	if s != "domain\n" {
		return fmt.Errorf("cgroup.type: %q: must be domain", strings.TrimSpace(s))
	}
	return nil
}

// leaveRoot moves this process to supervisor/ if it is in the root itself.
func (t *Tree) leaveRoot() error {
	if t.madeRoot {
		return nil
	}
	in, err := holdsSelf(t.place.root)
	if err != nil || !in {
		return err
	}
	dir := filepath.Join(t.place.root, supervisorName)
	if t.madeSupervisor, err = makeDir(dir); err != nil {
		return err
	}
	if err := enter(dir); err != nil {
		return err
	}
	t.moved = true
	return nil
}

// holdsSelf says whether this process is in the cgroup itself, by its list of processes:
// unlike paths, that needs no cgroup namespace to be understood.
func holdsSelf(dir string) (bool, error) {
	file := filepath.Join(dir, "cgroup.procs")
	s, err := readAt(unix.AT_FDCWD, file)
	if err != nil {
		return false, failure("read", file, err)
	}
	return slices.Contains(strings.Fields(s), strconv.Itoa(os.Getpid())), nil
}

// enter moves this process, with all its threads, into the cgroup.
func enter(dir string) error {
	file := filepath.Join(dir, "cgroup.procs")
	if err := writeAt(unix.AT_FDCWD, file, strconv.Itoa(os.Getpid())); err != nil {
		return failure("move this process", file, err)
	}
	return nil
}

// Path returns the path of the tree's root. On a mount that the tree made for itself it
// goes through /proc/self/fd: good in this process, and as long as the tree is open.
func (t *Tree) Path() string { return t.place.root }

// Missing returns the controllers that the tree does without, and why.
func (t *Tree) Missing() []Missing { return slices.Clone(t.missing) }

// Has says whether limits of the controller can be put in force.
func (t *Tree) Has(c Controller) bool { return t.reason(c) == "" }

// reason returns why a controller is missing, or "".
func (t *Tree) reason(c Controller) string {
	for _, m := range t.missing {
		if m.Controller == c {
			return m.Reason
		}
	}
	return ""
}

// Close undoes what Open did: it removes the cgroups that Open made, if nothing is in them,
// and moves this process back if Open moved it. Jobs that are still there keep theirs,
// without an error. Controllers enabled above the root stay enabled: others may have come
// to rely on them. No method of the tree or its groups may run then, or be called later.
func (t *Tree) Close() error {
	err := t.undo()
	if t.jobs >= 0 {
		unix.Close(t.jobs)
	}
	if t.place.mount >= 0 {
		unix.Close(t.place.mount)
	}
	return err
}

func (t *Tree) undo() error {
	if t.madeJobs {
		if left, err := removeDir(filepath.Join(t.place.root, jobsName)); err != nil || left {
			return err
		}
	}
	if t.moved {
		if err := t.returnToRoot(); err != nil {
			return err
		}
	}
	if t.madeSupervisor {
		if left, err := removeDir(filepath.Join(t.place.root, supervisorName)); err != nil || left {
			return err
		}
	}
	if t.madeRoot {
		_, err := removeDir(t.place.root)
		return err
	}
	return nil
}

// returnToRoot moves this process back to where Open found it. The root can hold processes
// again only without controllers for its children, so those that Open enabled go first. If
// others use them there by now (EBUSY), this process stays where it is.
func (t *Tree) returnToRoot() error {
	for _, c := range t.enabled {
		err := writeAt(unix.AT_FDCWD, filepath.Join(t.place.root, subtreeControl), "-"+string(c))
		if errors.Is(err, unix.EBUSY) {
			return nil
		}
		if err != nil {
			return failure("disable "+string(c), t.place.root, err)
		}
	}
	if err := enter(t.place.root); !errors.Is(err, unix.EBUSY) {
		return err
	}
	return nil
}

// removeDir removes a cgroup of which nothing may be left. It is no error if there is.
func removeDir(path string) (left bool, err error) {
	switch err := unix.Rmdir(path); {
	case err == nil || gone(err):
		return false, nil
	case errors.Is(err, unix.EBUSY):
		return true, nil
	default:
		return true, failure("remove cgroup", path, err)
	}
}
