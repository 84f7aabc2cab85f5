package cgroupv2

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The kernel delays a notification of cgroup.events that follows another one within 10 ms
// (CGROUP_FILE_NOTIFY_MIN_INTV, kernel/cgroup/cgroup.c): that of a short job's end follows
// that of its start. So a waiter looks by itself, ever more rarely, for as long as such a
// delay can last, and relies on notifications after that.
const (
	firstLook = 50 * time.Microsecond
	lastLook  = 20 * time.Millisecond
)

// WaitEmpty blocks until no process is left in the job's cgroups, or until ctx ends, whose
// error it then returns. A group that is gone is empty. It looks before it waits, and
// waiting costs neither a thread nor processor time: the runtime's poller waits for the
// priority event of cgroup.events.
func (g *Group) WaitEmpty(ctx context.Context) error {
	path := g.Path() + "/cgroup.events"
	fd, err := openAt(g.tree.jobs, g.file("cgroup.events"), unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		if gone(err) {
			return nil
		}
		return failure("wait for empty cgroup", path, err)
	}
	// Only now, so that a job that has ended costs no registration with the poller.
	if busy, err := populated(fd); !busy || err != nil {
		unix.Close(fd)
		return wrapWait(path, err)
	}
	events := os.NewFile(uintptr(fd), path)
	defer events.Close()
	return wrapWait(path, waitEvents(ctx, events))
}

func wrapWait(path string, err error) error {
	if err == nil {
		return nil
	}
	return failure("wait for empty cgroup", path, err)
}

// waitEvents waits for "populated 0" in an open cgroup.events. The end of ctx, like the
// time of the next look, is a deadline in the past for the file.
func waitEvents(ctx context.Context, events *os.File) error {
	conn, err := events.SyscallConn()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { events.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for look := firstLook; ; look *= 2 {
		if err := events.SetReadDeadline(deadline(look)); err != nil {
			return err
		}
		if ctx.Err() != nil { // after the deadline was set: it may have replaced that of ctx
			return ctx.Err()
		}
		err := untilEmpty(conn)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
}

// deadline returns when to look again; never, after the last look.
func deadline(look time.Duration) time.Time {
	if look > lastLook {
		return time.Time{}
	}
	return time.Now().Add(look)
}

// untilEmpty reads the file, and again after each event, until the cgroup is empty or the
// file's deadline is over.
func untilEmpty(conn syscall.RawConn) error {
	var failed error
	err := conn.Read(func(fd uintptr) (done bool) {
		busy, err := populated(int(fd))
		failed = err
		return !busy || err != nil
	})
	if err != nil {
		return err
	}
	return failed
}

// populated reads an open cgroup.events. A cgroup that is gone is empty.
func populated(fd int) (bool, error) {
	s, err := readAll(fd)
	if err != nil {
		if gone(err) {
			return false, nil
		}
		return false, err
	}
	events, err := parseKeyed(s)
	if err != nil {
		return false, err
	}
	n, ok := events["populated"]
	if !ok {
		return false, fmt.Errorf("no populated: %w", errFormat)
	}
	return n != 0, nil
}
