package cgroupv2

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
)

// mount is one mount of cgroup or cgroup2.
type mount struct {
	root    string   // the cgroup that shows at point, as /proc/self/cgroup would name it
	point   string   // where it is mounted
	fstype  string   // "cgroup" or "cgroup2"
	options []string // of the super block; for cgroup its controllers are among them
}

// parseMounts returns the mounts of cgroup and cgroup2 in the order of mountinfo, see
// proc_pid_mountinfo(5).
func parseMounts(r io.Reader) ([]mount, error) {
	var mounts []mount
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20) // an overlay of many layers makes long lines
	for lines.Scan() {
		m, err := parseMount(lines.Text())
		if err != nil {
			return nil, err
		}
		if m.fstype == "cgroup" || m.fstype == "cgroup2" {
			mounts = append(mounts, m)
		}
	}
	return mounts, lines.Err()
}

// parseMount parses one line: "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw". Any
// number of optional fields stands before the separator.
func parseMount(line string) (mount, error) {
	before, after, ok := strings.Cut(line, " - ")
	// Not strings.Fields: the source may be empty, and names may hold other white space.
	f, g := strings.Split(before, " "), strings.SplitN(after, " ", 3)
	if !ok || len(f) < 6 || len(g) < 3 {
		return mount{}, fmt.Errorf("mountinfo: line %q: %w", line, errFormat)
	}
	return mount{
		root:    unescape(f[3]),
		point:   unescape(f[4]),
		fstype:  g[0],
		options: strings.Split(g[2], ","),
	}, nil
}

// unescape undoes what the kernel does to space, tab, newline and backslash: \040.
func unescape(s string) string {
	var b strings.Builder
	for {
		before, after, ok := strings.Cut(s, `\`)
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		if c, err := strconv.ParseUint(after[:min(3, len(after))], 8, 8); err == nil && len(after) >= 3 {
			b.WriteByte(byte(c))
			s = after[3:]
			continue
		}
		b.WriteByte('\\')
		s = after
	}
}

// locate returns the path of a cgroup under this mount. It is false for a cgroup that
// does not show there. Both the cgroup and the root of the mount are named relative to
// the reader's cgroup namespace, "/.." being outside of it: cgroup_namespaces(7).
func (m mount) locate(cgroup string) (string, bool) {
	rest := cgroup
	if m.root != "/" {
		var ok bool
		if rest, ok = strings.CutPrefix(cgroup, m.root); !ok || rest != "" && rest[0] != '/' {
			return "", false
		}
	}
	if slices.Contains(strings.Split(rest, "/"), "..") {
		return "", false
	}
	return path.Join(m.point, rest), true
}

// parseSelf returns the cgroup v2 of a process from its /proc/pid/cgroup: the "0::" line.
// It is "" where there is none: no cgroup2 hierarchy in this kernel.
func parseSelf(s string) (string, error) {
	for line := range strings.Lines(s) {
		p, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::")
		if ok && !strings.HasPrefix(p, "/") {
			return "", fmt.Errorf("line %q: %w", line, errFormat)
		}
		if ok {
			return p, nil
		}
	}
	return "", nil
}

// subsystem is a line of /proc/cgroups.
type subsystem struct {
	hierarchy int64 // of cgroup v1; 0 when it is not bound to one
	enabled   bool  // false after cgroup_disable= on the kernel's command line
}

// parseSubsystems parses /proc/cgroups, see cgroups(7). Since Linux 6.15 it lists only
// controllers that cgroup v1 could have: one not in it may exist all the same.
func parseSubsystems(s string) (map[string]subsystem, error) {
	m := make(map[string]subsystem)
	for line := range strings.Lines(s) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Fields(line)
		if len(f) != 4 {
			return nil, fmt.Errorf("line %q: %w", line, errFormat)
		}
		h, err := parseNumber(f[1])
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", line, errFormat)
		}
		m[f[0]] = subsystem{hierarchy: h, enabled: f[3] == "1"}
	}
	return m, nil
}
