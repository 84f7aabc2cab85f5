package nsinit

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

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

// The bytes in the control FIFO that are no signals.
const (
	closeStdin = 0
	askCount   = 255
)

// MakeCount makes the FIFO at name through which nsinit answers AskCount, and opens it
// for Files.Count.
func MakeCount(name string) (*os.File, error) { return makeFIFO(name) }

// AskCount asks the nsinit that reads the control FIFO at control how many bytes of
// input it has been given so far, those that are still in the FIFO included, and
// whether the input has been closed, by CloseStdin or by the job. name is MakeCount's.
// It is for a daemon that did not start the job, and asks before it writes.
//
// It blocks until there is an answer, or until ctx ends, whose error it then returns;
// nsinit answers as soon as the job's cpu.max lets it run. It returns ErrStdinClosed when
// nsinit has ended: then the count is in the exit file.
func AskCount(ctx context.Context, control, name string) (accepted int64, closed bool, err error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	stop := context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := tell(control, askCount); err != nil {
		return 0, false, err
	}
	// An answer to a daemon that died before it read it is as good: nobody has
	// written since.
	var answer [answerSize]byte
	if _, err := io.ReadFull(f, answer[:]); err == io.EOF {
		return 0, false, ErrStdinClosed
	} else if err != nil {
		return 0, false, fmt.Errorf("ask for the count of the input: %w", cmp.Or(context.Cause(ctx), err))
	}
	return int64(binary.LittleEndian.Uint64(answer[:])), answer[8] != 0, nil
}

// answerSize is the count in 8 bytes, and whether the input is closed in one. A
// write of up to PIPE_BUF bytes is atomic, pipe(7).
const answerSize = 9

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
	count      int  // FIFO for the answers to AskCount, -1 without Config.Stdin
	full       bool // wait for room in the pipe
	last       bool // what is in the FIFO is the last

	taken int64 // bytes out of the FIFO; once that is closed, all that were ever in it
}

// noInput is that of a job whose standard input is /dev/null.
func noInput() input { return input{fifo: -1, pipe: -1, count: -1} }

// inputPipe makes the job's standard input. The job's group, in which nobody else
// is, may read it, so that the job can open /dev/stdin; nobody may write to it.
func inputPipe(c Config) (r int, in input, err error) {
	if !c.Stdin {
		r, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
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
	return r, input{fifo: stdinFD, pipe: w, count: countFD}, nil
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
	n, err := unix.Splice(in.fifo, nil, in.pipe, nil, pipeSize, unix.SPLICE_F_NONBLOCK)
	in.taken += max(n, 0)
	in.full = false
	switch {
	case err == nil && !in.last, err == unix.EINTR:
		return
	case err != nil && err != unix.EAGAIN:
		in.close()
		return
	}
	left := in.waiting()
	in.full = left > 0
	if in.last && left == 0 {
		in.close()
	}
}

// waiting returns how many bytes are in the FIFO.
func (in *input) waiting() int64 {
	n, _ := unix.IoctlGetInt(in.fifo, unix.TIOCINQ) // FIONREAD; 0 of one that is closed
	return int64(n)
}

// accepted returns how many bytes have been written to the FIFO.
func (in *input) accepted() int64 { return in.taken + in.waiting() }

// answer answers AskCount. Where nobody reads the answers, the first ones stay.
func (in *input) answer() {
	var b [answerSize]byte
	binary.LittleEndian.PutUint64(b[:], uint64(in.accepted()))
	if in.fifo < 0 || in.last {
		b[8] = 1
	}
	unix.Write(in.count, b[:])
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
	in.taken = in.accepted()
	unix.Close(in.fifo)
	unix.Close(in.pipe)
	in.fifo, in.pipe, in.full = -1, -1, false
}
