package nsinit

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// carriers maps the signals that a Go program cannot be notified of to real-time
// signals that it can: the daemon sends the carrier, nsinit forwards the signal.
// SIGSTOP cannot be caught; SIGCHLD and SIGURG would be mistaken for nsinit's own
// children and for the runtime's preemption; SIGPROF and 34 are the runtime's.
var carriers = map[syscall.Signal]syscall.Signal{
	unix.SIGSTOP: 64,
	unix.SIGCHLD: 63,
	unix.SIGURG:  62,
	unix.SIGPROF: 61,
	34:           60,
}

// carrierOf returns the signal that makes nsinit forward sig.
func carrierOf(sig int) (syscall.Signal, error) {
	s := syscall.Signal(sig)
	if c, ok := carriers[s]; ok {
		return c, nil
	}
	if sig < 1 || sig > 59 || s == unix.SIGKILL || sig == 32 || sig == 33 {
		return 0, fmt.Errorf("signal %d cannot be forwarded", sig)
	}
	return s, nil
}

// carried returns the signal to forward for one that nsinit received; 0 for its
// own.
func carried(got syscall.Signal) syscall.Signal {
	for sig, carrier := range carriers {
		if carrier == got {
			return sig
		}
	}
	if _, own := carriers[got]; own {
		return 0
	}
	return got
}
