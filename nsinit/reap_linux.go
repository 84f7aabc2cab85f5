package nsinit

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// An inbox holds the signals that nsinit got. It exists before the program
// does, so that none is missed, and none that the daemon ignores stays ignored
// in the program: execve(2) resets only those that are caught.
type inbox struct {
	children chan os.Signal // SIGCHLD; one waiting stands for any number
	others   chan os.Signal // to forward
}

func newInbox() *inbox {
	in := &inbox{make(chan os.Signal, 1), make(chan os.Signal, 128)}
	signal.Notify(in.others)
	signal.Notify(in.children, unix.SIGCHLD)
	return in
}

// reap forwards signals to the process main and reaps every process of the
// namespace until none is left, as PID 1 must. When main ends it kills the
// others. It returns how main ended.
func (in *inbox) reap(main int) Exit {
	var e Exit
	ended := false
	for {
		select {
		case s := <-in.others:
			if sig := carried(s.(syscall.Signal)); sig != 0 && !ended {
				unix.Kill(main, sig) // fails only if main is a zombie
			}
			continue
		case <-in.children:
		}
		for {
			var ws unix.WaitStatus
			pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
			if err == unix.EINTR {
				continue
			}
			if err == unix.ECHILD && ended {
				return e
			}
			if err != nil || pid == 0 {
				break
			}
			if pid == main {
				e, ended = exitOf(ws), true
			}
			if ended {
				// To all of the namespace but this process, see kill(2).
				// Again for each, in case one was being forked.
				unix.Kill(-1, unix.SIGKILL)
			}
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
