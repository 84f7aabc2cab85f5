package cgroupv2

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The pauses between attempts to remove a cgroup that is busy.
const (
	firstPause = 100 * time.Microsecond
	lastPause  = 50 * time.Millisecond
)

// Remove removes the job's cgroups, those inside first. It kills nothing: while processes
// are left it tries again until ctx ends, and then names them. A group that is gone is no
// error.
func (g *Group) Remove(ctx context.Context) error {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		err := g.remove()
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return failure("remove cgroup", g.Path(), err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("remove cgroup: %s: %w%s: %w", g.Path(), err, g.processes(), ctx.Err())
		case <-time.After(pause):
		}
	}
}

// remove makes one attempt.
//
//	unlinkat(jobs, "<id>/payload", AT_REMOVEDIR)
//	unlinkat(jobs, "<id>/init", AT_REMOVEDIR)
//	unlinkat(jobs, "<id>", AT_REMOVEDIR)
func (g *Group) remove() error {
	for _, name := range []string{g.file(payloadName), g.file(initName), g.id} {
		if err := removeTree(g.tree.jobs, name); err != nil {
			return err
		}
	}
	return nil
}

// removeTree removes a cgroup below dir. Only if it is busy it looks for cgroups inside:
// both they and processes make it so (EBUSY, rmdir(2) and cgroups(7)).
func removeTree(dir int, name string) error {
	err := removeAt(dir, name)
	if err != unix.EBUSY {
		return err
	}
	inside, err := subdirectories(dir, name)
	if err != nil && !gone(err) {
		return err
	}
	for _, s := range inside {
		if err := removeTree(dir, name+"/"+s); err != nil {
			return err
		}
	}
	return removeAt(dir, name)
}

// removeAt removes one cgroup; it may be gone already.
func removeAt(dir int, name string) error {
	err := retry(func() error { return unix.Unlinkat(dir, name, unix.AT_REMOVEDIR) })
	if err != nil && gone(err) {
		return nil
	}
	return err
}

// processes names the processes left in the job, for an error message.
func (g *Group) processes() string {
	var pids []string
	for _, name := range []string{payloadName, initName} {
		if s, err := readAt(g.tree.jobs, g.file(name)+"/cgroup.procs"); err == nil {
			pids = append(pids, strings.Fields(s)...)
		}
	}
	if len(pids) == 0 {
		return ""
	}
	return " (" + listPids(pids) + ")"
}
