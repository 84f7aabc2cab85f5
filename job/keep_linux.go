package job

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"jobworker/nsinit"
)

// A keeper looks after the jobs that are over: it removes those that are not to
// be kept, and puts on the disk what that did not take when they ended.
type keeper struct {
	w    *Worker
	wake chan struct{} // holds one: something may be to be done
	quit context.CancelFunc
	work sync.WaitGroup // its goroutine
}

const (
	// keepPause is the least time from one look at all jobs to the next.
	keepPause = 200 * time.Millisecond

	// savePause is the time from one try to write to the next.
	savePause = 5 * time.Second
)

// byRetention is who removes jobs that are not to be kept. No owner has such a
// name.
const byRetention = "(retention)"

// start begins the keeper's work.
func (k *keeper) start() {
	ctx, cancel := context.WithCancel(context.Background())
	k.quit = cancel
	k.work.Go(func() { k.run(ctx) })
}

// close ends it. What is not on the disk by then is the next worker's to find
// out.
func (k *keeper) close() {
	if k.quit == nil {
		return // it has not begun
	}
	k.quit()
	k.work.Wait()
	k.save()
}

// look has the keeper look at all jobs, soon.
func (k *keeper) look() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (k *keeper) run(ctx context.Context) {
	for {
		now := time.Now()
		next := k.retain(now)
		if !k.save() {
			next = earlier(next, now.Add(savePause))
		}
		select {
		case <-time.After(keepPause):
		case <-ctx.Done():
			return
		}
		var due <-chan time.Time // nil, which is never
		if !next.IsZero() {
			due = time.After(time.Until(next))
		}
		select {
		case <-k.wake:
		case <-due:
		case <-ctx.Done():
			return
		}
	}
}

// earlier returns the earlier of two times, of which zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// over returns the jobs that are over.
func (k *keeper) over() []*task {
	return slices.DeleteFunc(k.w.inOrder(), func(t *task) bool { return !isDone(t.done) || t.startErr != nil })
}

// save tries again to write what could not be written, and reports whether that
// is all.
func (k *keeper) save() bool {
	all := true
	for _, t := range k.over() {
		all = t.save() && all
	}
	return all
}

// retain removes the jobs that are not to be kept, and returns when there may be
// another if no job ends until then; zero means never.
func (k *keeper) retain(now time.Time) (next time.Time) {
	c := &k.w.cfg
	if c.KeepAge == 0 && c.KeepJobs == 0 && c.KeepBytes == 0 {
		return time.Time{}
	}
	over := k.over()
	slices.SortFunc(over, func(a, b *task) int { return a.endedAt.Compare(*b.endedAt) })
	for c.KeepAge != 0 && len(over) > 0 && next.IsZero() {
		if next = k.expire(over[0], c.KeepAge, now, "age"); next.IsZero() {
			over = over[1:]
		}
	}
	for _, bound := range []struct {
		most  int64
		weigh func(*task) int64
		why   string
	}{
		{int64(c.KeepJobs), func(*task) int64 { return 1 }, "count"},
		{c.KeepBytes, (*task).diskBytes, "bytes"},
	} {
		if bound.most == 0 {
			continue
		}
		for _, t := range excess(over, bound.most, bound.weigh) {
			if end := k.expire(t, 0, now, bound.why); !end.IsZero() {
				next = earlier(next, end)
				break // those that follow are to go after it only
			}
			over = slices.DeleteFunc(over, func(o *task) bool { return o == t })
		}
	}
	return next
}

// expire removes t if it has been over for keep, and returns the zero time; or returns
// when it will have been. Whatever keep is, KeepLeast is the least.
func (k *keeper) expire(t *task, keep time.Duration, now time.Time, why string) time.Time {
	if end := t.endedAt.Add(max(keep, k.w.cfg.KeepLeast)); end.After(now) {
		return end
	}
	k.remove(t, why)
	return time.Time{}
}

// excess returns those of over, in the order of their ends, that have to go so that what is
// left weighs most at most, and the order in which they go: whose jobs weigh most loses the
// oldest first, so that nobody's jobs drive out another's who keeps less.
func excess(over []*task, most int64, weigh func(*task) int64) []*task {
	since := make(map[*task]int64)   // what it and the later jobs of its owner weigh
	owners := make(map[string]int64) // what an owner's weigh
	var total int64
	for _, t := range slices.Backward(over) {
		n := weigh(t)
		owners[t.owner] += n
		since[t] = owners[t.owner]
		total += n
	}
	order := slices.Clone(over)
	slices.SortStableFunc(order, func(a, b *task) int { return cmp.Compare(since[b], since[a]) })
	for i, t := range order {
		if total <= most {
			return order[:i]
		}
		total -= weigh(t)
	}
	return order
}

func (k *keeper) remove(t *task, why string) {
	err := k.w.Remove(context.Background(), t.id, byRetention)
	if err == ErrNotFound {
		return // somebody else was faster
	}
	if err != nil {
		t.complain("remove job", err)
		return
	}
	k.w.cfg.Log.Info("removed job", "job", t.id, "owner", t.owner, "ended_at", t.endedAt, "limit", why)
}

// An ending is what of the end of a job is not on the disk yet.
type ending struct {
	exit   *nsinit.Exit
	record *record
}

// save writes what is not on the disk of a job's end, and reports whether it is
// now.
func (t *task) save() bool {
	e := t.unsaved.Load()
	if e == nil {
		return true
	}
	t.removal.Lock()
	defer t.removal.Unlock()
	if t.write(e) != nil {
		return false
	}
	t.unsaved.Store(nil)
	t.removeGroup()
	t.w.cfg.Log.Info("the end of the job is on the disk now", "job", t.id)
	return true
}
