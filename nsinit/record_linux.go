package nsinit

import (
	"errors"
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
	full  bool  // log admits no more: the job is killed
	err   error // first other error of log; recording goes on, and the log marks the gap
}

// settleInterval is how long, in ms, output that was lost stays unmarked in a log that can be
// written again, when the job writes nothing.
const settleInterval = 1000

// record copies until over hangs up, which says that no process of the job is
// left. Then it takes what is left in the outputs, and does not wait for their
// end: whoever still holds a write end is not of the job.
//
// A job is never held up by a disk that takes no more: what cannot be recorded is
// read and counted, and marked in the log as soon as that can be written.
func (r *recorder) record(outputs []output, over int) error {
	fds := []unix.PollFd{{Fd: int32(over)}, {Fd: controlFD, Events: unix.POLLIN}, {}, {}}
	for _, o := range outputs {
		fds = append(fds, unix.PollFd{Fd: int32(o.fd), Events: unix.POLLIN})
	}
	ends := fds[4:]
	for {
		r.input.await(&fds[2], &fds[3])
		n, err := unix.Poll(fds, r.patience())
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("poll: %w", err)
		}
		if n == 0 {
			r.note(r.log.Settle())
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
// main process, but for two. That it may have ended is the sender's affair.
func (r *recorder) forward() {
	n, _ := unix.Read(controlFD, r.buf)
	for _, sig := range r.buf[:max(n, 0)] {
		switch sig {
		case closeStdin:
			r.input.end()
		case askCount:
			r.input.answer()
		default:
			unix.PidfdSendSignal(r.main, unix.Signal(sig), nil, 0)
		}
	}
}

// patience is how long to wait for something to do, as poll(2) wants it.
func (r *recorder) patience() int {
	if n, _ := r.log.Owed(); n > 0 {
		return settleInterval
	}
	return -1
}

// drain copies what is left in the outputs.
func (r *recorder) drain(outputs []output) {
	for _, o := range outputs {
		for r.copy(o) {
		}
	}
	r.note(r.log.Settle())
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
	r.note(r.log.Output(o.source, time.Now(), r.buf[:n]))
	return true
}

// note heeds what the log says. The job of a log that is full is killed, again
// with each piece of output: a process may have been about to be forked.
func (r *recorder) note(err error) {
	switch {
	case errors.Is(err, stream.ErrFull):
		r.full = true
		unix.Kill(-1, unix.SIGKILL) // all of the namespace but this process, see kill(2)
	case err != nil && r.err == nil:
		r.err = err
	}
}
