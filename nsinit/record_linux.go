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
// read returns becomes one frame, at once. It forwards signals and moves the
// input too, because it is the one that waits.
type recorder struct {
	log   *stream.Writer
	main  int // pidfd of the main process: no other can be hit
	input input
	buf   []byte
	err   error // first error of log; recording goes on, and the log marks the gap
}

// record copies until over hangs up, which says that no process of the job is
// left. Then it takes what is left in the outputs, and does not wait for their
// end: whoever still holds a write end is not of the job.
func (r *recorder) record(outputs []output, over int) error {
	fds := []unix.PollFd{{Fd: int32(over)}, {Fd: controlFD, Events: unix.POLLIN}, {}, {}}
	for _, o := range outputs {
		fds = append(fds, unix.PollFd{Fd: int32(o.fd), Events: unix.POLLIN})
	}
	ends := fds[4:]
	for {
		r.input.await(&fds[2], &fds[3])
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return fmt.Errorf("poll: %w", err)
		}
		if fds[0].Revents != 0 {
			r.drain(outputs)
			return r.err
		}
		if fds[1].Revents != 0 {
			r.forward()
		}
		r.input.ready(fds[2], fds[3])
		for i, o := range outputs {
			if ends[i].Revents != 0 && !r.copy(o) && ends[i].Revents&unix.POLLIN == 0 {
				ends[i].Fd = -1 // hung up and empty; poll(2) passes over it
			}
		}
	}
}

// forward does what the bytes in the control FIFO say: they are signals for the
// main process, but for one. That it may have ended is the sender's affair.
func (r *recorder) forward() {
	n, _ := unix.Read(controlFD, r.buf)
	for _, sig := range r.buf[:max(n, 0)] {
		if sig == closeStdin {
			r.input.end()
			continue
		}
		unix.PidfdSendSignal(r.main, unix.Signal(sig), nil, 0)
	}
}

// drain copies what is left in the outputs.
func (r *recorder) drain(outputs []output) {
	for _, o := range outputs {
		for r.copy(o) {
		}
	}
}

// copy records what one read of o returns, and is false when that is nothing:
// o has ended, or is empty.
func (r *recorder) copy(o output) bool {
	n, err := unix.Read(o.fd, r.buf)
	if err == unix.EINTR {
		return true
	}
	if n <= 0 {
		return false
	}
	if err := r.log.Output(o.source, time.Now(), r.buf[:n]); err != nil && r.err == nil {
		r.err = err
	}
	return true
}
