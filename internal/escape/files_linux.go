package escape

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// fileProbes look for files that are not the job's, and for ways to change those
// that it shares with the host. The first looks at the descriptors before any
// other makes one.
var fileProbes = slices.Concat([]Probe{
	asking("descriptors", "0 null 1 pipe 2 pipe 3 directory", "0 null 1 pipe 2 pipe", descriptors),
	asking("names in /", ".*root.*", "bin dev etc lib lib64 proc sbin scratch tmp usr", func(Facts) string { return names("/") }),
	asking("names in /dev", ".*nvme0n1.*", "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero", func(Facts) string { return names("/dev") }),
	asking("names in /dev/pts", "[0-9]+ ptmx", "ptmx", func(Facts) string { return names("/dev/pts") }),

	mounts("not nosuid", ".*/.*", "none", func(m mount) bool { return !m.has("nosuid") }),
	mounts("with devices", ".*/.*", "/dev /dev/pts( /proc/[a-z_-]+)*", func(m mount) bool { return !m.has("nodev") }),
	mounts("writable", ".*/disk.*", "/dev/pts /dev/shm /scratch /tmp", func(m mount) bool { return !m.has("ro") }),
	mounts("not private", ".*/.*", "none", func(m mount) bool { return m.propagation != "" }),

	secrets("read a secret of the host at every place", func(f Facts) []string { return f.Secrets }),
	secrets("the same through ../../..", func(f Facts) []string { return prefixed("/../../..", f.Secrets) }),
	secrets("the same through /proc/self/root", func(f Facts) []string { return prefixed("/proc/self/root/../..", f.Secrets) }),
	secrets("the same through /proc/1/root", func(f Facts) []string { return prefixed("/proc/1/root", f.Secrets) }),
	secrets("another job's record, output and scratch", func(f Facts) []string {
		return prefixed(f.Victim, []string{"/record.json", "/output.jsonl", "/scratch/secret"})
	}),
	calling("open_by_handle_at", "ok", "EPERM",
		call{unix.SYS_NAME_TO_HANDLE_AT, unix.AT_FDCWD, "/usr/bin", usrBin, make([]byte, 4), 0},
		call{unix.SYS_OPENAT, unix.AT_FDCWD, "/usr", unix.O_RDONLY},
		call{unix.SYS_OPEN_BY_HANDLE_AT, result, usrBin, unix.O_PATH}),

	reading("/etc/shadow", "ok", "EACCES"),
	reading("/sys/kernel/vmcoreinfo", "ok", "ENOENT"),
	reading("/dev/mem", "ok", "ENOENT"),
	reading("/dev/kmsg", "ok", "ENOENT"),
	reading("/dev/nvme0n1", "ok", "ENOENT"),
	writing("/sys/fs/cgroup/cgroup.procs", "ok", "ENOENT"),
	writing("/etc/passwd", "ok", "EROFS|EACCES"),

	asking("mknod of /dev/mem", "ok", "EPERM", func(Facts) string {
		return sequence(call{unix.SYS_MKNODAT, unix.AT_FDCWD, temp("mem"), unix.S_IFCHR | 0o600, 1<<8 | 1})
	}),
	asking("mknod of a disk", "ok", "EPERM", func(Facts) string {
		return sequence(call{unix.SYS_MKNODAT, unix.AT_FDCWD, temp("disk"), unix.S_IFBLK | 0o600, 8 << 8})
	}),
	asking("chown to root", "ok", "EPERM", func(Facts) string {
		return sequence(
			call{unix.SYS_OPENAT, unix.AT_FDCWD, temp("file"), unix.O_CREAT | unix.O_WRONLY, 0o600},
			call{unix.SYS_FCHOWNAT, unix.AT_FDCWD, temp("file"), 0, 0, 0})
	}),
}, creating("/", "/usr", "/usr/bin", "/etc", "/dev"), coveredProbes, kernelFiles)

// coveredProbes are about what /proc tells of the whole system, and is covered by
// /dev/null or by an empty directory.
var coveredProbes = []Probe{
	reading("/proc/kcore", "ok", "empty"),
	reading("/proc/kmsg", "ok|EAGAIN", "empty"),
	reading("/proc/keys", "ok|empty", "empty"),
	reading("/proc/kallsyms", "ok", "empty"),
	reading("/proc/interrupts", "ok", "empty"),
	reading("/proc/timer_list", "ok", "empty"),
	reading("/proc/slabinfo", "ok", "empty"),
	reading("/proc/kpagecount", "ok", "EACCES"), // root's alone
	asking("what /proc/sysrq-trigger is", "file", "null", func(Facts) string { return kindOf("/proc/sysrq-trigger") }),
	asking("list /proc/acpi", ".*[a-z].*", "none", func(Facts) string { return names("/proc/acpi") }),
	asking("list /proc/bus", ".*[a-z].*", "none", func(Facts) string { return names("/proc/bus") }),
	asking("list /proc/fs", ".*[a-z].*", "none", func(Facts) string { return names("/proc/fs") }),
	asking("list /proc/irq", ".*[a-z].*", "none", func(Facts) string { return names("/proc/irq") }),
	asking("list /proc/driver", ".*[a-z].*", "none", func(Facts) string { return names("/proc/driver") }),
}

// kernelFiles are files of /proc by which root changes the system.
var kernelFiles = []Probe{
	writing("/proc/sys/kernel/core_pattern", "ok", "EROFS|EACCES"),
	writing("/proc/sys/kernel/modprobe", "ok", "EROFS|EACCES"),
	writing("/proc/sys/kernel/hostname", "ok", "EROFS|EACCES"),
	writing("/proc/sys/kernel/yama/ptrace_scope", "ok", "EROFS|EACCES"),
	writing("/proc/sys/vm/drop_caches", "ok", "EROFS|EACCES"),
	writing("/proc/sys/vm/overcommit_memory", "ok", "EROFS|EACCES"),
	writing("/proc/sys/net/ipv4/ip_forward", "ok", "EROFS|EACCES"),
	writing("/proc/self/oom_score_adj", "ok", "EROFS"),
	writing("/proc/self/uid_map", "ok", "EROFS"),
	writing("/proc/self/mem", "ok", "EROFS"),
}

// usrBin becomes a struct file_handle, open_by_handle_at(2): the room for the
// handle, its type, and the handle.
var usrBin = binary.NativeEndian.AppendUint32(make([]byte, 0, 8+128), 128)[:8+128]

// temp is the path of a file that no other program makes.
func temp(name string) string {
	return fmt.Sprintf("/tmp/escape-%d-%d-%s", os.Getuid(), os.Getpid(), name)
}

func creating(dirs ...string) (probes []Probe) {
	for _, dir := range dirs {
		probes = append(probes, asking("create a file in "+dir, "ok", "EROFS|EACCES", func(Facts) string {
			return open(filepath.Join(dir, "escape"), unix.O_CREAT|unix.O_WRONLY)
		}))
	}
	return probes
}

// secrets is a probe that reads files that it must not. It answers with how many it
// can.
func secrets(name string, files func(Facts) []string) Probe {
	return asking(name, "all", "none", func(f Facts) string {
		var got, missed []string
		for _, path := range files(f) {
			if read(path) == "ok" {
				got = append(got, path)
			} else {
				missed = append(missed, path)
			}
		}
		switch {
		case len(got) == 0:
			return "none"
		case len(missed) == 0:
			return "all"
		case len(missed) < len(got):
			return "all but " + strings.Join(missed, " ")
		}
		return strings.Join(got, " ")
	})
}

func prefixed(prefix string, paths []string) []string {
	out := make([]string, len(paths))
	for i, p := range paths {
		out[i] = prefix + p
	}
	return out
}

// A mount is a line of /proc/self/mountinfo, proc_pid_mountinfo(5).
type mount struct {
	point       string
	options     []string
	propagation string // "shared:1", "master:2"; empty if private
}

func (m mount) has(option string) bool { return slices.Contains(m.options, option) }

// mounts is a probe for the mount points of those for which which holds.
func mounts(name, outside, inside string, which func(mount) bool) Probe {
	return asking("mounts "+name, outside, inside, func(Facts) string {
		b, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			return word(err)
		}
		var points []string
		for line := range strings.Lines(string(b)) {
			if m := parseMount(line); which(m) {
				points = append(points, m.point)
			}
		}
		return list(points)
	})
}

func parseMount(line string) mount {
	f := strings.Fields(line)
	m := mount{point: f[4], options: strings.Split(f[5], ",")}
	if f[6] != "-" {
		m.propagation = f[6]
	}
	return m
}

// list joins words in order; "none" for none.
func list(words []string) string {
	if len(words) == 0 {
		return "none"
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}

func names(dir string) string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return word(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return list(names)
}

// descriptors tells all open descriptors and what they are.
func descriptors(Facts) string {
	var out []string
	for fd := range 1024 {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil {
			out = append(out, fmt.Sprintf("%d %s", fd, kind(st)))
		}
	}
	return strings.Join(out, " ")
}

func kindOf(path string) string {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return word(err)
	}
	return kind(st)
}

func kind(st unix.Stat_t) string {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFCHR:
		if st.Rdev == unix.Mkdev(1, 3) {
			return "null"
		}
		return "device"
	case unix.S_IFIFO:
		return "pipe"
	case unix.S_IFDIR:
		return "directory"
	case unix.S_IFREG:
		return "file"
	}
	return "other"
}
