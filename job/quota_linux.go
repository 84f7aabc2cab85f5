package job

import (
	"maps"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"jobworker/cgroupv2"
)

// Used returns what owner has of the worker, in the terms of a Quota.
func (w *Worker) Used(owner string) Quota {
	w.mu.Lock()
	defer w.mu.Unlock()
	q := w.used[owner]
	q.StartsPerMinute = w.startsOf(owner)
	return q
}

// underQuota returns l with the limit that q makes necessary. It returns a
// *LimitError where nothing here can keep a job within q.
func (w *Worker) underQuota(l cgroupv2.Limits, q Quota) (cgroupv2.Limits, error) {
	if err := w.enforceable([]want{
		{"quota.cpus", q.CPUs > 0, cgroupv2.CPU},
		{"quota.memory_bytes", q.MemoryBytes > 0, cgroupv2.Memory},
		{"quota.pids", q.Pids > 0, cgroupv2.Pids},
	}); err != nil {
		return l, err
	}
	if q.CPUs > 0 && l.CPUs == 0 {
		l.CPUs = min(1, q.CPUs)
	}
	return l, nil
}

// chargeFor returns what a job under limits, that of its output among them, counts with
// until it has ended.
func chargeFor(l cgroupv2.Limits, output int64) Quota {
	q := Quota{Jobs: 1, CPUs: l.CPUs, MemoryBytes: min(l.MemoryBytes, mostCounted), Pids: l.Pids, OutputBytes: min(output, mostCounted)}
	if q.CPUs == 0 {
		q.CPUs = float64(runtime.NumCPU())
	}
	return q
}

// keptCharge is what a job of s counts with until it is removed.
func (s *Spec) keptCharge() Quota { return Quota{KeptJobs: 1, SpecBytes: s.specBytes()} }

// ended takes t, whose log is complete, from those that have not ended. From now on its
// output counts with what it takes.
func (w *Worker) ended(t *task) {
	size := t.logBytes()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counted(t, -1)
	t.kept.OutputBytes = size
	w.charge(t.owner, Quota{OutputBytes: size}, 1)
}

// logBytes returns what the log takes on the disk; 0 where nobody can say.
func (t *task) logBytes() int64 {
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(t.dir, logName), &st); err != nil {
		return 0
	}
	return st.Blocks * 512 // whatever the file system's blocks are, see stat(2)
}

// charge needs w.mu. It counts n times q for owner.
func (w *Worker) charge(owner string, q Quota, n int64) {
	if w.used[owner] = w.used[owner].plus(q, n); w.used[owner] == (Quota{}) {
		delete(w.used, owner)
	}
}

// The rate of starts is kept as one time for each owner, up to which the starts so
// far have taken up their share, each 1/perMinute of a minute: the generic cell rate
// algorithm. A minute's worth may come at once.

// startsOf needs w.mu. It returns how many starts of the last minute owner has in use.
func (w *Worker) startsOf(owner string) int64 {
	until := time.Until(w.starts[owner].until)
	if until <= 0 {
		return 0
	}
	return int64((until + w.starts[owner].each - 1) / w.starts[owner].each)
}

// A pace is an owner's rate of starts.
type pace struct {
	until time.Time     // when all starts so far are forgotten
	each  time.Duration // how long one counts
}

// countStart needs w.mu. It counts a start of owner, or returns a *QuotaError when
// there have been perMinute in the last minute.
func (w *Worker) countStart(owner string, perMinute int64) error {
	if perMinute == 0 {
		return nil
	}
	now := time.Now()
	maps.DeleteFunc(w.starts, func(_ string, p pace) bool { return !p.until.After(now) })
	p := pace{until: w.starts[owner].until, each: time.Minute / time.Duration(perMinute)}
	if now.After(p.until) {
		p.until = now
	}
	p.until = p.until.Add(p.each)
	if late := p.until.Sub(now) - time.Minute; late > 0 {
		return &QuotaError{Bound: "starts_per_minute", Limit: float64(perMinute), Used: float64(perMinute), Asked: 1, Retry: late}
	}
	w.starts[owner] = p
	return nil
}
