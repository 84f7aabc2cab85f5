package job

import (
	"path/filepath"
	"runtime"

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
	size := t.logBytes(t.charge.OutputBytes)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counted(t, -1)
	t.kept.OutputBytes = size
	w.charge(t.owner, Quota{OutputBytes: size}, 1)
}

// logBytes returns what the log takes on the disk, or its limit if nobody can say.
func (t *task) logBytes(limit int64) int64 {
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(t.dir, logName), &st); err != nil {
		t.complain("measure log", err)
		return limit
	}
	return st.Blocks * 512 // whatever the file system's blocks are, see stat(2)
}

// charge needs w.mu. It counts n times q for owner.
func (w *Worker) charge(owner string, q Quota, n int64) {
	if w.used[owner] = w.used[owner].plus(q, n); w.used[owner] == (Quota{}) {
		delete(w.used, owner)
	}
}
