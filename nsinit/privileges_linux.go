package nsinit

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// resetProcess undoes what the process may have inherited from the daemon and
// would pass on to the job.
func resetProcess() error {
	unix.Umask(0o022)
	if err := resetSignals(); err != nil {
		return err
	}
	// Without randomized addresses, for one, an error in a program is easier to
	// exploit; execve(2) keeps that (personality(2)).
	if _, _, errno := unix.RawSyscall(unix.SYS_PERSONALITY, 0, 0, 0); errno != 0 {
		return fmt.Errorf("personality: %w", errno)
	}
	// On this thread: what is looked up with the job's rights must not be
	// found with the daemon's groups.
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); errno != 0 {
		return fmt.Errorf("setgroups: %w", errno)
	}
	// Nobody may trace this process or read its /proc entries.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("prctl PR_SET_DUMPABLE: %w", err)
	}
	// A daemon that the OOM killer is told to spare must not make its jobs
	// the last to go.
	if err := writeFile("/proc/self/oom_score_adj", "0"); err != nil {
		return err
	}
	// The mounts of this namespace are still peers of the host's: clone(2)
	// with CLONE_NEWNS copies them as they are.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mount / private: %w", err)
	}
	return nil
}

// A sigaction is the kernel's, see rt_sigaction(2); only the first field counts
// for an action that runs no code.
type sigaction struct {
	handler, flags, restorer uintptr
	mask                     uint64
}

const (
	sigIgnore  = 1
	lastSignal = 64
)

// resetSignals stops ignoring and blocking what the daemon ignores, as under
// nohup(1), and blocks. execve(2) keeps both, and the Go runtime the mask, and
// SIGHUP and SIGINT ignored; the signals that the runtime catches are reset when
// the program is executed. The mask is that of this thread, from which the program
// is forked.
func resetSignals() error {
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, new(unix.Sigset_t), nil); err != nil {
		return fmt.Errorf("rt_sigprocmask: %w", err)
	}
	for sig := uintptr(1); sig <= lastSignal; sig++ {
		var now, dfl sigaction
		if err := rtSigaction(sig, nil, &now); err != nil {
			return err
		}
		if now.handler == sigIgnore {
			if err := rtSigaction(sig, &dfl, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

func rtSigaction(sig uintptr, set, old *sigaction) error {
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), unsafe.Sizeof(old.mask), 0, 0)
	if errno != 0 {
		return fmt.Errorf("rt_sigaction %d: %w", sig, errno)
	}
	return nil
}

// rlimits of the job. What bounds it are the limits of its cgroup; these only
// replace whatever the daemon happens to run with, and never exceed its hard
// limits: raising those takes CAP_SYS_RESOURCE, which a container may lack.
var rlimits = []struct {
	name     string
	resource int
	cur, max uint64
}{
	{"CORE", unix.RLIMIT_CORE, 1, 1}, // not 0, at which a core_pattern with a pipe runs its helper all the same (core(5))
	{"NOFILE", unix.RLIMIT_NOFILE, 1024, 524288},
	{"MEMLOCK", unix.RLIMIT_MEMLOCK, 8 << 20, 8 << 20},
	{"MSGQUEUE", unix.RLIMIT_MSGQUEUE, 800 << 10, 800 << 10},
	{"STACK", unix.RLIMIT_STACK, 8 << 20, unix.RLIM_INFINITY},
	{"NPROC", unix.RLIMIT_NPROC, unix.RLIM_INFINITY, unix.RLIM_INFINITY},
	{"FSIZE", unix.RLIMIT_FSIZE, unix.RLIM_INFINITY, unix.RLIM_INFINITY},
	{"CPU", unix.RLIMIT_CPU, unix.RLIM_INFINITY, unix.RLIM_INFINITY},
	{"RTPRIO", unix.RLIMIT_RTPRIO, 0, 0},
	{"NICE", unix.RLIMIT_NICE, 0, 0},
	{"SIGPENDING", unix.RLIMIT_SIGPENDING, 4096, 4096},
}

// securebits keep root's special treatment and every way back to capabilities
// off, for good. NO_SETUID_FIXUP and KEEP_CAPS are locked while off: with the
// first on, the program's chdir(2) would still have root's rights.
const securebits = secNoRoot | secNoRootLocked | secNoSetuidFixupLocked | secKeepCapsLocked | secNoAmbientRaise | secNoAmbientRaiseLocked

// From linux/securebits.h.
const (
	secNoRoot               = 1 << 0
	secNoRootLocked         = 1 << 1
	secNoSetuidFixupLocked  = 1 << 3
	secKeepCapsLocked       = 1 << 5
	secNoAmbientRaise       = 1 << 6
	secNoAmbientRaiseLocked = 1 << 7
)

// dropPrivileges gives up, on this thread, what the program forked from it must
// not have. Capabilities themselves go with the setuid(2) in the child; what is
// removed here is every way to get them back.
func dropPrivileges(filter []unix.SockFilter) error {
	if err := setRlimits(); err != nil {
		return err
	}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		// The raw call: unix.KeyctlJoinSessionKeyring passes "" for NULL.
		{"keyctl JOIN_SESSION_KEYRING", joinSessionKeyring},
		{"prctl CAPBSET_DROP", dropBoundingSet},
		{"capset", clearInheritable},
		{"prctl SET_SECUREBITS", func() error { return unix.Prctl(unix.PR_SET_SECUREBITS, securebits, 0, 0, 0) }},
		{"prctl SET_NO_NEW_PRIVS", func() error { return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }},
		// The last step: it refuses some of the ones before.
		{"seccomp", func() error { return installFilter(filter) }},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

// setRlimits uses unix.Setrlimit because syscall.ForkExec would otherwise
// restore the RLIMIT_NOFILE that the Go runtime found at its start.
func setRlimits() error {
	for _, l := range rlimits {
		var now unix.Rlimit
		if err := unix.Getrlimit(l.resource, &now); err != nil {
			return fmt.Errorf("getrlimit %s: %w", l.name, err)
		}
		hard := min(l.max, now.Max)
		if err := unix.Setrlimit(l.resource, &unix.Rlimit{Cur: min(l.cur, hard), Max: hard}); err != nil {
			return fmt.Errorf("setrlimit %s: %w", l.name, err)
		}
	}
	return nil
}

// writeFile is os.WriteFile without the runtime's poller, which nsinit does not
// need otherwise.
func writeFile(name, content string) error {
	fd, err := unix.Open(name, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", name, err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(content)); err != nil {
		return fmt.Errorf("write %s %q: %w", name, content, err)
	}
	return nil
}
