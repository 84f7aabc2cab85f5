package nsinit

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ErrStdinClosed means that a job's standard input has been closed, by CloseStdin,
// by the last process that could read it or by the end of the job.
var ErrStdinClosed = errors.New("standard input is closed")

// MakeStdin makes the FIFO at name through which a job's standard input is
// written, and opens it for Files.Stdin: for reading and writing, so that neither
// a writer that leaves nor a daemon that dies is the end of the input.
func MakeStdin(name string) (*os.File, error) {
	f, err := makeFIFO(name)
	if err != nil {
		return nil, err
	}
	// Only a wish, as for the outputs.
	unix.FcntlInt(f.Fd(), unix.F_SETPIPE_SZ, pipeSize)
	return f, nil
}

// OpenStdin opens the FIFO at name for writing, without blocking: a write that
// finds it full waits in the runtime's poller, and fails with EPIPE when the
// job's standard input is closed. It returns ErrStdinClosed if that is so already.
func OpenStdin(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if errors.Is(err, unix.ENXIO) {
		return nil, ErrStdinClosed
	}
	return f, err
}

// CloseStdin has the nsinit that reads the control FIFO at name close its job's
// standard input, once the job has been given all that is in the input's FIFO. It
// does not block. Closing what is closed is no error.
func CloseStdin(name string) error { return tell(name, closeStdin) }

// closeStdin is the byte in the control FIFO that is no signal.
const closeStdin = 0

// An input moves what is written to the FIFO into the pipe that the job reads,
// without copying it.
//
//	poll(FIFO POLLIN, pipe POLLERR)      there is nothing to move
//	poll(pipe POLLOUT|POLLERR)           there is no room for it
//	splice(FIFO, pipe, NONBLOCK)
//
// The job is not given the FIFO itself because to open a FIFO, as /dev/stdin, is
// to wait for a writer (fifo(7)): after the end of the input that would be for
// ever. A pipe can be opened at any time.
type input struct {
	fifo, pipe int  // -1 when closed: poll(2) passes over it
	full       bool // wait for room in the pipe
	last       bool // what is in the FIFO is the last
}

// noInput is that of a job whose standard input is /dev/null.
func noInput() input { return input{fifo: -1, pipe: -1} }

// inputPipe makes the job's standard input. The job's group, in which nobody else
// is, may read it, so that the job can open /dev/stdin; nobody may write to it.
func inputPipe(c Config) (r int, in input, err error) {
	if !c.Stdin {
		r, err := unix.Open(jobRoot+"/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, in, fmt.Errorf("open /dev/null: %w", err)
		}
		return r, noInput(), nil
	}
	r, w, err := pipe()
	if err != nil {
		return -1, in, err
	}
	if err := errors.Join(unix.Fchown(w, -1, c.UID), unix.Fchmod(w, 0o440), unix.SetNonblock(w, true)); err != nil {
		return -1, in, fmt.Errorf("pipe of standard input: %w", err)
	}
	unix.FcntlInt(uintptr(w), unix.F_SETPIPE_SZ, pipeSize)
	return r, input{fifo: stdinFD, pipe: w}, nil
}

// await fills in what to poll for.
func (in *input) await(fifo, pipe *unix.PollFd) {
	*fifo = unix.PollFd{Fd: int32(in.fifo), Events: unix.POLLIN}
	*pipe = unix.PollFd{Fd: int32(in.pipe)} // POLLERR comes unasked
	if in.full {
		fifo.Fd, pipe.Events = -1, unix.POLLOUT
	}
}

// ready acts on what poll found.
func (in *input) ready(fifo, pipe unix.PollFd) {
	switch {
	case in.fifo < 0: // closed meanwhile, or none
	case pipe.Revents&unix.POLLERR != 0:
		in.close() // nobody can read it any more
	case fifo.Revents|pipe.Revents != 0:
		in.move()
	}
}

// move moves what fits. It does so once, because outputs and signals must not
// have to wait for the end of an input.
func (in *input) move() {
	_, err := unix.Splice(in.fifo, nil, in.pipe, nil, pipeSize, unix.SPLICE_F_NONBLOCK)
	in.full = false
	switch {
	case err == nil && !in.last, err == unix.EINTR:
		return
	case err != nil && err != unix.EAGAIN:
		in.close()
		return
	}
	left, _ := unix.IoctlGetInt(in.fifo, unix.TIOCINQ) // FIONREAD
	in.full = left > 0
	if in.last && left == 0 {
		in.close()
	}
}

// end closes the input once it is empty.
func (in *input) end() {
	if in.fifo < 0 {
		return
	}
	in.last = true
	in.move()
}

// close gives the job the end of its input, and whoever writes to the FIFO EPIPE.
func (in *input) close() {
	unix.Close(in.fifo)
	unix.Close(in.pipe)
	*in = noInput()
}
