package nsinit

import (
	"encoding/json"
	"errors"
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

// writeExit leaves e for whoever asks how the job ended: one line, which counts
// once its newline is there.
func writeExit(f *os.File, e Exit) error {
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if _, err := f.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("write exit file: %w", err)
	}
	return errors.Join(f.Sync(), f.Close())
}
