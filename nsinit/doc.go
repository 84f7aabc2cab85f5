// Package nsinit is the first process of a job, PID 1 of its PID namespace: it
// builds the job's view of the system, starts the job's program, records what
// it writes, forwards signals to it, reaps what it leaves behind, and says how
// it ended.
//
// It is the running binary itself, executed from a sealed copy in memory (see
// [Image]), so a program that starts jobs calls [MaybeRun] as the first
// statement of main. The job never sees that copy, and cannot change it
// (CVE-2019-5736): it is the program itself only in a job whose program is built in
// ([Config].Builtin), where no other runs.
//
// # The protocol
//
// The daemon and nsinit share one socket, and only until the program has been
// executed. After that nsinit needs nobody: it records and reaps whether a
// daemon is there or not, and forwards the signals of any daemon that opens the
// control FIFO.
//
//	daemon                                  nsinit
//	------                                  ------
//	clone3(INTO_CGROUP init, NEWPID|NEWNS|
//	  NEWNET|NEWIPC|NEWUTS), exec      ──▶  MaybeRun
//	Config as JSON, shutdown(WR)       ──▶  reads to the end
//	                                        builds the root, pivots into it
//	                                        gives up privileges (its thread's)
//	                                        writes cpu.max
//	                                        clone3(INTO_CGROUP payload), setuid, exec
//	reads to the end                   ◀──  Report {pid} or {stage,errno,message}, closes
//	                                        keeps CAP_KILL only
//	a byte into the control FIFO       ──▶  pidfd_send_signal(main process)
//	                                        main process ends: kill(-1), wait, drain
//	pidfd readable, waitid             ◀──  writes Exit, fsync, exit(0)
//	reads Exit
//
// What nsinit holds after the start: the log (append only), the exit file, the
// control FIFO, the read ends of the two pipes, the daemon's standard error for a
// panic. None of
// it is reachable from the job: nsinit runs as another user, is not dumpable and
// is hidden from the job's /proc (hidepid=2).
//
// # What the job sees
//
// A small read-only tmpfs with the directories of [Config.ReadOnly] from the
// host, a /proc, a /dev, a /tmp and a /dev/shm of its own, and a writable
// /scratch. That root is mounted below the root of the mount namespace and the
// job is chrooted into it, because the kernel then refuses it new user
// namespaces (user_namespaces(7): EPERM when "the caller is in a chroot
// environment").
//
// # Needs
//
// Linux 5.14 and root: clone3 with CLONE_INTO_CGROUP (5.7), hidepid per mount
// and faccessat2 (5.8), close_range with CLOSE_RANGE_CLOEXEC (5.11),
// mount_setattr (5.12), cgroup.kill (5.14).
package nsinit
