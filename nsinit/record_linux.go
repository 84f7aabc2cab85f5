package nsinit

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"jobworker/stream"
)

// An output is the read end of a pipe that the job writes to.
type output struct {
	fd     int
	source stream.Source
}

// A recorder copies outputs to a log. Its buffer is the largest frame: what one
// read returns becomes one frame, at once.
type recorder struct {
	log *stream.Writer
	buf []byte
	err error // first error of log; recording goes on, and the log marks the gap
}

// record copies until every output has ended or, once over has hung up, is
// empty: then no process of the job is left, so whoever still holds a write end
// is not of the job and is not waited for.
func (r *recorder) record(outputs []output, over int) error {
	var fds []unix.PollFd
	for _, o := range outputs {
		fds = append(fds, unix.PollFd{Fd: int32(o.fd), Events: unix.POLLIN})
	}
	fds = append(fds, unix.PollFd{Fd: int32(over)})
	for open := len(outputs); open > 0; {
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return fmt.Errorf("poll: %w", err)
		}
		final := fds[len(outputs)].Revents != 0
		for i, o := range outputs {
			switch {
			case fds[i].Fd < 0:
			case final:
				if err := r.drain(o); err != nil {
					return err
				}
				fallthrough
			case fds[i].Revents != 0 && !r.copy(o):
				fds[i].Fd = -1 // which poll(2) passes over
				open--
			}
		}
	}
	return r.err
}

// drain copies what is left in o.
func (r *recorder) drain(o output) error {
	if err := unix.SetNonblock(o.fd, true); err != nil {
		return fmt.Errorf("drain %s: %w", o.source, err)
	}
	for r.copy(o) {
	}
	return nil
}

// copy records one read of o. It is false when there is no more.
func (r *recorder) copy(o output) bool {
	n, err := unix.Read(o.fd, r.buf)
	if err == unix.EINTR {
		return true
	}
	if n <= 0 {
		return false // the end, or EAGAIN when draining
	}
	if err := r.log.Output(o.source, time.Now(), r.buf[:n]); err != nil && r.err == nil {
		r.err = err
	}
	return true
}
