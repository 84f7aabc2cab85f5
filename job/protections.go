package job

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Protections are what the kernel says of a running job's main process, and of the
// mounts that it sees: what is in force, not what was asked for.
type Protections struct {
	UID    uint32   `json:"uid"` // effective, on the host
	GID    uint32   `json:"gid"`
	Groups []uint32 `json:"groups"` // supplementary

	NoNewPrivs   bool   `json:"no_new_privs"`
	Seccomp      string `json:"seccomp"` // "off", "strict" or "filter"
	Capabilities Sets   `json:"capabilities"`

	// Namespaces are those that are not the worker's own, by their names in
	// /proc/PID/ns, sorted. Absent where the worker may not look (ptrace(2)).
	Namespaces []string `json:"namespaces,omitempty"`

	RootReadOnly bool     `json:"root_read_only"`
	Writable     []string `json:"writable"` // mount points, as the job sees them, that are not read-only
	Setuid       []string `json:"setuid"`   // mount points whose set-user-ID files would count, were it not for no_new_privs
}

// Sets are the capability sets of a process, in the kernel's notation: a bit for each
// capability, in hexadecimal.
type Sets struct {
	Inheritable string `json:"inheritable"`
	Permitted   string `json:"permitted"`
	Effective   string `json:"effective"`
	Bounding    string `json:"bounding"`
	Ambient     string `json:"ambient"`
}

// None reports whether all sets are empty.
func (s Sets) None() bool {
	return strings.Trim(s.Inheritable+s.Permitted+s.Effective+s.Bounding+s.Ambient, "0") == ""
}

var errStatus = errors.New("not in the format of the kernel")

// parseStatus reads a /proc/PID/status, proc_pid_status(5), into p.
func (p *Protections) parseStatus(s string) error {
	fields := make(map[string]string)
	for line := range strings.Lines(s) {
		k, v, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		fields[k] = strings.TrimSpace(v)
	}
	var errs [3]error
	var ids [2][]uint32
	ids[0], errs[0] = parseIDs(fields["Uid"], 4)
	ids[1], errs[1] = parseIDs(fields["Gid"], 4)
	p.Groups, errs[2] = parseIDs(fields["Groups"], 0)
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	const effective = 1 // after the real one
	p.UID, p.GID = ids[0][effective], ids[1][effective]
	mode, ok := map[string]string{"0": "off", "1": "strict", "2": "filter"}[fields["Seccomp"]]
	if !ok || fields["NoNewPrivs"] == "" || fields["CapBnd"] == "" {
		return fmt.Errorf("status: %w", errStatus)
	}
	p.Seccomp, p.NoNewPrivs = mode, fields["NoNewPrivs"] == "1"
	p.Capabilities = Sets{fields["CapInh"], fields["CapPrm"], fields["CapEff"], fields["CapBnd"], fields["CapAmb"]}
	return nil
}

// parseIDs reads numbers between white space: count of them, or any number if that is 0.
func parseIDs(s string, count int) ([]uint32, error) {
	ids := []uint32{}
	for _, word := range strings.Fields(s) {
		n, err := strconv.ParseUint(word, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("status: %q: %w", s, errStatus)
		}
		ids = append(ids, uint32(n))
	}
	if count != 0 && len(ids) != count {
		return nil, fmt.Errorf("status: %q: %w", s, errStatus)
	}
	return ids, nil
}

// parseMounts reads a /proc/PID/mountinfo, proc_pid_mountinfo(5), into p. What counts is
// what is mounted last at a place, and the options of the mount and of its file system.
func (p *Protections) parseMounts(s string) error {
	options := make(map[string][]string)
	for line := range strings.Lines(s) {
		mount, fs, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		m, f := strings.Fields(mount), strings.Fields(fs)
		if !ok || len(m) < 6 || len(f) < 3 {
			return fmt.Errorf("mountinfo: line %q: %w", line, errStatus)
		}
		options[unescape(m[4])] = append(strings.Split(m[5], ","), strings.Split(f[2], ",")...)
	}
	p.Writable, p.Setuid = []string{}, []string{}
	for point, o := range options {
		if !slices.Contains(o, "ro") {
			p.Writable = append(p.Writable, point)
		}
		if !slices.Contains(o, "nosuid") {
			p.Setuid = append(p.Setuid, point)
		}
	}
	slices.Sort(p.Writable)
	slices.Sort(p.Setuid)
	p.RootReadOnly = slices.Contains(options["/"], "ro")
	return nil
}

// unescape undoes the octal escapes of space, tab, newline and backslash in mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
