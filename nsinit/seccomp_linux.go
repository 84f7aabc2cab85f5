package nsinit

import (
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Answers of the filter to a system call, see seccomp(2).
const (
	allow      uint32 = unix.SECCOMP_RET_ALLOW
	kill       uint32 = unix.SECCOMP_RET_KILL_PROCESS
	notAllowed        = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	noSuchCall        = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	noFamily          = unix.SECCOMP_RET_ERRNO | uint32(unix.EAFNOSUPPORT)
)

// allowedCalls are the system calls of ordinary programs. What is in no table is
// answered with ENOSYS, as by a kernel that does not have it: programs then do
// without.
var allowedCalls = []uint32{
	// files
	unix.SYS_CACHESTAT, unix.SYS_CHDIR, unix.SYS_CLOSE, unix.SYS_CLOSE_RANGE, unix.SYS_COPY_FILE_RANGE, unix.SYS_DUP, unix.SYS_DUP3,
	unix.SYS_FACCESSAT, unix.SYS_FACCESSAT2, unix.SYS_FADVISE64, unix.SYS_FALLOCATE, unix.SYS_FCHDIR,
	unix.SYS_FCHOWN, unix.SYS_FCHOWNAT, unix.SYS_FCNTL, unix.SYS_FDATASYNC, unix.SYS_FGETXATTR, unix.SYS_FLISTXATTR,
	unix.SYS_FLOCK, unix.SYS_FREMOVEXATTR, unix.SYS_FSETXATTR, unix.SYS_FSTAT, unix.SYS_FSTATFS, unix.SYS_FSYNC, unix.SYS_FTRUNCATE,
	unix.SYS_GETCWD, unix.SYS_GETDENTS64, unix.SYS_GETXATTR, unix.SYS_GETXATTRAT, unix.SYS_INOTIFY_ADD_WATCH, unix.SYS_INOTIFY_INIT1,
	unix.SYS_INOTIFY_RM_WATCH, unix.SYS_LGETXATTR, unix.SYS_LINKAT, unix.SYS_LISTXATTR, unix.SYS_LISTXATTRAT, unix.SYS_LLISTXATTR,
	unix.SYS_LREMOVEXATTR, unix.SYS_LSEEK, unix.SYS_LSETXATTR, unix.SYS_MKDIRAT, unix.SYS_NAME_TO_HANDLE_AT,
	unix.SYS_NEWFSTATAT, unix.SYS_PIPE2, unix.SYS_PREAD64, unix.SYS_PREADV, unix.SYS_PREADV2,
	unix.SYS_PWRITE64, unix.SYS_PWRITEV, unix.SYS_PWRITEV2, unix.SYS_READ, unix.SYS_READAHEAD, unix.SYS_READLINKAT, unix.SYS_READV,
	unix.SYS_REMOVEXATTR, unix.SYS_REMOVEXATTRAT, unix.SYS_RENAMEAT2, unix.SYS_SENDFILE, unix.SYS_SETXATTR,
	unix.SYS_SETXATTRAT, unix.SYS_SPLICE, unix.SYS_STATFS, unix.SYS_STATX, unix.SYS_SYMLINKAT, unix.SYS_SYNC, unix.SYS_SYNCFS,
	unix.SYS_SYNC_FILE_RANGE, unix.SYS_TEE, unix.SYS_TRUNCATE, unix.SYS_UMASK, unix.SYS_UNLINKAT, unix.SYS_UTIMENSAT, unix.SYS_VMSPLICE,
	unix.SYS_WRITE, unix.SYS_WRITEV,

	// waiting
	unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_PWAIT2, unix.SYS_EVENTFD2, unix.SYS_FUTEX,
	unix.SYS_FUTEX_REQUEUE, unix.SYS_FUTEX_WAIT, unix.SYS_FUTEX_WAITV, unix.SYS_FUTEX_WAKE, unix.SYS_IO_CANCEL, unix.SYS_IO_DESTROY,
	unix.SYS_IO_GETEVENTS, unix.SYS_IO_PGETEVENTS, unix.SYS_IO_SETUP, unix.SYS_IO_SUBMIT, unix.SYS_PPOLL, unix.SYS_PSELECT6,
	unix.SYS_SIGNALFD4, unix.SYS_TIMERFD_CREATE, unix.SYS_TIMERFD_GETTIME, unix.SYS_TIMERFD_SETTIME,

	// memory
	unix.SYS_BRK, unix.SYS_GET_MEMPOLICY, unix.SYS_MADVISE, unix.SYS_MAP_SHADOW_STACK, unix.SYS_MBIND, unix.SYS_MEMBARRIER, unix.SYS_MEMFD_CREATE,
	unix.SYS_MEMFD_SECRET, unix.SYS_MINCORE, unix.SYS_MLOCK, unix.SYS_MLOCK2, unix.SYS_MLOCKALL, unix.SYS_MMAP, unix.SYS_MPROTECT,
	unix.SYS_MREMAP, unix.SYS_MSEAL, unix.SYS_MSYNC, unix.SYS_MUNLOCK, unix.SYS_MUNLOCKALL, unix.SYS_MUNMAP, unix.SYS_PKEY_ALLOC,
	unix.SYS_PKEY_FREE, unix.SYS_PKEY_MPROTECT, unix.SYS_PROCESS_MADVISE, unix.SYS_PROCESS_MRELEASE, unix.SYS_REMAP_FILE_PAGES,
	unix.SYS_SET_MEMPOLICY, unix.SYS_SET_MEMPOLICY_HOME_NODE,

	// processes and signals; clone3's flags are in memory, where no filter can
	// see them: what it could be asked for takes CAP_SYS_ADMIN or is refused to
	// who is chrooted
	unix.SYS_CLONE3, unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_GETCPU, unix.SYS_GETPGID,
	unix.SYS_GETPID, unix.SYS_GETPPID, unix.SYS_GETPRIORITY, unix.SYS_GETRLIMIT, unix.SYS_GETRUSAGE, unix.SYS_GETSID, unix.SYS_GETTID,
	unix.SYS_GET_ROBUST_LIST, unix.SYS_IOPRIO_GET, unix.SYS_IOPRIO_SET, unix.SYS_KILL, unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_SEND_SIGNAL,
	unix.SYS_PRCTL, unix.SYS_PRLIMIT64, unix.SYS_RESTART_SYSCALL, unix.SYS_RSEQ, unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPENDING,
	unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGQUEUEINFO, unix.SYS_RT_SIGRETURN, unix.SYS_RT_SIGSUSPEND, unix.SYS_RT_SIGTIMEDWAIT,
	unix.SYS_RT_TGSIGQUEUEINFO, unix.SYS_SCHED_GETAFFINITY, unix.SYS_SCHED_GETATTR, unix.SYS_SCHED_GETPARAM, unix.SYS_SCHED_GETSCHEDULER,
	unix.SYS_SCHED_GET_PRIORITY_MAX, unix.SYS_SCHED_GET_PRIORITY_MIN, unix.SYS_SCHED_RR_GET_INTERVAL, unix.SYS_SCHED_SETAFFINITY,
	unix.SYS_SCHED_SETATTR, unix.SYS_SCHED_SETPARAM, unix.SYS_SCHED_SETSCHEDULER, unix.SYS_SCHED_YIELD, unix.SYS_SETPGID,
	unix.SYS_SETPRIORITY, unix.SYS_SETRLIMIT, unix.SYS_SETSID, unix.SYS_SET_ROBUST_LIST, unix.SYS_SET_TID_ADDRESS, unix.SYS_SIGALTSTACK,
	unix.SYS_TGKILL, unix.SYS_TKILL, unix.SYS_WAIT4, unix.SYS_WAITID,

	// users, and less rights than before
	unix.SYS_CAPGET, unix.SYS_CAPSET, unix.SYS_GETEGID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETGROUPS,
	unix.SYS_GETRESGID, unix.SYS_GETRESUID, unix.SYS_GETUID, unix.SYS_LANDLOCK_ADD_RULE, unix.SYS_LANDLOCK_CREATE_RULESET,
	unix.SYS_LANDLOCK_RESTRICT_SELF, unix.SYS_SECCOMP, unix.SYS_SETFSGID, unix.SYS_SETFSUID, unix.SYS_SETGID, unix.SYS_SETGROUPS,
	unix.SYS_SETREGID, unix.SYS_SETRESGID, unix.SYS_SETRESUID, unix.SYS_SETREUID, unix.SYS_SETUID,

	// System V and POSIX IPC, in a namespace of the job's own
	unix.SYS_MQ_GETSETATTR, unix.SYS_MQ_NOTIFY, unix.SYS_MQ_OPEN, unix.SYS_MQ_TIMEDRECEIVE, unix.SYS_MQ_TIMEDSEND, unix.SYS_MQ_UNLINK,
	unix.SYS_MSGCTL, unix.SYS_MSGGET, unix.SYS_MSGRCV, unix.SYS_MSGSND, unix.SYS_SEMCTL, unix.SYS_SEMGET, unix.SYS_SEMOP, unix.SYS_SEMTIMEDOP,
	unix.SYS_SHMAT, unix.SYS_SHMCTL, unix.SYS_SHMDT, unix.SYS_SHMGET,

	// sockets; which families, argumentRules say
	unix.SYS_ACCEPT, unix.SYS_ACCEPT4, unix.SYS_BIND, unix.SYS_CONNECT, unix.SYS_GETPEERNAME, unix.SYS_GETSOCKNAME, unix.SYS_GETSOCKOPT,
	unix.SYS_LISTEN, unix.SYS_RECVFROM, unix.SYS_RECVMMSG, unix.SYS_RECVMSG, unix.SYS_SENDMMSG, unix.SYS_SENDMSG, unix.SYS_SENDTO,
	unix.SYS_SETSOCKOPT, unix.SYS_SHUTDOWN,

	// time and the system
	unix.SYS_CLOCK_GETRES, unix.SYS_CLOCK_GETTIME, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_GETITIMER, unix.SYS_GETRANDOM, unix.SYS_GETTIMEOFDAY,
	unix.SYS_NANOSLEEP, unix.SYS_SETITIMER, unix.SYS_SYSINFO, unix.SYS_TIMER_CREATE, unix.SYS_TIMER_DELETE, unix.SYS_TIMER_GETOVERRUN,
	unix.SYS_TIMER_GETTIME, unix.SYS_TIMER_SETTIME, unix.SYS_TIMES, unix.SYS_UNAME,
}

// refusedCalls are answered with EPERM: what they are for is administration,
// another process, or a part of the kernel with a history.
var refusedCalls = []uint32{
	unix.SYS_ACCT, unix.SYS_ADD_KEY, unix.SYS_ADJTIMEX, unix.SYS_BPF, unix.SYS_CHROOT, unix.SYS_CLOCK_ADJTIME, unix.SYS_CLOCK_SETTIME, unix.SYS_DELETE_MODULE,
	unix.SYS_FANOTIFY_INIT, unix.SYS_FANOTIFY_MARK, unix.SYS_FINIT_MODULE, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSOPEN,
	unix.SYS_FSPICK, unix.SYS_INIT_MODULE, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER, unix.SYS_IO_URING_SETUP, unix.SYS_KCMP,
	unix.SYS_KEXEC_FILE_LOAD, unix.SYS_KEXEC_LOAD, unix.SYS_KEYCTL, unix.SYS_MIGRATE_PAGES, unix.SYS_MOUNT, unix.SYS_MOUNT_SETATTR,
	unix.SYS_MOVE_MOUNT, unix.SYS_MOVE_PAGES, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_OPEN_TREE, unix.SYS_OPEN_TREE_ATTR,
	unix.SYS_PERF_EVENT_OPEN, unix.SYS_PIDFD_GETFD, unix.SYS_PIVOT_ROOT, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV,
	unix.SYS_PTRACE, unix.SYS_QUOTACTL, unix.SYS_QUOTACTL_FD, unix.SYS_REBOOT, unix.SYS_REQUEST_KEY, unix.SYS_SETDOMAINNAME,
	unix.SYS_SETHOSTNAME, unix.SYS_SETNS, unix.SYS_SETTIMEOFDAY, unix.SYS_SWAPOFF, unix.SYS_SWAPON, unix.SYS_SYSLOG, unix.SYS_UMOUNT2,
	unix.SYS_USERFAULTFD, unix.SYS_VHANGUP,
}

// An argumentRule decides about a call by the low half of one argument, which
// is all that the kernel looks at there. With a mask it matches if one of these
// bits is set, without if the argument is one of values. With a flag, of the
// argument before that one, it matches only if one of its bits is set there.
type argumentRule struct {
	call         uint32
	arg          uint32
	mask         uint32
	values       []uint32
	flag         uint32
	match, other uint32
}

// otherNamespaces are those of clone(2) but for the cgroup namespace: that one is
// made by nsinit's child, and harmless without capabilities.
const otherNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

var families = []uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK}

// Personalities that change no more than what uname(2) says; the last one asks
// which it is.
var personalities = []uint32{0, 0x0008, 0x20000, 0x20008, 0xffffffff}

var argumentRules = []argumentRule{
	{call: unix.SYS_CLONE, arg: 0, mask: otherNamespaces | unix.CLONE_NEWCGROUP, match: notAllowed, other: allow},
	{call: unix.SYS_UNSHARE, arg: 0, mask: otherNamespaces | unix.CLONE_NEWTIME, match: notAllowed, other: allow},
	{call: unix.SYS_IOCTL, arg: 1, values: []uint32{unix.TIOCSTI, unix.TIOCLINUX}, match: notAllowed, other: allow}, // CVE-2017-5226
	{call: unix.SYS_SOCKET, arg: 0, values: families, match: allow, other: noFamily},
	{call: unix.SYS_SOCKETPAIR, arg: 0, values: families, match: allow, other: noFamily},
	{call: unix.SYS_PERSONALITY, arg: 0, values: personalities, match: allow, other: notAllowed},
	{call: unix.SYS_FCHMOD, arg: 1, mask: setID, match: notAllowed, other: allow},
	{call: unix.SYS_FCHMODAT, arg: 2, mask: setID, match: notAllowed, other: allow},
	{call: unix.SYS_FCHMODAT2, arg: 2, mask: setID, match: notAllowed, other: allow},
	{call: unix.SYS_MKNODAT, arg: 2, mask: setID, match: notAllowed, other: allow},
	{call: unix.SYS_OPENAT, arg: 3, mask: setID, flag: creates, match: notAllowed, other: allow},
}

// setID are the bits of a mode that make a program run as its owner or group. A
// file that has them may outlive its job, where the job can write to a directory
// of the host, and the job's user, who then is another job's; openat2(2) has the
// mode in memory, where no filter can see it, and so is not known.
const setID = unix.S_ISUID | unix.S_ISGID

// creates are the flags with which open(2) looks at its mode.
const creates = unix.O_CREAT | unix.O_TMPFILE&^unix.O_DIRECTORY

// A filterRange is the answer to all calls from first up to the next range.
type filterRange struct {
	first  uint32
	answer uint32
	rule   *argumentRule // instead of answer, if not nil
}

// filterRanges lays the tables out in order, from call 0 to the last there can be.
// Those of x32, which have bit 30 set, are among the ones that do not exist.
func filterRanges() []filterRange {
	// What is thrown away here each nsinit would keep: it collects no garbage.
	calls := make([]filterRange, 0, len(allowedCalls)+len(archAllowedCalls)+len(refusedCalls)+len(archRefusedCalls)+len(argumentRules)+len(archArgumentRules))
	for _, list := range []struct {
		calls  []uint32
		answer uint32
	}{{allowedCalls, allow}, {archAllowedCalls, allow}, {refusedCalls, notAllowed}, {archRefusedCalls, notAllowed}} {
		for _, c := range list.calls {
			calls = append(calls, filterRange{first: c, answer: list.answer})
		}
	}
	for _, r := range slices.Concat(argumentRules, archArgumentRules) {
		calls = append(calls, filterRange{first: r.call, rule: &r})
	}
	slices.SortFunc(calls, func(a, b filterRange) int { return int(a.first) - int(b.first) })
	ranges := append(make([]filterRange, 0, len(calls)), filterRange{answer: noSuchCall})
	next := uint32(0) // the first call that no range is about
	add := func(r filterRange) {
		last := &ranges[len(ranges)-1]
		switch {
		case last.first == r.first:
			*last = r
		case r.rule != nil || last.rule != nil || last.answer != r.answer:
			ranges = append(ranges, r)
		}
	}
	for _, c := range calls {
		if c.first > next {
			add(filterRange{first: next, answer: noSuchCall})
		}
		add(c)
		next = c.first + 1
	}
	add(filterRange{first: next, answer: noSuchCall})
	return ranges
}

// Offsets in struct seccomp_data, seccomp(2), of a little-endian machine.
const (
	dataNumber    = 0
	dataArch      = 4
	dataArguments = 16
)

// assembleFilter returns the program that the kernel runs at each system call: a
// binary search for its number. A call of another architecture, such as int 0x80
// on amd64, ends the process.
func assembleFilter() []unix.SockFilter {
	ranges := filterRanges()
	code := append(make([]unix.SockFilter, 0, 4*len(ranges)),
		load(dataArch),
		jump(unix.BPF_JEQ, filterArch, 1, 0),
		answer(kill),
		load(dataNumber))
	return appendSearch(code, ranges)
}

// appendSearch finds the range of the number. Only an unconditional jump can be
// longer than 255 instructions:
//
//	jge #first of the right half, 0, 1
//	ja right
//	left: …
//	right: …
func appendSearch(code []unix.SockFilter, ranges []filterRange) []unix.SockFilter {
	if len(ranges) == 1 {
		return appendAnswer(code, ranges[0])
	}
	half, over := len(ranges)/2, len(code)+1
	code = append(code, jump(unix.BPF_JGE, ranges[half].first, 0, 1), unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA})
	code = appendSearch(code, ranges[:half])
	code[over].K = uint32(len(code) - over - 1)
	return appendSearch(code, ranges[half:])
}

func appendAnswer(code []unix.SockFilter, r filterRange) []unix.SockFilter {
	if r.rule == nil {
		return append(code, answer(r.answer))
	}
	if r.rule.flag != 0 {
		code = append(code, load(dataArguments+8*(r.rule.arg-1)), jump(unix.BPF_JSET, r.rule.flag, 1, 0), answer(r.rule.other))
	}
	code = append(code, load(dataArguments+8*r.rule.arg))
	if r.rule.mask != 0 {
		code = append(code, jump(unix.BPF_JSET, r.rule.mask, 0, 1), answer(r.rule.match))
	}
	for _, v := range r.rule.values {
		code = append(code, jump(unix.BPF_JEQ, v, 0, 1), answer(r.rule.match))
	}
	return append(code, answer(r.rule.other))
}

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

// jump skips yes or no instructions, as the comparison with k says.
func jump(comparison uint16, k uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_K | comparison, Jt: yes, Jf: no, K: k}
}

func answer(v uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: v}
}

// installFilter puts code in force for this thread and all that come from it,
// for good. It needs no_new_privs.
func installFilter(code []unix.SockFilter) error {
	if filterArch == 0 {
		return errors.New("no table of system calls for this architecture")
	}
	prog := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		return fmt.Errorf("seccomp, %d instructions: %w", len(code), errno)
	}
	return nil
}
