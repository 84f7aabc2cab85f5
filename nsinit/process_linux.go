package nsinit

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Process is a running nsinit. It is safe for concurrent use, but for Wait.
type Process struct {
	pid    int
	report Report
	pidfd  *os.File // non-blocking: readable when the process has ended
	conn   syscall.RawConn
	orphan bool // another daemon's child: Wait cannot reap it
}

// namespaces are those nsinit is cloned into. The payload gets its cgroup
// namespace later, when it is in its cgroup: made here it would be rooted at
// the daemon's.
//
// In a user namespace the rest is that one's: its root may do there what it may,
// and nothing outside (user_namespaces(7)). Root is mapped to itself, because the
// cgroups and the host's files are its.
func (s *Setup) namespaces() *syscall.SysProcAttr {
	sys := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS}
	if !s.HostNet {
		sys.Cloneflags |= unix.CLONE_NEWNET
	}
	if s.UserUID != 0 {
		sys.Cloneflags |= unix.CLONE_NEWUSER
		sys.UidMappings = []syscall.SysProcIDMap{{Size: 1}, {ContainerID: s.UserUID, HostID: s.UserUID, Size: 1}}
		sys.GidMappings = []syscall.SysProcIDMap{{Size: 1}, {ContainerID: s.UserGID, HostID: s.UserGID, Size: 1}}
		sys.GidMappingsEnableSetgroups = true // nsinit gives its groups up
	}
	return sys
}

// initEnv is nsinit's whole environment. One P is enough until the program runs,
// and one that has allocated nothing by then saves 120 KiB of each job's. The runtime
// need not look for the limits of its cgroup either, which it does before it heeds
// GOMAXPROCS. A -race build would sleep a second at exit.
var initEnv = []string{"GOMAXPROCS=1", "GODEBUG=containermaxprocs=0", "GORACE=atexit_sleep_ms=0"}

// clone executes nsinit with its files at the numbers of the fd constants. What
// comes with the config has its place taken by /dev/null until then, or
// something else would get the number. The image is among them because ForkExec, in
// the child, moves its pipe to the number above the highest of them: if that were the
// image's, the pipe would be executed (EACCES).
func (im *Image) clone(handshake *os.File, s Setup) (*Process, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	files := []uintptr{null.Fd(), null.Fd(), 2, handshakeFD: handshake.Fd(), payloadFD: s.PayloadCgroup.Fd(), imageCopyFD: im.f.Fd()}
	for fd := logFD; fd <= lastFD; fd++ {
		files[fd] = null.Fd()
	}
	arg, err := s.argument()
	if err != nil {
		return nil, err
	}
	pidfd := -1
	sys := s.namespaces()
	sys.UseCgroupFD, sys.CgroupFD, sys.PidFD, sys.Setsid = true, int(s.InitCgroup.Fd()), &pidfd, true
	pid, _, err := syscall.StartProcess(im.path(), []string{initName, arg}, &syscall.ProcAttr{Dir: "/", Env: initEnv, Files: files, Sys: sys})
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
	return wrapPidfd(pid, pidfd)
}

// wrapPidfd takes ownership of pidfd, which is non-blocking.
func wrapPidfd(pid, pidfd int) (*Process, error) {
	f := os.NewFile(uintptr(pidfd), "pidfd")
	conn, err := f.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Process{pid: pid, pidfd: f, conn: conn}, nil
}

// PID returns nsinit's process id in the daemon's namespace.
func (p *Process) PID() int { return p.pid }

// Started returns when the job's program was executed.
func (p *Process) Started() time.Time { return p.report.Time }

// SetDeadline makes Wait return os.ErrDeadlineExceeded at t, now or later. The
// zero time means never.
func (p *Process) SetDeadline(t time.Time) error { return p.pidfd.SetReadDeadline(t) }

// Ended reports whether nsinit is no more: then a pidfd is readable, pidfd_open(2).
func (p *Process) Ended() bool {
	ended := false
	err := p.conn.Control(func(fd uintptr) { ended = readable(fd) })
	return ended || err != nil
}

// readable reports whether a read of fd would not block, or fd cannot be polled. It asks
// again when a signal comes in between, of which Go's runtime sends itself many: that
// is no answer.
func readable(fd uintptr) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		if err != unix.EINTR {
			return n != 0
		}
	}
}

// Wait blocks until nsinit has ended, and reaps it, unless it was adopted: then it
// was left to the system's init. It is the only place that does. How the program
// ended is in the exit file.
func (p *Process) Wait() error {
	if p.orphan {
		return p.conn.Read(readable)
	}
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
