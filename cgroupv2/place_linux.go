package cgroupv2

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// defaultRoot is the tree's name below the mount where nothing else is asked for.
const defaultRoot = "jobworker"

// place is where a tree is to be.
type place struct {
	root  string // path of the tree's root
	top   string // path of the highest cgroup that is visible: the mount's own
	mount int    // fd of a mount made for this tree alone, or -1
}

// parent returns the cgroup above the tree's root, "" if there is none in sight.
func (p place) parent() string {
	if p.root == p.top {
		return ""
	}
	return filepath.Dir(p.root)
}

// find looks for the place of a tree in /proc/self/mountinfo.
func find(root string) (place, error) {
	mounts, err := readMounts("cgroup2")
	if err != nil {
		return place{}, err
	}
	if filepath.IsAbs(root) {
		return explicit(root, mounts)
	}
	if root != "" && (!filepath.IsLocal(root) || filepath.Clean(root) == ".") {
		return place{}, fmt.Errorf("%q: is not below the cgroup2 mount", root)
	}
	for _, m := range mounts {
		if isCgroup2(m.point) && !isReadOnly(m.point) {
			return below(m, root)
		}
	}
	return private(root)
}

// readMounts returns the visible mounts of one type.
func readMounts(fstype string) ([]mount, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all, err := parseMounts(f)
	if err != nil {
		return nil, err
	}
	var mounts []mount
	for _, m := range all {
		if m.fstype == fstype {
			mounts = append(mounts, m)
		}
	}
	return mounts, nil
}

// isCgroup2 says whether the directory is one of cgroup2 now: a mount listed in mountinfo
// may be hidden under another one.
func isCgroup2(dir string) bool {
	var st unix.Statfs_t
	err := retry(func() error { return unix.Statfs(dir, &st) })
	return err == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}

// isReadOnly says whether nothing can be written below the mount at dir, as in a container
// that is not privileged.
func isReadOnly(dir string) bool {
	var st unix.Statfs_t
	err := retry(func() error { return unix.Statfs(dir, &st) })
	return err == nil && st.Flags&unix.ST_RDONLY != 0
}

// explicit checks a root that was asked for by its path.
func explicit(root string, mounts []mount) (place, error) {
	root = filepath.Clean(root)
	parent, err := filepath.EvalSymlinks(filepath.Dir(root))
	if err != nil {
		return place{}, err
	}
	root = filepath.Join(parent, filepath.Base(root))
	top := ""
	for _, m := range mounts {
		in := root == m.point || strings.HasPrefix(root, strings.TrimSuffix(m.point, "/")+"/")
		if in && len(m.point) > len(top) {
			top = m.point
		}
	}
	if top == "" || root != top && !isCgroup2(parent) || root == top && !isCgroup2(root) {
		return place{}, fmt.Errorf("%s: is not below a cgroup2 mount", root)
	}
	return place{root: root, top: top, mount: -1}, nil
}

// below chooses the root under a mount: the one asked for by name, that of the container
// or the delegated unit around this process, or the default.
func below(m mount, name string) (place, error) {
	p := place{top: m.point, mount: -1}
	if name != "" {
		p.root = filepath.Join(m.point, name)
		return p, nil
	}
	s, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return p, err
	}
	self, err := parseSelf(string(s))
	if err != nil {
		return p, failure("parse", "/proc/self/cgroup", err)
	}
	own, ok := m.locate(self)
	switch {
	case !ok:
		p.root = filepath.Join(m.point, defaultRoot)
	case own == m.point:
		p.root = topOrDefault(m.point)
	default:
		p.root = cmp.Or(delegatedUnit(m, own), filepath.Join(m.point, defaultRoot))
	}
	return p, nil
}

// topOrDefault chooses the root for a process that is in the top of what it sees: the top
// itself, if that is the cgroup of a container. A cgroup below it would get no controllers
// while this process stays in the top.
func topOrDefault(top string) string {
	if isInner(top) {
		return top
	}
	return filepath.Join(top, defaultRoot)
}

// delegatedUnit returns the cgroup of the systemd unit with Delegate= that this process, whose
// own cgroup is given, is in, or "". The process is in the unit's own cgroup, or in supervisor/ below it: since
// an earlier Open, or because of DelegateSubgroup=supervisor (systemd 254). No cgroup
// further up is looked at: what is delegated there is delegated to somebody else, such
// as a user's service manager.
func delegatedUnit(m mount, own string) string {
	if isDelegated(own) {
		return own
	}
	unit := filepath.Dir(own)
	if filepath.Base(own) == supervisorName && unit != m.point && isDelegated(unit) {
		return unit
	}
	return ""
}

// isDelegated says whether systemd marked the cgroup with Delegate=. It sets the extended
// attribute trusted.delegate, and user.delegate, which needs no privilege to read, since
// version 251 (src/basic/cgroup-util.c, cg_is_delegated). Without them there is no telling.
func isDelegated(dir string) bool {
	for _, name := range []string{"trusted.delegate", "user.delegate"} {
		var value [8]byte
		n, err := unix.Getxattr(dir, name, value[:])
		if err == nil {
			return string(value[:n]) == "1"
		}
	}
	return false
}

// makeDir makes a cgroup unless it is there, and says whether it did.
func makeDir(path string) (made bool, err error) {
	err = unix.Mkdir(path, 0o755)
	if errors.Is(err, unix.EEXIST) {
		return false, nil
	}
	if err != nil {
		return false, failure("make cgroup", path, explainMkdir(err))
	}
	return true, nil
}
