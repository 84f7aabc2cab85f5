package cgroupv2

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Group is the cgroup of one job. It holds no file descriptor and is safe for
// concurrent use, but its use ends before its tree is closed.
type Group struct {
	tree *Tree
	id   string
}

// Create makes the cgroups of a new job. Its id is the name of a directory: letters,
// digits, "-" and "_". The error is fs.ErrExist if there is such a job. After an error
// nothing of the new job is left.
//
//	mkdirat(jobs, "<id>")
//	write("<id>/cgroup.subtree_control", "+memory +pids")
//	mkdirat(jobs, "<id>/init")
//	mkdirat(jobs, "<id>/payload")
func (t *Tree) Create(id string) (*Group, error) {
	g, err := t.group(id)
	if err != nil {
		return nil, fmt.Errorf("create job cgroup: %w", err)
	}
	if err := unix.Mkdirat(t.jobs, id, 0o755); err != nil {
		return nil, failure("create job cgroup", g.Path(), explainMkdir(err))
	}
	if err := g.populate(); err != nil {
		return nil, errors.Join(failure("create job cgroup", g.Path(), err), g.remove())
	}
	return g, nil
}

// populate makes the two cgroups inside a job's.
func (g *Group) populate() error {
	if control := g.tree.payloadControl(); control != "" {
		if err := writeAt(g.tree.jobs, g.file(subtreeControl), control); err != nil {
			return failure(subtreeControl, control, err)
		}
	}
	for _, name := range []string{initName, payloadName} {
		if err := unix.Mkdirat(g.tree.jobs, g.file(name), 0o755); err != nil {
			return failure("make", name, explainMkdir(err))
		}
	}
	return nil
}

// payloadControl returns what hands memory and pids down to the payload. Both are known to
// be available by now, so one write does for both.
func (t *Tree) payloadControl() string {
	var on []string
	for _, c := range []Controller{Memory, Pids} {
		if t.Has(c) {
			on = append(on, "+"+string(c))
		}
	}
	return strings.Join(on, " ")
}

// explainMkdir says what EAGAIN means here (kernel/cgroup/cgroup.c, cgroup_mkdir).
func explainMkdir(err error) error {
	if errors.Is(err, unix.EAGAIN) {
		return fmt.Errorf("cgroup.max.descendants or cgroup.max.depth of a cgroup above is reached: %w", err)
	}
	return err
}

// Group returns the group of an existing job. The error is fs.ErrNotExist if there is none.
func (t *Tree) Group(id string) (*Group, error) {
	g, err := t.group(id)
	if err != nil {
		return nil, fmt.Errorf("job cgroup: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Fstatat(t.jobs, id, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return nil, failure("job cgroup", g.Path(), err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil, failure("job cgroup", g.Path(), fs.ErrNotExist)
	}
	return g, nil
}

func (t *Tree) group(id string) (*Group, error) {
	if !validID(id) {
		return nil, fmt.Errorf("id %q: must be letters, digits, - and _", id)
	}
	return &Group{tree: t, id: id}, nil
}

// validID refuses what would be a path, or could be a file of the kernel's: those have a dot.
func validID(id string) bool {
	for _, c := range []byte(id) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return id != "" && len(id) <= 128
}

// Groups returns the ids of the jobs that have a group.
func (t *Tree) Groups() ([]string, error) { return subdirectories(t.jobs, ".") }

// subdirectories returns the names of the cgroups in a directory below dir.
func subdirectories(dir int, name string) ([]string, error) {
	fd, err := openAt(dir, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, failure("list cgroups", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, failure("list cgroups", name, err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Path returns the path of the job's cgroup, with the reservation of [Tree.Path].
func (g *Group) Path() string { return filepath.Join(g.tree.place.root, jobsName, g.id) }

// file names a file of the job relative to jobs/.
func (g *Group) file(name string) string { return g.id + "/" + name }

// OpenInit opens the cgroup of the job's PID 1, for SysProcAttr.CgroupFD. Any descriptor
// of the directory does (kernel/cgroup/cgroup.c, cgroup_css_set_fork: fget_raw); this one has
// O_PATH and close-on-exec. The caller closes it.
func (g *Group) OpenInit() (*os.File, error) { return g.openDir(initName) }

// OpenPayload opens the cgroup of the payload, as OpenInit does.
func (g *Group) OpenPayload() (*os.File, error) { return g.openDir(payloadName) }

func (g *Group) openDir(name string) (*os.File, error) {
	path := filepath.Join(g.Path(), name)
	fd, err := openAt(g.tree.jobs, g.file(name), dirFlags)
	if err != nil {
		return nil, failure("open cgroup", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// InitPIDs returns the processes in the cgroup of the job's PID 1, as this process's PID
// namespace numbers them: none once that has ended, for a zombie is not listed. A group
// that is gone is fs.ErrNotExist.
func (g *Group) InitPIDs() ([]int, error) { return g.pids(initName) }

// PayloadPIDs returns the processes of the payload, in no certain order, as InitPIDs does.
func (g *Group) PayloadPIDs() ([]int, error) { return g.pids(payloadName) }

func (g *Group) pids(name string) ([]int, error) {
	s, err := readAt(g.tree.jobs, g.file(name+"/cgroup.procs"))
	if gone(err) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, failure("list processes", g.Path(), err)
	}
	var pids []int
	for line := range strings.Lines(s) {
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil {
			return nil, failure("list processes", g.Path(), err)
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// Kill sends SIGKILL to every process of the payload, at once and whatever it forks
// meanwhile. It does not wait for their end. A group that is gone is no error.
func (g *Group) Kill() error { return g.kill(g.file(payloadName)) }

// KillAll kills the job's PID 1 as well.
func (g *Group) KillAll() error { return g.kill(g.id) }

func (g *Group) kill(dir string) error {
	if err := writeAt(g.tree.jobs, dir+"/cgroup.kill", "1"); err != nil && !gone(err) {
		return failure("kill cgroup", filepath.Join(g.tree.place.root, jobsName, dir), err)
	}
	return nil
}
