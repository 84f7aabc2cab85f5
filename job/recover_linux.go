package job

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"jobworker/cgroupv2"
	"jobworker/nsinit"
)

// recover goes through what earlier workers have left, job by job:
//
//	directory   record       cgroup, nsinit    what becomes of it
//	---------   ------       --------------    ------------------
//	none                     a cgroup          another's: left alone
//	empty                                      a place for a job that never came: removed
//	            unreadable                     set aside: nothing of it is touched
//	            ended                          entered; a cgroup is removed
//	            starting     nsinit lives      adopted, if the program was executed; else ended
//	            starting     nsinit has ended  ended, as the exit file says
//	            starting     in doubt          set aside
//
// A directory is there before its cgroup is, and a record before any process knows of
// its job. What is killed is killed by its cgroup, whose name nobody else could have
// guessed; a process is signalled by its number only when cgroup, number, start time
// and boot agree (nsinit.Adopt).
func (w *Worker) recover() error {
	groups, err := w.groups()
	if err != nil {
		return err
	}
	ids, err := w.state.jobs()
	if err != nil {
		return err
	}
	var adopted []*task
	for _, id := range ids {
		t, err := w.takeOver(id, groups[id])
		if err != nil {
			w.setAside(id, err)
		}
		if t != nil {
			adopted = append(adopted, t)
		}
		delete(groups, id)
	}
	for id := range groups {
		w.cfg.Log.Warn("cgroup left alone: it is not of a job in this state directory", "job", id)
	}
	slices.SortFunc(w.order, func(a, b *task) int { return a.created.Compare(b.created) })
	if n := len(w.order); n > 0 { // user ids go on where they were
		w.uid = (w.order[n-1].uid - w.cfg.UIDBase + 1) % w.cfg.UIDCount
	}
	w.resume(adopted)
	return nil
}

// groups returns the cgroups that there are, by id.
func (w *Worker) groups() (map[string]*cgroupv2.Group, error) {
	ids, err := w.tree.Groups()
	if err != nil {
		return nil, err
	}
	groups := make(map[string]*cgroupv2.Group)
	for _, id := range ids {
		if groups[id], err = w.tree.Group(id); err != nil {
			return nil, err
		}
	}
	return groups, nil
}

// takeOver does with the job with an id what recover says; g is its cgroup, or nil. It
// returns the job if that has not been known to be over. An error means that it is in
// doubt.
func (w *Worker) takeOver(id string, g *cgroupv2.Group) (*task, error) {
	unused, err := w.state.unused(id)
	if err != nil {
		return nil, err
	}
	if unused {
		if err := endGroup(g); err != nil {
			return nil, err
		}
		return nil, w.state.remove(id)
	}
	r, err := readRecord(w.state.job(id))
	if err != nil {
		return nil, err
	}
	t := &task{w: w, id: id, owner: r.Owner, key: r.Key, spec: r.Spec, dir: w.state.job(id), uid: r.UID, created: r.CreatedAt,
		boot: r.Boot, group: g, kept: r.Spec.keptCharge(), started: make(chan struct{}), done: make(chan struct{})}
	close(t.started)
	if r.State == Ended {
		t.complain("remove cgroup", endGroup(g))
		t.show(r)
		t.kept.OutputBytes = t.logBytes(min(r.Limits.OutputBytes, mostCounted))
		close(t.done)
		t.removeScratch() // if it is there still
		w.enter(t)
		return nil, nil
	}
	if err := t.adopt(); err != nil {
		return nil, err
	}
	w.enter(t)
	return t, nil
}

// setAside says that a job is not entered, and keeps its user id from being given to
// another.
func (w *Worker) setAside(id string, cause error) {
	w.cfg.Log.Error("job set aside: nothing of it is touched, until another start of the worker finds it in order or its directory is removed",
		"job", id, "dir", w.state.job(id), "err", cause)
	uid, err := w.state.uid(id)
	if err != nil {
		w.cfg.Log.Error("user id of a job that is set aside", "job", id, "err", err)
	}
	w.uids[uid] = true
}

// endGroup kills what is in the cgroup of a job, if there is one, and removes it.
func endGroup(g *cgroupv2.Group) error {
	if g == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastResort)
	defer cancel()
	return errors.Join(g.KillAll(), g.WaitEmpty(ctx), removeGroup(g))
}

// removeGroup removes an empty cgroup, within a bound.
func removeGroup(g *cgroupv2.Group) error {
	ctx, cancel := context.WithTimeout(context.Background(), lastResort)
	defer cancel()
	return g.Remove(ctx)
}

// adopt finds out how far a job has come that no worker has seen the end of. One whose
// nsinit lives is held by its pidfd after; of any other every process is killed.
func (t *task) adopt() error {
	here := t.boot == t.w.boot // after another boot there is no process of it
	if here && t.group != nil {
		t.awaitStart()
	}
	f := t.readExit()
	if f.err != nil && f.start == nil && here && t.group != nil {
		return f.err
	}
	if here && f.started() {
		var err error
		if t.proc, err = t.findInit(f.start.Init); err != nil {
			return err
		}
	}
	if err := t.remember(f); err != nil {
		if t.proc != nil {
			err = errors.Join(err, t.proc.Close())
		}
		return err
	}
	if t.proc == nil && t.group != nil {
		return t.group.KillAll()
	}
	return nil
}

// lastStart is the longest pause of awaitStart, and its end.
const lastStart = 512 * time.Millisecond

// awaitStart returns when it is known how the start of the job went, which a worker that
// died may have been in the middle of: nsinit needs nobody to come to its end, but may
// take some milliseconds.
func (t *task) awaitStart() {
	for pause := time.Millisecond; pause <= lastStart; pause *= 2 {
		if f := t.readExit(); f.start != nil || f.err != nil {
			return
		}
		if pids, err := t.group.InitPIDs(); err != nil || len(pids) == 0 {
			return
		}
		time.Sleep(pause)
	}
}

// findInit returns the job's nsinit, or nil if that has ended. The error is that one of
// them lives, nsinit or what is in its cgroup, and is not the other.
func (t *task) findInit(id nsinit.Identity) (*nsinit.Process, error) {
	p, err := nsinit.Adopt(id)
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return nil, err
	}
	var pids []int
	if t.group != nil {
		pids, err = t.group.InitPIDs()
	}
	switch {
	case err != nil && !errors.Is(err, os.ErrProcessDone): // of InitPIDs
	case p != nil && slices.Contains(pids, id.PID):
		return p, nil
	case p != nil && !endsSoon(p):
		err = fmt.Errorf("its process %d is not in its cgroup: is this the cgroup root that it was started in?", id.PID)
	case len(pids) > 0:
		err = fmt.Errorf("its cgroup holds process %d instead of %d", pids[0], id.PID)
	default:
		err = nil
	}
	if p != nil {
		err = errors.Join(err, p.Close())
	}
	return nil, err
}

// endsSoon reports whether p is ending: a process leaves its cgroup before the last
// that is done at its end (kernel/exit.c, do_exit: cgroup_exit, then exit_notify).
func endsSoon(p *nsinit.Process) bool {
	return p.SetDeadline(time.Now().Add(time.Second)) == nil && p.Wait() == nil
}

// remember restores what the worker knew that started the job, and has it wake up when
// something falls due.
func (t *task) remember(f exitFile) error {
	t.state = Stopping // it is being ended, unless nsinit lives
	t.measured = t.group == nil
	if !f.started() {
		return nil
	}
	t.startedAt = &f.start.Time
	t.input.unknown = t.spec.Stdin
	if t.group != nil {
		force, err := t.group.Limits()
		if err != nil {
			return err
		}
		l := t.w.withOutput(t.spec.Limits)
		t.limits, t.charge = inForce(force, l), chargeFor(force, l.OutputBytes)
	}
	stop, err := readStop(t.dir)
	t.complain("read stop requests", err)
	if stop != nil {
		t.reason, t.by, t.askedAt = stop.Reason, stop.By, stop.At
	}
	if t.proc == nil {
		return nil
	}
	return t.remind(f.start, stop)
}

// remind does for a job whose nsinit lives what is due, and sees to the rest.
func (t *task) remind(start *nsinit.Report, stop *stopRequest) error {
	now, err := nsinit.Clock()
	if err != nil {
		return err
	}
	if t.spec.Timeout > 0 {
		t.timeoutAt = time.Now().Add(start.Clock + time.Duration(t.spec.Timeout) - now)
	}
	if stop == nil {
		t.state = Running
		return t.arm()
	}
	t.killAt = time.Now().Add(stop.Kill - now)
	if !stop.Sent {
		t.complain("go on stopping", t.resend(stop))
	}
	return t.arm()
}

// resend sends the signal that an earlier worker was about to send.
func (t *task) resend(r *stopRequest) error {
	sig, err := ParseSignal(r.Signal)
	if err != nil {
		return err
	}
	return t.sendStop(r, sig, r.By)
}

// resume begins to look after the jobs of earlier workers. It waits for a moment for
// the ends of those that are over, so that they are known and published before the
// worker is ready, and for the counts of inputs.
func (w *Worker) resume(adopted []*task) {
	for _, t := range adopted {
		w.count(t, 1)
		w.running.Add(1)
		go t.supervise()
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastResort)
	defer cancel()
	for _, t := range adopted {
		if t.proc == nil {
			select {
			case <-t.done:
				t.mu.Lock() // until its events are published, see end
				t.mu.Unlock()
			case <-ctx.Done():
			}
		}
	}
	ctx, cancel = context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, t := range adopted {
		if t.proc != nil && t.spec.Stdin {
			t.learnInput(ctx) // where nsinit does not come to answer, Stdin asks again
		}
	}
}
