package job

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"jobworker/internal/failpoint"
	"jobworker/nsinit"
)

// A Stdin is a job's standard input in the hands of its one writer. Write and End
// are for one goroutine; Done and Close may come from another.
type Stdin struct {
	t    *task
	ctx  context.Context
	file *os.File        // write end of the FIFO, non-blocking
	conn syscall.RawConn // of file
	stop func() bool     // ends the watch of ctx
}

// input is what a task knows about its standard input, guarded by its mu.
type input struct {
	busy     bool // a Stdin has it
	closed   bool
	unknown  bool // accepted is, and closed: an earlier worker took the input, see learnInput
	accepted int64
}

// Stdin takes the standard input of a job that was started with Spec.Stdin, to go
// on at offset, the number of bytes accepted so far. It does not block, but for a job
// of an earlier worker whose nsinit has not answered yet how many those are. The end of
// ctx ends that, and a Write that is blocked. The caller closes the Stdin.
//
// It returns ErrNotFound, ErrNoStdin, or a *StdinError with ErrEnded,
// ErrStdinClosed, ErrStdinBusy, ErrStdinOffset or the cause of ctx's end.
func (w *Worker) Stdin(ctx context.Context, id string, offset int64) (*Stdin, error) {
	t, err := w.find(id)
	if err != nil {
		return nil, err
	}
	<-t.started // a start is short, and bounded
	if t.startErr != nil {
		return nil, ErrNotFound
	}
	if !t.spec.Stdin {
		return nil, ErrNoStdin
	}
	if err := t.takeStdin(); err != nil {
		return nil, err
	}
	s := &Stdin{t: t, ctx: ctx}
	if err := s.open(offset); err != nil {
		t.giveStdin()
		return nil, err
	}
	return s, nil
}

// takeStdin gives the caller the input, unless somebody has it.
func (t *task) takeStdin() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	in := &t.input
	switch {
	case t.state == Ended:
		return &StdinError{ErrEnded, in.accepted}
	case in.busy:
		return &StdinError{ErrStdinBusy, in.accepted}
	}
	in.busy = true
	return nil
}

// learnInput asks nsinit, which has counted, how much of the input has been accepted
// by earlier workers. Nobody else writes to it meanwhile: the caller has the input.
func (t *task) learnInput(ctx context.Context) error {
	t.mu.Lock()
	unknown := t.input.unknown
	t.mu.Unlock()
	if !unknown {
		return nil
	}
	accepted, closed, err := nsinit.AskCount(ctx, filepath.Join(t.dir, controlName), filepath.Join(t.dir, countName))
	if errors.Is(err, nsinit.ErrStdinClosed) {
		err = ErrStdinClosed // with the job, which is about to be over
	}
	if err != nil {
		return t.stdinError(err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.input.unknown, t.input.accepted, t.input.closed = false, accepted, closed
	return nil
}

// checkStdin reports why the input does not go on at offset, if it does not.
func (t *task) checkStdin(offset int64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	in := &t.input
	switch {
	case in.closed:
		return &StdinError{ErrStdinClosed, in.accepted}
	case in.accepted != offset:
		return &StdinError{ErrStdinOffset, in.accepted}
	}
	return nil
}

// giveStdin takes the input back.
func (t *task) giveStdin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.input.busy = false
}

// open opens the FIFO, if offset is where the input goes on.
func (s *Stdin) open(offset int64) (err error) {
	if err := s.t.learnInput(s.ctx); err != nil {
		return err
	}
	if err := s.t.checkStdin(offset); err != nil {
		return err
	}
	s.file, err = nsinit.OpenStdin(filepath.Join(s.t.dir, stdinName))
	if errors.Is(err, nsinit.ErrStdinClosed) {
		return s.closed()
	}
	if err != nil {
		return err
	}
	if s.conn, err = s.file.SyscallConn(); err != nil {
		return errors.Join(err, s.file.Close())
	}
	s.stop = context.AfterFunc(s.ctx, func() { s.file.SetWriteDeadline(time.Unix(1, 0)) })
	return nil
}

// Write blocks until the input's FIFO has taken all of p: bytes are accepted when
// they are there, whether the job has read them or not. When not all were, the
// error is a *StdinError with ErrStdinClosed, ErrEnded or the cause of ctx's end.
func (s *Stdin) Write(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = s.writeSome(p[n:])
		n += m
	}
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, unix.EPIPE):
		return n, s.closed()
	case s.ctx.Err() != nil:
		err = context.Cause(s.ctx)
	}
	return n, s.t.stdinError(err)
}

// writeSome writes what there is room for, and waits until there is some. What is
// written is counted under the same lock, so that the count is right at any time.
func (s *Stdin) writeSome(p []byte) (n int, err error) {
	var werr error
	err = s.conn.Write(func(fd uintptr) bool {
		s.t.mu.Lock()
		defer s.t.mu.Unlock()
		n, werr = unix.Write(int(fd), p)
		failpoint.Here("stdin.written")
		n = max(n, 0)
		s.t.input.accepted += int64(n)
		return werr != unix.EAGAIN
	})
	if err == nil && werr != unix.EINTR {
		err = werr
	}
	return n, err
}

// stdinError adds to err what has been accepted, and lets the end of the job be
// the reason where it is one.
func (t *task) stdinError(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == Ended {
		err = ErrEnded
	}
	return &StdinError{err, t.input.accepted}
}

// closed notes that nobody can read the input any more.
func (s *Stdin) closed() error {
	s.t.mu.Lock()
	s.t.input.closed = true
	s.t.mu.Unlock()
	return s.t.stdinError(ErrStdinClosed)
}

// End closes the job's standard input: when the job has read what was accepted, it
// reads the end. It does not block.
func (s *Stdin) End() error {
	if err := nsinit.CloseStdin(filepath.Join(s.t.dir, controlName)); err != nil {
		return fmt.Errorf("close standard input: %w", err)
	}
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	s.t.input.closed = true
	return nil
}

// Accepted returns how many bytes of input the job has been given, by all of its
// writers.
func (s *Stdin) Accepted() int64 {
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	return s.t.input.accepted
}

// Done returns a channel that is closed when the job is over.
func (s *Stdin) Done() <-chan struct{} { return s.t.done }

// Close gives the input back for the next writer. Without End it stays open. A
// Write that is blocked returns.
func (s *Stdin) Close() error {
	s.stop()
	if err := s.file.Close(); err != nil {
		return err // closed before: the input may be another's by now
	}
	s.t.giveStdin()
	return nil
}
