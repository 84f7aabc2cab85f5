package cgroupv2

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	subtreeControl = "cgroup.subtree_control" // what a cgroup hands down to its children
	available      = "cgroup.controllers"     // what its parent handed down to it
)

// refusals are controllers that a cgroup could hand down, but may or can not.
type refusals map[Controller]Missing

// enable hands the four controllers, as far as they are available, down to the children of
// a cgroup: one write each, because one that fails would take the others with it. It
// returns those that were not handed down before.
func enable(dir string, refused refusals) (enabled []Controller, err error) {
	have, err := readWords(filepath.Join(dir, available))
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, subtreeControl)
	on, err := readWords(file)
	if err != nil {
		return nil, err
	}
	busy, err := occupants(dir)
	if err != nil {
		return nil, err
	}
	for _, c := range Controllers() {
		if !slices.Contains(have, string(c)) || slices.Contains(on, string(c)) {
			continue
		}
		cause, fix := "only leaves may hold processes, and in it are "+busy, fixBusy
		if busy == "" {
			err := writeAt(unix.AT_FDCWD, file, "+"+string(c))
			if err == nil {
				enabled = append(enabled, c)
				continue
			}
			cause, fix = explainEnable(c, err)
		}
		refused[c] = Missing{c, fmt.Sprintf("not enabled in %s: %s", file, cause), fix}
	}
	return enabled, nil
}

// occupants names the processes that sit in a cgroup itself, if that keeps it from having
// children with controllers: the root of the hierarchy may have both. It is asked for
// before any controller is enabled, because cpu and pids could be. They would make the
// cgroup the root of a threaded subtree, in which no job can be ("Threads" in
// Documentation/admin-guide/cgroup-v2.rst).
func occupants(dir string) (string, error) {
	if !isInner(dir) {
		return "", nil
	}
	pids, err := readWords(filepath.Join(dir, "cgroup.procs"))
	return listPids(pids), err
}

// listPids names the first of some processes: "processes 12 13".
func listPids(pids []string) string {
	if len(pids) == 0 {
		return ""
	}
	return "processes " + strings.Join(pids[:min(len(pids), 10)], " ")
}

// readWords reads a space separated file.
func readWords(file string) ([]string, error) {
	s, err := readAt(unix.AT_FDCWD, file)
	if err != nil {
		return nil, failure("read", file, err)
	}
	return strings.Fields(s), nil
}

// explainEnable says what a refusal to enable a controller means; see "Constraints" in
// Documentation/admin-guide/cgroup-v2.rst and kernel/cgroup/cgroup.c.
func explainEnable(c Controller, err error) (cause, fix string) {
	switch {
	case errors.Is(err, unix.EBUSY):
		return "processes came into that cgroup, and only leaves may hold them (EBUSY)", fixBusy
	case errors.Is(err, unix.EOPNOTSUPP):
		return "that cgroup is threaded (EOPNOTSUPP)", fixDelegate
	case errors.Is(err, unix.ENOENT):
		return "the cgroup above does not hand it down any more (ENOENT)", fixDelegate
	case errors.Is(err, unix.EINVAL) && c == CPU:
		return "realtime processes outside of the root cgroup (EINVAL, CONFIG_RT_GROUP_SCHED)", ""
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM), errors.Is(err, unix.EROFS):
		return "not delegated to this process: " + err.Error(), fixDelegate
	}
	return err.Error(), ""
}

// findMissing returns the controllers that jobs/ does not hand down to the jobs.
func (t *Tree) findMissing(refused refusals) (missing []Missing, err error) {
	on, err := readWords(filepath.Join(t.place.root, jobsName, subtreeControl))
	if err != nil {
		return nil, err
	}
	for _, c := range Controllers() {
		if slices.Contains(on, string(c)) {
			continue
		}
		m, err := t.explain(c, refused)
		if err != nil {
			return nil, err
		}
		missing = append(missing, m)
	}
	return missing, nil
}

// What an administrator can do about a missing controller.
const (
	fixV1       = "boot with systemd.unified_cgroup_hierarchy=1 or cgroup_no_v1=all on the kernel's command line"
	fixDelegate = "have it handed down: Delegate=cpu memory io pids in the systemd unit, or +NAME in the cgroup.subtree_control of each cgroup above"
	fixBusy     = "start this program in a cgroup of its own, such as a systemd unit with Delegate=, and other programs elsewhere"
	fixDisabled = "boot without cgroup_disable= on the kernel's command line"
	fixKernel   = "use a kernel that has it"
)

// explain finds out where a controller is that did not get as far as the jobs.
func (t *Tree) explain(c Controller, refused refusals) (Missing, error) {
	if m, ok := refused[c]; ok {
		return m, nil
	}
	file, err := t.withheld(c)
	if err != nil {
		return Missing{}, err
	}
	if file != "" {
		return Missing{c, "not delegated: not in " + file, fixDelegate}, nil
	}
	return t.explainAbsent(c)
}

// withheld returns the file of the highest cgroup that has the controller and does not
// hand it down on the way to the root; "" if the top does not have it either.
func (t *Tree) withheld(c Controller) (string, error) {
	have, err := readWords(filepath.Join(t.place.top, available))
	if err != nil || !slices.Contains(have, string(c)) {
		return "", err
	}
	rel, err := filepath.Rel(t.place.top, t.place.root)
	if err != nil {
		return "", err
	}
	dir := t.place.top
	for _, name := range strings.Split(rel, "/") {
		file := filepath.Join(dir, subtreeControl)
		on, err := readWords(file)
		if err != nil || !slices.Contains(on, string(c)) {
			return file, err
		}
		dir = filepath.Join(dir, name)
	}
	return filepath.Join(dir, subtreeControl), nil
}

// explainAbsent explains a controller that the top of the mount does not have.
func (t *Tree) explainAbsent(c Controller) (Missing, error) {
	s, err := readAt(unix.AT_FDCWD, "/proc/cgroups")
	if err != nil {
		return Missing{}, failure("read", "/proc/cgroups", err)
	}
	all, err := parseSubsystems(s)
	if err != nil {
		return Missing{}, failure("parse", "/proc/cgroups", err)
	}
	sub, listed := all[c.v1()]
	switch {
	case listed && sub.hierarchy != 0:
		at, err := v1Mount(c)
		return Missing{c, "bound to cgroup v1" + at, fixV1}, err
	case listed && !sub.enabled:
		return Missing{c, "disabled on the kernel's command line", fixDisabled}, nil
	case isInner(t.place.top):
		file := filepath.Join(t.place.top, available)
		return Missing{c, "not delegated: not in " + file, fixDelegate}, nil
	}
	return Missing{c, "not built into the kernel", fixKernel}, nil
}

// isInner says whether a cgroup is not the root of the whole hierarchy, which alone has no
// cgroup.type: cgroups(7). The top of what a container sees is such a one.
func isInner(dir string) bool {
	return unix.Access(filepath.Join(dir, "cgroup.type"), unix.F_OK) == nil
}

// v1Mount returns " at DIR" for the mount of cgroup v1 a controller is bound to.
func v1Mount(c Controller) (string, error) {
	mounts, err := readMounts("cgroup")
	if err != nil {
		return "", err
	}
	for _, m := range mounts {
		if slices.Contains(m.options, c.v1()) {
			return " at " + m.point, nil
		}
	}
	return ", which is not mounted here", nil
}
