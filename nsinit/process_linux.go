package nsinit

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Files are what the daemon opens for nsinit. Start does not close them.
type Files struct {
	Log           *os.File // the job's log, O_APPEND
	Exit          *os.File // the exit file, empty
	Control       *os.File // of MakeControl
	InitCgroup    *os.File // directory of the cgroup nsinit starts in
	PayloadCgroup *os.File // directory of the cgroup the program starts in
	CPUMax        *os.File // cpu.max above the two; nil with an empty Config.CPUMax
}

// A Process is a running nsinit. It is safe for concurrent use, but for Wait.
type Process struct {
	pid     int
	started time.Time
	pidfd   *os.File // non-blocking: readable when the process has ended
	conn    syscall.RawConn
}

// namespaces are those nsinit is cloned into. The payload gets its cgroup
// namespace later, when it is in its cgroup: made here it would be rooted at
// the daemon's.
const namespaces = unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS

// initEnv is nsinit's whole environment. Of its two threads of Go code one
// waits in poll(2) and one in wait4(2); with a single P the second would wait
// for the runtime to notice the first. A -race build would sleep a second at
// exit.
var initEnv = []string{"GOMAXPROCS=2", "GORACE=atexit_sleep_ms=0"}

// Start executes nsinit and blocks until it has executed the job's program. The
// error is a *StartError, or ctx's; then no process is left.
func (im *Image) Start(ctx context.Context, c Config, f Files) (*Process, error) {
	ours, theirs, err := socketpair()
	if err != nil {
		return nil, &StartError{"clone", errno(err), fmt.Sprintf("socketpair: %v", err)}
	}
	defer ours.Close()
	stop := context.AfterFunc(ctx, func() { ours.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	// The config is on its way while the process is made. It may be larger
	// than the socket's buffer.
	sent := make(chan error, 1) // one result
	go func() { sent <- send(ours, c) }()
	p, err := im.clone(theirs, f)
	theirs.Close() // ends a send that nobody reads
	if err != nil {
		<-sent
		return nil, &StartError{"clone", errno(err), fmt.Sprintf("clone nsinit: %s", explainClone(err))}
	}
	if err := p.confirm(ours, sent); err != nil {
		return nil, errors.Join(cmp.Or(context.Cause(ctx), err), p.End())
	}
	return p, nil
}

// clone executes nsinit with its files at the numbers of the fd constants. The image
// is among them because ForkExec, in the child, moves its pipe to the number above the
// highest of them: if that were the image's, the pipe would be executed (EACCES).
func (im *Image) clone(handshake *os.File, f Files) (*Process, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	files := []uintptr{null.Fd(), null.Fd(), 2,
		handshakeFD: handshake.Fd(), logFD: f.Log.Fd(), exitFD: f.Exit.Fd(), controlFD: f.Control.Fd(), payloadFD: f.PayloadCgroup.Fd(),
		cpuMaxFD: ^uintptr(0), imageCopyFD: im.f.Fd()} // -1: closed
	if f.CPUMax != nil {
		files[cpuMaxFD] = f.CPUMax.Fd()
	}
	pidfd := -1
	pid, _, err := syscall.StartProcess(im.path(), []string{initName}, &syscall.ProcAttr{
		Dir:   "/",
		Env:   initEnv,
		Files: files,
		Sys: &syscall.SysProcAttr{
			Cloneflags:  namespaces,
			UseCgroupFD: true,
			CgroupFD:    int(f.InitCgroup.Fd()),
			PidFD:       &pidfd,
			Setsid:      true,
		},
	})
	if err != nil {
		return nil, err
	}
	return newProcess(pid, pidfd)
}

// newProcess takes ownership of pidfd. Non-blocking descriptors are waited for
// by the runtime's poller, so that a thousand jobs do not take a thousand
// threads.
func newProcess(pid, pidfd int) (*Process, error) {
	if err := unix.SetNonblock(pidfd, true); err != nil {
		killErr := unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0)
		_, waitErr := unix.Wait4(pid, nil, 0, nil)
		return nil, errors.Join(fmt.Errorf("pidfd %d: %w", pid, err), killErr, waitErr, unix.Close(pidfd))
	}
	f := os.NewFile(uintptr(pidfd), "pidfd")
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Process{pid: pid, pidfd: f, conn: conn}, nil
}

// send writes c, and says that it is all.
func send(handshake *os.File, c Config) error {
	return errors.Join(json.NewEncoder(handshake).Encode(c), shutdownWrite(handshake))
}

// confirm reads the report. A nsinit that ends without one was killed, or has
// told its story on standard error.
func (p *Process) confirm(handshake *os.File, sent <-chan error) error {
	if err := <-sent; err != nil {
		return &StartError{"config", errno(err), fmt.Sprintf("send config: %v", err)}
	}
	b, err := io.ReadAll(handshake)
	if err != nil {
		return &StartError{"config", errno(err), fmt.Sprintf("read report: %v", err)}
	}
	var r Report
	if err := json.Unmarshal(b, &r); err != nil {
		return &StartError{"config", 0, "nsinit ended before it could start the program"}
	}
	if r.Stage != "" {
		return &StartError{r.Stage, r.Errno, r.Message}
	}
	p.started = r.Time
	return nil
}

// PID returns nsinit's process id in the daemon's namespace.
func (p *Process) PID() int { return p.pid }

// Started returns when the job's program was executed.
func (p *Process) Started() time.Time { return p.started }

// SetDeadline makes Wait return os.ErrDeadlineExceeded at t, now or later. The
// zero time means never.
func (p *Process) SetDeadline(t time.Time) error { return p.pidfd.SetReadDeadline(t) }

// Wait blocks until nsinit has ended, and reaps it. It is the only place that
// does. How the program ended is in the exit file.
func (p *Process) Wait() error {
	var werr error
	err := p.conn.Read(func(fd uintptr) bool {
		// On a non-blocking pidfd EAGAIN means still running (Linux 5.10).
		werr = unix.Waitid(unix.P_PIDFD, int(fd), nil, unix.WEXITED, nil)
		return werr != unix.EINTR && werr != unix.EAGAIN
	})
	if err != nil {
		return err
	}
	if werr != nil {
		return fmt.Errorf("waitid nsinit %d: %w", p.pid, werr)
	}
	return nil
}

// Kill ends nsinit and with it, by pid_namespaces(7), every process of the job.
// It is the last resort: the output that is still in the pipes is lost.
func (p *Process) Kill() error {
	var serr error
	err := p.conn.Control(func(fd uintptr) { serr = unix.PidfdSendSignal(int(fd), unix.SIGKILL, nil, 0) })
	if err := cmp.Or(err, serr); err != nil && err != unix.ESRCH {
		return fmt.Errorf("pidfd_send_signal nsinit %d: %w", p.pid, err)
	}
	return nil
}

// End kills nsinit, reaps it and closes p. It waits 10 s at most: a process that
// sleeps in the kernel does not die before it wakes up.
func (p *Process) End() error {
	deadlineErr := p.SetDeadline(time.Now().Add(10 * time.Second))
	return errors.Join(deadlineErr, p.Kill(), p.Wait(), p.Close())
}

// Close releases the descriptor. The process is not touched.
func (p *Process) Close() error { return p.pidfd.Close() }
