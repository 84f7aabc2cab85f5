package job

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"jobworker/cgroupv2"
	"jobworker/internal/failpoint"
	"jobworker/nsinit"
)

// A place is where a job can run: its cgroups, and in them its nsinit, which
// prepares itself until it is told which job it is.
type place struct {
	id     string
	group  *cgroupv2.Group
	init   *nsinit.Spare // nil once it is a job's
	mounts int           // descriptor of makeSpare, -1 for a place that is used at once
}

// makePlace makes a place for the job with an id, whose directory exists, as setup
// says.
func (w *Worker) makePlace(id string, setup nsinit.Setup) (*place, error) {
	group, err := w.tree.Create(id)
	if err != nil {
		return nil, &StartError{"cgroup", 0, err.Error()}
	}
	failpoint.Here("start.cgroup")
	init, err := w.prepare(group, setup)
	if err != nil {
		return nil, errors.Join(err, removeGroup(group))
	}
	return &place{id: id, group: group, init: init, mounts: -1}, nil
}

// remove ends what still waits in p, and takes p away.
func (p *place) remove() error {
	var err error
	if p.init != nil {
		err = p.init.End()
	}
	if p.mounts >= 0 {
		err = errors.Join(err, unix.Close(p.mounts))
	}
	return errors.Join(err, removeGroup(p.group))
}

// setup is what nsinit is to begin with for a job.
func (w *Worker) setup(s *Spec, g *given) nsinit.Setup {
	n := nsinit.Setup{ReadOnly: slices.Concat(hostDirs, w.cfg.Expose), Hidden: w.hidden(), Late: s.lateRoot(), HostNet: s.hostNet()}
	if n.HostNet {
		// Names are looked up as on the host; this is often a link to a file in /run.
		name, err := filepath.EvalSymlinks("/etc/resolv.conf")
		if err == nil && !slices.ContainsFunc(n.ReadOnly, func(dir string) bool { return below(name, dir) }) {
			n.ReadOnly = append(n.ReadOnly, name)
		}
	}
	if s.Userns {
		n.UserUID, n.UserGID = g.uid, g.gid
	}
	return n
}

// prepare executes nsinit in a job's cgroups.
func (w *Worker) prepare(group *cgroupv2.Group, setup nsinit.Setup) (*nsinit.Spare, error) {
	initDir, err := group.OpenInit()
	if err != nil {
		return nil, &StartError{"cgroup", 0, err.Error()}
	}
	defer initDir.Close()
	payloadDir, err := group.OpenPayload()
	if err != nil {
		return nil, &StartError{"cgroup", 0, err.Error()}
	}
	defer payloadDir.Close()
	setup.InitCgroup, setup.PayloadCgroup = initDir, payloadDir
	s, err := w.image.Prepare(setup)
	return s, startError(err)
}

// spares keeps one place ready for the next job: making it is more than half of
// what a start takes. A place that waits has an empty directory, by which the
// next worker knows that no job was ever in it.
type spares struct {
	w *Worker

	// mu guards the rest, for no longer than it takes to look at it.
	mu     sync.Mutex
	closed bool
	busy   bool   // one is being made
	ready  *place // nil: none

	work sync.WaitGroup // goroutines that make a place or take one away
}

// take returns the place that is ready, or nil.
func (s *spares) take() *place {
	s.mu.Lock()
	p := s.ready
	s.ready = nil
	s.mu.Unlock()
	if p != nil && p.stale() {
		s.discard(p)
		return nil
	}
	return p
}

// refill has another place made, if there is none and none is under way.
func (s *spares) refill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.w.cfg.Spare || s.closed || s.busy || s.ready != nil {
		return
	}
	s.busy = true
	s.work.Go(func() {
		p, err := s.w.makeSpare()
		if err != nil {
			// The next start makes its own, and reports it if that fails too.
			s.w.cfg.Log.Error("prepare for the next job", "err", err)
		}
		s.mu.Lock()
		s.busy, s.ready = false, p
		s.mu.Unlock()
	})
}

func (s *spares) discard(p *place) {
	s.work.Go(func() {
		if err := s.w.removeSpare(p); err != nil {
			s.w.cfg.Log.Error("remove what was prepared for a job", "err", err)
		}
	})
}

// close takes away the place that is ready, or under way, and lets none follow.
func (s *spares) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.work.Wait()
	if p := s.ready; p != nil { // nobody else is left
		s.discard(p)
	}
	s.work.Wait()
}

// makeSpare makes a place with an id of its own.
func (w *Worker) makeSpare() (*place, error) {
	// Before the mounts are copied by the clone: see stale.
	mounts, err := unix.Open("/proc/self/mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open mountinfo: %w", err)
	}
	id := newID()
	if err := os.Mkdir(w.state.job(id), 0o700); err != nil {
		return nil, errors.Join(err, unix.Close(mounts))
	}
	failpoint.Here("spare.directory")
	p, err := w.makePlace(id, w.setup(new(Spec), nil))
	if err != nil {
		return nil, errors.Join(err, os.Remove(w.state.job(id)), unix.Close(mounts))
	}
	p.mounts = mounts
	failpoint.Here("spare.ready")
	return p, nil
}

// removeSpare takes away what makeSpare has made.
func (w *Worker) removeSpare(p *place) error {
	return errors.Join(p.remove(), os.Remove(w.state.job(p.id)))
}

// stale reports whether p is of no use any more: its nsinit has been killed, or
// the host has mounted or unmounted something since, which a job must see. The
// kernel says so by an exceptional condition on mountinfo, proc(5).
func (p *place) stale() bool {
	fds := []unix.PollFd{{Fd: int32(p.mounts), Events: unix.POLLPRI}}
	n, err := unix.Poll(fds, 0)
	return n != 0 || err != nil || p.init.Ended()
}

// start starts c in p, which is then the job's.
func (p *place) start(ctx context.Context, c nsinit.Config, f nsinit.Files) (*nsinit.Process, error) {
	init, mounts := p.init, p.mounts
	p.init, p.mounts = nil, -1
	proc, err := init.Start(ctx, c, f)
	if mounts >= 0 {
		unix.Close(mounts)
	}
	return proc, startError(err)
}

// startError turns what package nsinit says of a start into a *StartError.
func startError(err error) error {
	if e, ok := errors.AsType[*nsinit.StartError](err); ok {
		return &StartError{e.Stage, int(e.Errno), e.Message}
	}
	return err
}
