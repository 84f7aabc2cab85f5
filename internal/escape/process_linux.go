package escape

import (
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// processProbes are about the processes that are not the job's. In a job PID 1 is
// nsinit; outside it is the machine's init, whom the kernel spares SIGKILL.
var processProbes = []Probe{
	asking("processes of others in /proc", "[1-9][0-9]*", "0", foreign),
	reading("/proc/1/environ", "ok", "ENOENT"),
	reading("/proc/1/mem", "EIO", "ENOENT"), // nothing is mapped at 0
	reading("/proc/1/maps", "ok", "ENOENT"),
	reading("/proc/1/status", "ok", "ENOENT"),
	asking("list /proc/1/fd", "0 1 .*", "ENOENT", func(Facts) string { return names("/proc/1/fd") }),
	asking("open /proc/1/exe", "ok", "ENOENT", func(Facts) string { return open("/proc/1/exe", unix.O_PATH) }),
	asking("open /proc/1/cwd", "ok", "ENOENT", func(Facts) string { return open("/proc/1/cwd", unix.O_PATH) }),
	asking("open /proc/1/ns/mnt", "ok", "ENOENT", func(Facts) string { return open("/proc/1/ns/mnt", unix.O_RDONLY) }),

	calling("kill PID 1", "ok", "EPERM", call{unix.SYS_KILL, 1, int(unix.SIGKILL)}),
	calling("tgkill PID 1", "ok", "EPERM", call{unix.SYS_TGKILL, 1, 1, int(unix.SIGKILL)}),
	calling("rt_sigqueueinfo PID 1", "ok", "EPERM", call{unix.SYS_RT_SIGQUEUEINFO, 1, int(unix.SIGKILL), sigqueue}),
	calling("pidfd_send_signal PID 1", "ok", "EPERM",
		call{unix.SYS_PIDFD_OPEN, 1, 0},
		call{unix.SYS_PIDFD_SEND_SIGNAL, result, int(unix.SIGKILL), nil, 0}),
	asking("kill the daemon", "ok", "ESRCH", func(f Facts) string { return sequence(call{unix.SYS_KILL, f.Daemon, 0}) }),

	calling("ptrace PID 1", "ok", "EPERM", call{unix.SYS_PTRACE, unix.PTRACE_SEIZE, 1, 0, 0}),
	calling("process_vm_readv PID 1", "ok", "EPERM", call{unix.SYS_PROCESS_VM_READV, 1, nil, 0, nil, 0, 0}),
	calling("process_vm_writev PID 1", "ok", "EPERM", call{unix.SYS_PROCESS_VM_WRITEV, 1, nil, 0, nil, 0, 0}),
	calling("process_madvise PID 1", "ok", "EACCES|EPERM",
		call{unix.SYS_PIDFD_OPEN, 1, 0},
		call{unix.SYS_PROCESS_MADVISE, result, make([]uint64, 2), 1, unix.MADV_COLD, 0}),
	calling("pidfd_getfd PID 1", "ok", "EPERM",
		call{unix.SYS_PIDFD_OPEN, 1, 0},
		call{unix.SYS_PIDFD_GETFD, result, 0, 0}),
	calling("kcmp PID 1", "ok", "EPERM", call{unix.SYS_KCMP, 1, 1, 0, 0, 0}),
	calling("perf_event_open PID 1", "ok", "EPERM", call{unix.SYS_PERF_EVENT_OPEN, perfClock, 1, -1, -1, 0}),
	calling("get_robust_list PID 1", "ok", "EPERM", call{unix.SYS_GET_ROBUST_LIST, 1, make([]uint64, 1), make([]uint64, 1)}),
	calling("move_pages PID 1", "ok", "EPERM", call{unix.SYS_MOVE_PAGES, 1, 0, nil, nil, nil, 0}),
	calling("migrate_pages PID 1", "ok|EINVAL", "EPERM", call{unix.SYS_MIGRATE_PAGES, 1, 64, []uint64{1}, []uint64{1}}),

	calling("prlimit PID 1", "ok", "EPERM", call{unix.SYS_PRLIMIT64, 1, unix.RLIMIT_NOFILE, nil, make([]uint64, 2)}),
	calling("setpriority PID 1", "ok", "EPERM", call{unix.SYS_SETPRIORITY, unix.PRIO_PROCESS, 1, 0}),
	calling("sched_setscheduler PID 1", "ok", "EPERM", call{unix.SYS_SCHED_SETSCHEDULER, 1, unix.SCHED_NORMAL, make([]byte, 4)}),
	calling("sched_setaffinity PID 1", "ok", "EPERM", call{unix.SYS_SCHED_SETAFFINITY, 1, 8, []uint64{3}}),
	calling("ioprio_set PID 1", "ok", "EPERM", call{unix.SYS_IOPRIO_SET, ioprioProcess, 1, 0}),
}

const ioprioProcess = 1 // IOPRIO_WHO_PROCESS, ioprio_set(2)

// sigqueue is a siginfo_t with si_code SI_QUEUE, rt_sigqueueinfo(2).
var sigqueue = append([]uint64{uint64(unix.SIGKILL), 0xffffffff}, make([]uint64, 14)...)

// perfClock is a struct perf_event_attr, perf_event_open(2): PERF_TYPE_SOFTWARE and
// its own size, then PERF_COUNT_SW_CPU_CLOCK.
var perfClock = append([]uint64{112<<32 | 1}, make([]uint64, 13)...)

// foreign counts the processes in /proc but for the program's own.
func foreign(Facts) string {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return word(err)
	}
	n := 0
	for _, dir := range dirs {
		if filepath.Base(dir) != strconv.Itoa(os.Getpid()) {
			n++
		}
	}
	return strconv.Itoa(n)
}
