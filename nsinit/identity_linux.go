package nsinit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Clock returns the time by which spans are measured over restarts of the daemon:
// CLOCK_MONOTONIC, which nobody sets and which is the same for all processes of one
// boot and time namespace (time_namespaces(7)).
func Clock() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0, os.NewSyscallError("clock_gettime", err)
	}
	return time.Duration(ts.Nano()), nil
}

// identify returns who this process is for the daemon: its /proc is still that of
// the host.
func identify() (Identity, error) { return readIdentity("/proc/self/stat") }

// readIdentity reads a stat file of /proc, which answers ESRCH when the process has
// ended since it was opened.
func readIdentity(name string) (Identity, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return Identity{}, err
	}
	id, err := parseStat(b)
	if err != nil {
		return Identity{}, fmt.Errorf("%s: %.200q: %w", name, b, err)
	}
	return id, nil
}

// startTicksField is the number of starttime among the fields after the name, which
// is in parentheses and may hold any of them itself (proc_pid_stat(5)).
const startTicksField = 22 - 3

func parseStat(b []byte) (id Identity, err error) {
	pid, rest, _ := strings.Cut(string(b), " ")
	fields := strings.Fields(rest[bytes.LastIndexByte([]byte(rest), ')')+1:])
	if len(fields) <= startTicksField {
		return id, errors.New("too few fields")
	}
	if id.PID, err = strconv.Atoi(pid); err != nil {
		return id, err
	}
	id.Ticks, err = strconv.ParseUint(fields[startTicksField], 10, 64)
	return id, err
}

// Adopt returns the nsinit with an identity, which another daemon has started. It
// returns os.ErrProcessDone if that has ended; whatever process has its number by
// then is not touched.
//
//	pidfd_open(PID)
//	read(/proc/PID/stat)  the start time agrees
//	poll(pidfd)           the process has not ended: what was read was about it
func Adopt(id Identity) (*Process, error) {
	pidfd, err := unix.PidfdOpen(id.PID, unix.PIDFD_NONBLOCK)
	if err == unix.ESRCH || err == unix.EINVAL { // the latter: it is a thread's number by now, pidfd_open(2)
		return nil, os.ErrProcessDone
	}
	if err != nil {
		return nil, fmt.Errorf("pidfd_open nsinit %d: %w", id.PID, err)
	}
	p, err := wrapPidfd(id.PID, pidfd)
	if err != nil {
		return nil, err
	}
	p.orphan = true
	now, err := readIdentity(fmt.Sprintf("/proc/%d/stat", id.PID))
	switch {
	case p.Ended(), now != id && err == nil:
		err = os.ErrProcessDone
	case err == nil:
		return p, nil
	}
	return nil, errors.Join(err, p.Close())
}
