package nsinit

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// reap waits for every process of the namespace, as PID 1 must, until none is
// left, and returns how the process main ended. When it ends the others are
// killed.
func reap(main int) Exit {
	var e Exit
	ended := false
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, 0, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return e // ECHILD: main was a child, so it has ended
		}
		if pid == main {
			e, ended = exitOf(ws), true
		}
		if ended {
			// To all of the namespace but this process, see kill(2). Again
			// after each, in case one was being forked.
			unix.Kill(-1, unix.SIGKILL)
		}
	}
}

func exitOf(ws unix.WaitStatus) Exit {
	e := Exit{Version: exitVersion, Time: time.Now().UTC()}
	if ws.Signaled() {
		e.Signal = int(ws.Signal())
	} else {
		code := ws.ExitStatus()
		e.Code = &code
	}
	return e
}

// writeLine adds v to the exit file: one line, which counts once its newline is
// there.
func writeLine(exit *os.File, v any) error {
	line, err := Seal(v)
	if err != nil {
		return err
	}
	if _, err := exit.Write(line); err != nil {
		return fmt.Errorf("write exit file: %w", err)
	}
	return nil
}
