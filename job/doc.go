// Package job runs programs on this machine as jobs: each in namespaces of its
// own, as a user of its own, under its own limits, with its output recorded
// from the first byte.
//
// A [Worker] owns one state directory and one tree of control groups. Start
// turns a [Spec] into a running job and answers with a [Job], a snapshot of
// what is known about it; Status, Inspect, Wait, List, Stop, Signal, Stdin, Output and
// Remove take its id from there. The package knows nothing of HTTP, TLS or
// certificates: a job's owner is a string that the caller vouches for.
//
// # The life of a job
//
//	starting ──▶ running ──▶ ended
//	                │          ▲
//	                ▼          │
//	             stopping ─────┘
//
// Start answers only when the program has been executed, or with the true
// reason why it was not; a job that could not start leaves nothing behind. A job
// is over when its main process is: whatever that leaves running is killed with
// it. A job that is reported as ended has no process left, its output is
// complete and on disk, and its [Verdict] is final.
//
// # The worker
//
// A Worker is ready or unready, and Start is refused in the latter; Terminate makes it
// refuse for good. Nothing of that touches jobs that run: Drain and Shutdown end them,
// and Leave leaves them to the next worker.
//
// What happens to jobs and to the worker is an [Event]. The newest are kept in memory,
// in a ring; a reader (Events) is a position in it, so that publishing waits for nobody
// and a reader that is too slow is told what it has lost. A job is published when it
// has been started: one that could not be leaves no event.
//
// One program is built in: calculate (CalculateSpec), which takes a while and prints a
// message. It is executed from the same binary as nsinit, as a job like any other.
//
// # Quotas
//
// StartOptions.Quota bounds what an owner has, jobs that have ended and are kept among it
// ([Quota]). A job is admitted and counted in one step, so that no number of starts at the
// same time takes an owner beyond; it gives back what it took when it has ended, and the
// rest when it is removed. What an owner may have the caller says, with each start.
//
// # Files
//
// A worker's state directory is private to root and to one worker at a time,
// which holds a lock on it, and one on its cgroup:
//
//	lock
//	jobs/<id>/record.json   the spec, the owner, the state, the verdict
//	          output.jsonl  the output, in the format of package stream
//	          exit.json     a line when the main process was executed, one when it ended, by nsinit
//	          stop.jsonl    what has been asked of a job that is being stopped
//	          control       FIFO, through which nsinit gets signals to forward
//	          stdin         FIFO, through which it gets the input of a job that has one
//	          stdin.count   FIFO, through which it answers how much that was
//	          scratch/      the job's /scratch, where it is not a tmpfs; it goes when the job does
//
// The record of a job is renamed into place before its first process exists,
// or knows of it, so that whoever comes after a crash knows of every job there
// can be. An empty directory is one of which no job came. Records and the lines of
// exit.json and stop.jsonl carry a version and a checksum: a newer worker reads what an
// older one has written, and none believes what it cannot read. Such a job is set aside:
// nothing of it is touched, the log says why, and its user id, which the group of its
// directory tells too, is given to no other.
//
// # When the worker dies
//
// Jobs go on without a worker, and their output is recorded. The next worker of the
// state directory takes them over:
//
//	its nsinit lives       as if nothing had been: followers go on at their offset, timeouts
//	                       count from the start, and what was being stopped goes on to be
//	it has ended           the verdict is what it says in exit.json and what its cgroup
//	                       says, which is removed only when the record is on disk
//	the program was not    start_failed: the start call has not been answered
//	executed
//
// A process is taken for a job's nsinit only when its number, its start time, its boot and
// its cgroup all agree; it is then held by a pidfd. Of a job that ran when the system was
// restarted nothing is left: it is lost. Cgroups, processes and directories of starts that
// were not finished are removed; cgroups of whose names the state directory does not know
// are somebody else's, and left alone.
//
// # Isolation
//
// A job is in a sandbox, see package nsinit, unless its Spec asks for something else:
// another user, the host's network, another root, mounts of the host's directories, a
// user namespace, or the host's file systems as they are. The caller of Start says with
// a [Permit] what of that it may have; the zero Permit is nothing. A path is first
// compared with the Permit by name, then opened below what that names, and no link
// leads out of there. No Permit gives a job the worker's own files or those of the
// kernel's file systems, or makes it run as root.
//
// In every case a job has PID, mount, IPC, UTS and cgroup namespaces of its own, no
// capabilities, no_new_privs and the filter of system calls. Inspect tells what is in
// force for one that runs, as the kernel has it.
//
// # Space
//
// What a job writes is bounded by its Limits; on top of that the worker leaves
// Config.ReserveBytes of its disk free, and starts no job where the disk, or what all
// jobs may take of it, is used up. A disk that is full all the same, or fails, holds
// nothing up: running jobs go on, what of their output is lost is marked in the log, the
// exit file has had its room from the start, and what of a job's end could not be written
// is written when that is possible again; until then it is only in memory, and the next
// worker finds it out from the exit file.
//
// Of the jobs that are over the worker keeps as many as Config says, and forgets the others,
// those first of which an owner has most, by the same way as Remove. A Reader that is open reads on to the
// true end.
//
// # Standard input
//
// A job's input is /dev/null, or with Spec.Stdin a pipe. [Worker.Stdin] takes it
// for one writer at a time, and says how much has been accepted: a byte is accepted
// when it is in the FIFO, from where nsinit passes it on whatever becomes of the
// writer or the worker. So it is nsinit that knows how many there were after the death
// of a worker, and the next one asks it. A job that does not read holds its writer at
// some 2 MiB.
// Only [Stdin.End] is the end of the input: a writer that breaks off leaves it open,
// and the next one goes on where it was. When no process of the job can read the
// input any more, or the job is over, the writer is told; what was accepted and not
// read by then is lost, as in any pipe.
//
// # Processes
//
// The first process of a job is package nsinit, executed from a sealed copy of
// the running binary: a program that opens a Worker must call nsinit.MaybeRun
// as the first statement of main.
//
// With Config.Spare one is made in advance, in its own namespaces and cgroups, and
// waits for the next job: it holds nothing of any job, serves one, and ends with
// the worker. One that has missed a mount of the host is not used, and none for a job
// that asks for another root, network or a user namespace.
//
// # Concurrency
//
// A Worker is safe for concurrent use. Each running job has one goroutine,
// which waits for it and makes every change of its state; everyone else reads
// that state under the job's mutex and waits on a channel that is closed when
// the job is over. No lock is held while waiting for a process, a grace period
// or a disk. Events are published under the mutex of what they tell of, which gives
// them its order: the job's or the worker's, then that of the ring.
//
// Types and validation are the same on every system; a Worker is there on Linux
// only.
package job
