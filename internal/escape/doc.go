// Package escape is a hostile program: a table of attempts to get out of a job,
// to see what is not its own, or to do what only the system may.
//
// The suite (its tests) makes each of them twice in a machine of its own
// (package kerneltest): in a job that was started through the public API, and
// outside of one, as root or as the user of the job. What the attempt answers
// outside shows that the kernel has what is attempted, and that the attempt is
// made right; without that, an attempt that is refused would prove nothing.
//
//	make escape
//
// runs the suite and prints the table. An attempt never sends anything to an
// address beyond loopback.
//
// # Writing an attempt
//
// An attempt answers one line: "ok" for a system call that succeeds, the name of
// its error, the signal that ended the process that made it, or whatever the
// attempt is about. System calls are made by a child that does nothing else
// (sequence), so that an attempt changes nothing for the next one. Outside they
// are made with all rights: they must do no harm there.
package escape
