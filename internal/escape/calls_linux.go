package escape

import (
	"slices"

	"golang.org/x/sys/unix"
)

// callProbes are system calls that are for administrators, or have a history. An
// error outside that is not EPERM or ENOSYS says that the call was let through,
// and had nothing to work on.
var callProbes = slices.Concat([]Probe{
	calling("acct", "ok", "EPERM", call{unix.SYS_ACCT, nil}),
	calling("add_key", "ok", "EPERM", call{unix.SYS_ADD_KEY, "user", "escape", "x", 1, unix.KEY_SPEC_PROCESS_KEYRING}),
	calling("request_key", "ENOKEY", "EPERM", call{unix.SYS_REQUEST_KEY, "user", "escape", nil, 0}),
	calling("keyctl", "ok", "EPERM", call{unix.SYS_KEYCTL, unix.KEYCTL_GET_KEYRING_ID, unix.KEY_SPEC_SESSION_KEYRING, 1}),
	calling("adjtimex", "ok", "EPERM", call{unix.SYS_ADJTIMEX, make([]byte, 208)}),
	calling("clock_adjtime", "ok", "EPERM", call{unix.SYS_CLOCK_ADJTIME, unix.CLOCK_REALTIME, make([]byte, 208)}),
	calling("clock_settime", "EINVAL", "EPERM", call{unix.SYS_CLOCK_SETTIME, unix.CLOCK_REALTIME, []uint64{0, 1 << 40}}),
	calling("settimeofday", "ok", "EPERM", call{unix.SYS_SETTIMEOFDAY, nil, nil}),
	calling("bpf: a map", "ok", "EPERM", call{unix.SYS_BPF, unix.BPF_MAP_CREATE, []uint64{4<<32 | unix.BPF_MAP_TYPE_ARRAY, 1<<32 | 4, 0, 0, 0, 0}, 48}),
	calling("fanotify_init", "ok", "EPERM", call{unix.SYS_FANOTIFY_INIT, 0, 0}),
	calling("fanotify_mark", "EBADF", "EPERM", call{unix.SYS_FANOTIFY_MARK, -1, unix.FAN_MARK_ADD, unix.FAN_OPEN, unix.AT_FDCWD, "/"}),
	calling("init_module", "ENOEXEC|EINVAL|EFAULT", "EPERM", call{unix.SYS_INIT_MODULE, nil, 0, ""}),
	calling("finit_module", "EBADF", "EPERM", call{unix.SYS_FINIT_MODULE, -1, "", 0}),
	calling("delete_module", "ENOENT", "EPERM", call{unix.SYS_DELETE_MODULE, "escape", unix.O_NONBLOCK}),
	calling("io_uring_setup", "ok", "EPERM", call{unix.SYS_IO_URING_SETUP, 1, make([]byte, 120)}),
	calling("io_uring_enter", "EBADF|EOPNOTSUPP", "EPERM", call{unix.SYS_IO_URING_ENTER, -1, 0, 0, 0, nil, 0}),
	calling("kexec_load", "ok", "EPERM", call{unix.SYS_KEXEC_LOAD, 0, 0, nil, 0}),
	calling("kexec_file_load", "ok", "EPERM", call{unix.SYS_KEXEC_FILE_LOAD, -1, -1, 0, nil, unix.KEXEC_FILE_UNLOAD}),
	calling("quotactl", "ENOENT|EINVAL|ENODEV|ESRCH|ENOTBLK", "EPERM", call{unix.SYS_QUOTACTL, 0, "/nonexistent", 0, nil}),
	calling("reboot", "EINVAL", "EPERM", call{unix.SYS_REBOOT, 0, 0, 0, nil}),
	calling("sethostname", "ok", "EPERM", call{unix.SYS_UNSHARE, unix.CLONE_NEWUTS}, call{unix.SYS_SETHOSTNAME, "escape", 6}),
	calling("setdomainname", "ok", "EPERM", call{unix.SYS_UNSHARE, unix.CLONE_NEWUTS}, call{unix.SYS_SETDOMAINNAME, "escape", 6}),
	calling("swapon", "ENOENT", "EPERM", call{unix.SYS_SWAPON, "/nonexistent", 0}),
	calling("swapoff", "ENOENT", "EPERM", call{unix.SYS_SWAPOFF, "/nonexistent"}),
	calling("syslog", "ok", "EPERM", call{unix.SYS_SYSLOG, syslogReadAll, make([]byte, 64), 64}),
	calling("userfaultfd", "ok", "EPERM", call{unix.SYS_USERFAULTFD, 0}),
	calling("vhangup", "ok", "EPERM", call{unix.SYS_VHANGUP}),
	calling("personality: no address randomization", "ok", "EPERM", call{unix.SYS_PERSONALITY, 0x0040000}),
	calling("personality: reading implies executing", "ok", "EPERM", call{unix.SYS_PERSONALITY, 0x0400000}),
	calling("ioctl TIOCSTI", "EBADF", "EPERM", call{unix.SYS_IOCTL, -1, unix.TIOCSTI, nil}),
	calling("ioctl TIOCLINUX", "EBADF", "EPERM", call{unix.SYS_IOCTL, -1, unix.TIOCLINUX, nil}),
	calling("a call that does not exist", "ENOSYS", "ENOSYS", call{4000}),
}, archProbes)

const syslogReadAll = 3 // SYSLOG_ACTION_READ_ALL, syslog(2)

// limitProbes try to get more than the job's share.
var limitProbes = []Probe{
	calling("raise RLIMIT_CORE", "ok", "EPERM", call{unix.SYS_SETRLIMIT, unix.RLIMIT_CORE, []uint64{1 << 30, 1 << 30}}),
	calling("raise RLIMIT_MEMLOCK", "ok", "EPERM", call{unix.SYS_SETRLIMIT, unix.RLIMIT_MEMLOCK, []uint64{1 << 30, 1 << 30}}),
	calling("raise RLIMIT_NOFILE", "ok", "EPERM", call{unix.SYS_SETRLIMIT, unix.RLIMIT_NOFILE, []uint64{1 << 20, 1 << 20}}),
	calling("raise RLIMIT_MSGQUEUE", "ok", "EPERM", call{unix.SYS_SETRLIMIT, unix.RLIMIT_MSGQUEUE, []uint64{1 << 30, 1 << 30}}),
	calling("a higher priority", "ok", "EACCES", call{unix.SYS_SETPRIORITY, unix.PRIO_PROCESS, 0, -5}),
	calling("real time by sched_setscheduler", "ok", "EPERM", call{unix.SYS_SCHED_SETSCHEDULER, 0, unix.SCHED_FIFO, []byte{1, 0, 0, 0}}),
	// struct sched_attr: size and policy, flags, nice and priority, runtime, deadline, period
	calling("a deadline by sched_setattr", "ok|EBUSY", "EPERM", call{unix.SYS_SCHED_SETATTR, 0, []uint64{unix.SCHED_DEADLINE<<32 | 48, 0, 0, 1e6, 1e8, 1e8}, 0}),
	calling("real time by ioprio_set", "ok", "EPERM", call{unix.SYS_IOPRIO_SET, ioprioProcess, 0, 1 << 13}),
}
