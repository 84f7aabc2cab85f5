//go:build linux

package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// ownFiles is how many descriptors are kept for what is not a client's: the jobs that run, with
// three each, and what is open for moments.
const ownFiles = 4096

// allowFiles lets the process have as many open files as clients can take within the limits, and
// ownFiles more. A client must not be able to use up those with which jobs are started and ended.
// Go has raised the limit to the hard one at its start; root may raise that.
//
// unix.Setrlimit keeps Go from giving children the old one, but nsinit sets its own for jobs.
func (o *options) allowFiles() error {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return fmt.Errorf("getrlimit NOFILE: %w", err)
	}
	need := uint64(o.limits.Files() + ownFiles)
	if l.Cur >= need {
		return nil
	}
	err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: need, Max: max(need, l.Max)})
	if err != nil {
		return fmt.Errorf("open files: %d allowed, %d needed for -max-connections, -max-requests and %d of the worker's own: "+
			"lower these, or raise the limit (ulimit -Hn, LimitNOFILE=): %w", l.Max, need, ownFiles, err)
	}
	return nil
}
