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
// daemon is there or not, forwards the signals of any daemon that opens the
// control FIFO, passes on the input of any that opens the FIFO for that, and tells one
// that did not start the job how much of it there was (AskCount). A daemon that dies in
// the middle of a start has either sent the whole of the config, and the program is
// executed, or not, and nsinit exits; the exit file says which.
//
//	daemon                                  nsinit
//	------                                  ------
//	Image.Prepare
//	clone3(INTO_CGROUP init, NEWPID|NEWNS|
//	  NEWNET|NEWIPC|NEWUTS), exec      ──▶  MaybeRun
//	                                        builds of the root what all jobs have, raises lo
//	Spare.Start
//	SCM_RIGHTS: log, exit file, FIFO,  ──▶  puts them in their places
//	  mounts for the job
//	Config as JSON, shutdown(WR)       ──▶  reads to the end
//	                                        adds /scratch, users and those mounts, pivots into the root
//	                                        looks the program up, enters /job (its thread)
//	                                        gives up privileges (its thread's)
//	                                        writes cpu.max
//	                                        clone3(INTO_CGROUP payload), setuid, exec
//	                                        writes the Report to the exit file
//	reads to the end                   ◀──  Report {pid} or {stage,errno,message}, closes
//	                                        keeps CAP_KILL only
//	1 to 64 into the control FIFO      ──▶  pidfd_send_signal(main process)
//	bytes into the input's FIFO        ──▶  splice into the job's pipe
//	0 into the control FIFO            ──▶  the input's FIFO empty: closes it and the pipe
//	EPIPE, or ENXIO from open          ◀──  nobody reads the pipe any more: closes both
//	                                        main process ends: kill(-1), wait, drain
//	pidfd readable, waitid             ◀──  writes Exit, fsync, exit(0)
//	reads Exit
//
// Between the two calls an nsinit belongs to no job yet, and may wait for one as
// long as it takes. When its daemon ends, or does not need it, it reads the end of
// the socket and exits.
//
// A log that is full ends the job or, by punching holes into it, its oldest output
// (stream.Cap); one that cannot be written does neither: the job goes on, what is lost
// is counted, and marked as soon as that is possible.
//
// What nsinit holds after the start: the log (append only), the exit file, the
// control FIFO, the read ends of the two output pipes, the input's FIFO and the
// write end of its pipe, the daemon's standard error for a panic. None of it is
// reachable from the job: nsinit runs as another user, is not dumpable and is
// hidden from the job's /proc (hidepid=2).
//
// # What the job sees
//
// A small read-only tmpfs with the directories of [Setup].ReadOnly from the
// host, a /proc, a /dev, a /tmp and a /dev/shm of its own, and a writable
// /scratch. Of /proc the files that tell of the whole machine, or steer it, are
// covered (maskProc). That root is mounted below the root of the mount namespace and the
// job is chrooted into it, because the kernel then refuses it new user
// namespaces (user_namespaces(7): EPERM when "the caller is in a chroot
// environment").
//
// With Setup.Late the root is made when the job is there, and can be another: that of
// a directory ([RootDir]), whose content takes the place of the host's and in which no
// link is followed to mount something, or all that the host has mounted ([RootHost]),
// with no change but a /proc of the job's own and no set-user-ID; and further mounts can
// be part of it. The daemon makes those mounts from what it has opened and checked
// ([CloneTree]): no path that a client has named is resolved here. In each root that
// shows the host's files what Setup.Hidden names is covered.
//
// None of that changes what the job is: not root, without capabilities or a way to
// any, filtered, in its PID namespace and chrooted. In a user namespace (Setup.UserUID)
// nsinit's own capabilities count there alone as well.
//
// # System calls
//
// The program inherits a seccomp filter from the thread that forks it: an
// allow-list (allowedCalls), with rules for the arguments of a few (argumentRules).
// What is for administrators, or reaches into other processes, gives EPERM; what
// is unknown gives ENOSYS, so that programs fall back to what they know; a call of
// another architecture kills the process. No file can be given a
// set-user-ID or set-group-ID bit, directories included: it could outlive the job
// whose user it would run as. What Go's child does between clone3(2) and execve(2)
// has to pass the filter too.
//
// # Needs
//
// Linux 5.14 and root: clone3 with CLONE_INTO_CGROUP (5.7), hidepid per mount
// and faccessat2 (5.8), close_range with CLOSE_RANGE_CLOEXEC (5.11),
// mount_setattr (5.12), cgroup.kill (5.14).
package nsinit
