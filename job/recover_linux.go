package job

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"jobworker/cgroupv2"
)

// recover reads the records of earlier workers' jobs. Those that had not ended
// are ended: killed by their cgroup, and recorded with what their nsinit said,
// or as lost. A cgroup without a directory here is another worker's, and left
// alone: a job's directory is there before its cgroup is.
func (w *Worker) recover() error {
	groups, err := w.tree.Groups()
	if err != nil {
		return err
	}
	for _, id := range groups {
		if _, err := os.Lstat(w.state.job(id)); err != nil {
			w.cfg.Log.Warn("cgroup left alone: it is not of a job in this state directory", "job", id)
			continue
		}
		if err := w.endGroup(id); err != nil {
			return fmt.Errorf("left-over cgroup %s: %w", id, err)
		}
	}
	ids, err := w.state.jobs()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if w.state.abandoned(id) {
			continue
		}
		if err := w.load(id); err != nil {
			w.cfg.Log.Error("job left out: its record cannot be read", "job", id, "err", err)
		}
	}
	slices.SortFunc(w.order, func(a, b *task) int { return a.created.Compare(b.created) })
	return nil
}

// endGroup kills what is in the cgroup of a job, and removes it.
func (w *Worker) endGroup(id string) error {
	g, err := w.tree.Group(id)
	if err != nil {
		return err
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

// load enters the job with an id, which is over, into the table.
func (w *Worker) load(id string) error {
	r, err := readRecord(w.state.job(id))
	if err != nil {
		return err
	}
	t := &task{w: w, id: id, owner: r.Owner, key: r.Key, spec: r.Spec, dir: w.state.job(id), uid: r.UID, created: r.CreatedAt,
		started: make(chan struct{}), done: make(chan struct{})}
	close(t.started)
	if r.State == Ended {
		t.show(r)
		close(t.done)
		t.removeScratch() // if it is there still
	} else {
		w.cfg.Log.Warn("job of a worker that died: ended", "job", id)
		t.closeBooks(Usage{})
		t.end()
		t.removeScratch()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.enter(t)
	return nil
}
