package escape

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// privilegeProbes look at what the program is, and try to become more.
var privilegeProbes = []Probe{
	asking("environment", ".*SECRET.*", "ESCAPE=a=b HOME=/scratch LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", environment),
	asking("user", "0 0 0 0", "(1879[0-9]{6} ?){4}", status("Uid")),
	asking("groups", "4 27", "none", status("Groups")),
	asking("capabilities", ".*[1-9a-f].*", "0000000000000000 0000000000000000 0000000000000000 0000000000000000 0000000000000000",
		status("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")),
	asking("no_new_privs", "0", "1", status("NoNewPrivs")),
	asking("seccomp", "0", "2", status("Seccomp")),
	asking("signals blocked and ignored", "0000000000000000 0000000000000001", "0000000000000000 0000000000000000", status("SigBlk", "SigIgn")),
	asking("umask", "77", "22", func(Facts) string {
		mask := unix.Umask(0)
		unix.Umask(mask)
		return strconv.FormatInt(int64(mask), 8)
	}),
	asking("securebits", "0", "eb", func(Facts) string { return secureBits() }),
	asUser(asking("a set-user-ID program", "0", "[1-9][0-9]*", func(f Facts) string { return output(f.Setuid, "euid") })),

	asking("chmod u+s", "ok", "EPERM", func(Facts) string {
		return sequence(
			call{unix.SYS_OPENAT, unix.AT_FDCWD, temp("chmod"), unix.O_CREAT | unix.O_WRONLY, 0o700},
			call{unix.SYS_FCHMODAT, unix.AT_FDCWD, temp("chmod"), 0o4755})
	}),
	asking("create a file u+s", "ok", "EPERM", func(Facts) string {
		return sequence(call{unix.SYS_OPENAT, unix.AT_FDCWD, temp("open"), unix.O_CREAT | unix.O_WRONLY, 0o4755})
	}),
	asking("openat2 a file u+s", "ok", "ENOSYS", func(Facts) string {
		// struct open_how: flags, mode, resolve
		return sequence(call{unix.SYS_OPENAT2, unix.AT_FDCWD, temp("openat2"), []uint64{unix.O_CREAT | unix.O_WRONLY, 0o4755, 0}, 24})
	}),

	calling("setuid 0", "ok", "EPERM", call{unix.SYS_SETUID, 0}),
	calling("setresuid 0", "ok", "EPERM", call{unix.SYS_SETRESUID, 0, 0, 0}),
	calling("setgid 0", "ok", "EPERM", call{unix.SYS_SETGID, 0}),
	calling("setgroups", "ok", "EPERM", call{unix.SYS_SETGROUPS, 1, []byte{0, 0, 0, 0}}),
	calling("capset", "ok", "EPERM", call{unix.SYS_CAPSET, []uint64{unix.LINUX_CAPABILITY_VERSION_3}, []uint64{everything, everything, everything}}),
	calling("unlock the securebits", "ok", "EPERM", call{unix.SYS_PRCTL, unix.PR_SET_SECUREBITS, 0, 0, 0, 0}),
	calling("PR_SET_MM", "EINVAL", "EPERM", call{unix.SYS_PRCTL, unix.PR_SET_MM, unix.PR_SET_MM_BRK, 0, 0, 0}),
}

// everything is two words of a struct cap_user_data: capabilities of both halves
// that every kernel has.
const everything = 1<<32 | 1

func environment(Facts) string {
	env := os.Environ()
	slices.Sort(env)
	return strings.Join(env, " ")
}

// status answers with fields of /proc/self/status, proc_pid_status(5).
func status(fields ...string) func(Facts) string {
	return func(Facts) string {
		b, err := os.ReadFile("/proc/self/status")
		if err != nil {
			return word(err)
		}
		var out []string
		for _, field := range fields {
			_, after, found := strings.Cut(string(b), "\n"+field+":")
			if !found {
				return "no " + field
			}
			line, _, _ := strings.Cut(after, "\n")
			out = append(out, strings.Fields(line)...)
		}
		if len(out) == 0 {
			return "none"
		}
		return strings.Join(out, " ")
	}
}

func secureBits() string {
	bits, _, errno := unix.RawSyscall(unix.SYS_PRCTL, unix.PR_GET_SECUREBITS, 0, 0)
	if errno != 0 {
		return word(errno)
	}
	return fmt.Sprintf("%x", bits)
}

func output(name string, args ...string) string {
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(out))
}
