package job_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jobworker/job"
)

// quotaError asserts that err is a *job.QuotaError about a bound, and returns it.
func quotaError(t *testing.T, err error, bound string) *job.QuotaError {
	t.Helper()
	e, ok := errors.AsType[*job.QuotaError](err)
	if !ok || e.Bound != bound {
		t.Fatalf("%v, want a quota error on %s", err, bound)
	}
	return e
}

// within starts a job of alice under a quota.
func within(t *testing.T, w *job.Worker, q job.Quota, s job.Spec) (job.Job, error) {
	t.Helper()
	j, _, err := w.Start(t.Context(), job.StartOptions{Owner: "alice", Quota: q, Spec: s})
	return j, err
}

// Of many starts at the same moment exactly as many get in as the quota has room for,
// and what ends makes room for the next.
func TestQuotaJobs(t *testing.T) {
	w := openWorker(t, t.TempDir())
	quota := job.Quota{Jobs: 5}
	var admitted atomic.Int64
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			_, err := within(t, w, quota, sh("exec sleep 1000"))
			if e, ok := errors.AsType[*job.QuotaError](err); ok && e.Bound == "jobs" && e.Used == 5 && e.Asked == 1 && e.Limit == 5 {
				return
			}
			if err != nil {
				t.Error(err)
			}
			admitted.Add(1)
		})
	}
	all.Wait()
	if n := admitted.Load(); n != 5 {
		t.Errorf("%d starts of 50 were admitted, want 5", n)
	}
	if used := w.Used("alice"); used.Jobs != 5 || used.KeptJobs != 5 {
		t.Errorf("in use: %+v", used)
	}
	if _, _, err := w.Start(t.Context(), job.StartOptions{Owner: "bob", Quota: quota, Spec: sh("exit 0")}); err != nil {
		t.Errorf("another owner: %v", err)
	}
	live, _, err := w.List(job.Filter{Owner: "alice"})
	if err != nil || len(live) != 5 {
		t.Fatalf("%d jobs, %v", len(live), err)
	}
	if _, err := w.Stop(t.Context(), live[0].ID, job.StopOptions{Grace: duration(0)}); err != nil {
		t.Fatal(err)
	}
	if _, err := within(t, w, quota, sh("exit 0")); err != nil {
		t.Errorf("after one has ended: %v", err)
	}
}

// A start that fails, or that its caller gives up, gives back all that it took.
func TestQuotaGivenBack(t *testing.T) {
	w := openWorker(t, t.TempDir())
	quota := job.Quota{Jobs: 1, KeptJobs: 1}
	for range 3 {
		_, err := within(t, w, quota, job.Spec{Argv: []string{"/nothing/here"}})
		if _, ok := errors.AsType[*job.StartError](err); !ok {
			t.Fatal(err)
		}
	}
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := w.Start(canceled, job.StartOptions{Owner: "alice", Quota: quota, Spec: sh("exit 0")}); err == nil {
		t.Fatal("a canceled start succeeded")
	}
	if used := w.Used("alice"); used != (job.Quota{}) {
		t.Errorf("in use: %+v", used)
	}
	if _, err := within(t, w, quota, sh("exit 0")); err != nil {
		t.Error(err)
	}
}

// What is kept counts until it is removed, also for the worker that comes after. A
// start that finds its job by the key is no new one.
func TestQuotaKept(t *testing.T) {
	dir, root := t.TempDir(), cgroupRoot()
	same := func(c *job.Config) { c.CgroupRoot = root }
	w := openWorker(t, dir, same)
	quota := job.Quota{KeptJobs: 2, SpecBytes: 1000}
	keyed := job.StartOptions{Owner: "alice", Key: "k", Quota: quota, Spec: sh("exit 0")}
	first, _, err := w.Start(t.Context(), keyed)
	if err != nil {
		t.Fatal(err)
	}
	wait(t, w, first.ID)
	_, err = within(t, w, quota, sh("exit 0 # "+strings.Repeat("x", 1000)))
	if e := quotaError(t, err, "spec_bytes"); e.Asked < 1000 || e.Used == 0 {
		t.Errorf("%+v", e)
	}
	second, err := within(t, w, quota, sh("exit 0"))
	if err != nil {
		t.Fatal(err)
	}
	wait(t, w, second.ID)
	_, err = within(t, w, quota, sh("exit 0"))
	quotaError(t, err, "kept_jobs")
	before := w.Used("alice")
	if err := w.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}

	w = openWorker(t, dir, same)
	if used := w.Used("alice"); used != before || used.KeptJobs != 2 || used.Jobs != 0 {
		t.Errorf("in use after a restart: %+v, before: %+v", used, before)
	}
	if j, existing, err := w.Start(t.Context(), keyed); err != nil || !existing || j.ID != first.ID {
		t.Errorf("the job of the key: %s, %v, %v", j.ID, existing, err)
	}
	_, err = within(t, w, quota, sh("exit 0"))
	quotaError(t, err, "kept_jobs")
	if err := w.Remove(t.Context(), second.ID, "alice"); err != nil {
		t.Fatal(err)
	}
	if _, err := within(t, w, quota, sh("exit 0")); err != nil {
		t.Errorf("after one is removed: %v", err)
	}
}

// The output of a job counts with its limit until the job ends, and then with what it
// takes.
func TestQuotaOutput(t *testing.T) {
	dir, root := t.TempDir(), cgroupRoot()
	same := func(c *job.Config) { c.CgroupRoot = root }
	w := openWorker(t, dir, same)
	quota := job.Quota{OutputBytes: 3 << 20}
	writes := reading("head -c 200000 /dev/zero | tr '\\0' x; exec cat")
	writes.Limits.OutputBytes = 2 << 20
	first, err := within(t, w, quota, writes)
	if err != nil {
		t.Fatal(err)
	}
	_, err = within(t, w, quota, writes)
	if e := quotaError(t, err, "output_bytes"); e.Used != 2<<20 || e.Asked != 2<<20 {
		t.Errorf("%+v", e)
	}
	in := takeStdin(t, w, first.ID, 0)
	if err := errors.Join(in.End(), in.Close()); err != nil {
		t.Fatal(err)
	}
	wait(t, w, first.ID)
	used := w.Used("alice").OutputBytes
	if used < 200000 || used > 1<<20 {
		t.Errorf("%d bytes in use for 200000 bytes of output", used)
	}
	_, err = within(t, w, quota, sh("exit 0"))
	if e := quotaError(t, err, "output_bytes"); e.Asked != job.DefaultOutput {
		t.Errorf("one that does not say asks for %v", e.Asked)
	}
	if err := w.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}

	w = openWorker(t, dir, same)
	if after := w.Used("alice").OutputBytes; after != used {
		t.Errorf("%d bytes in use after a restart, %d before", after, used)
	}
	if err := w.Remove(t.Context(), first.ID, "alice"); err != nil {
		t.Fatal(err)
	}
	if left := w.Used("alice"); left != (job.Quota{}) {
		t.Errorf("in use of nothing: %+v", left)
	}
}

// Jobs that a worker takes over count as they did for the one that started them.
func TestQuotaTakenOver(t *testing.T) {
	dir, root := t.TempDir(), cgroupRoot()
	same := func(c *job.Config) { c.CgroupRoot = root }
	w := openWorker(t, dir, same)
	quota := job.Quota{Jobs: 2}
	limits := job.Limits{}
	if enforces(w, "memory") && enforces(w, "cpu") {
		limits = job.Limits{CPUs: 0.25, MemoryBytes: 64 << 20}
	}
	live := sh("exec sleep 1000")
	live.Limits = limits
	first, err := within(t, w, quota, live)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := within(t, w, quota, sh("exec sleep 1000")); err != nil {
		t.Fatal(err)
	}
	before := w.Used("alice")
	if err := w.Leave(); err != nil {
		t.Fatal(err)
	}

	w = openWorker(t, dir, same)
	if used := w.Used("alice"); used != before || used.Jobs != 2 {
		t.Errorf("in use after a restart: %+v, before: %+v", used, before)
	}
	_, err = within(t, w, quota, sh("exit 0"))
	quotaError(t, err, "jobs")
	if _, err := w.Stop(t.Context(), first.ID, job.StopOptions{Grace: duration(0)}); err != nil {
		t.Fatal(err)
	}
	if _, err := within(t, w, quota, sh("exit 0")); err != nil {
		t.Errorf("after one has ended: %v", err)
	}
	if err := w.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	removeTree(t, root)
}

// The sums of limits are bounded, each exactly; where a limit cannot be enforced, a
// quota on it cannot either, and lets nothing start.
func TestQuotaLimits(t *testing.T) {
	w := openWorker(t, t.TempDir())
	live := func(l job.Limits) job.Spec {
		s := sh("exec sleep 1000")
		s.Limits = l
		return s
	}
	for _, tt := range []struct {
		bound, controller string
		quota             job.Quota
		fit               []job.Limits
		more              job.Limits
	}{
		{"cpus", "cpu", job.Quota{CPUs: 0.3}, []job.Limits{{CPUs: 0.1}, {CPUs: 0.2}}, job.Limits{CPUs: 0.01}},
		{"memory_bytes", "memory", job.Quota{MemoryBytes: 100 << 20}, []job.Limits{{MemoryBytes: 64 << 20}, {MemoryBytes: 36 << 20}}, job.Limits{MemoryBytes: 1 << 20}},
		{"memory_bytes", "memory", job.Quota{MemoryBytes: job.DefaultMemory}, []job.Limits{{}}, job.Limits{}}, // the default counts
		{"pids", "pids", job.Quota{Pids: 20}, []job.Limits{{Pids: 19}, {Pids: 1}}, job.Limits{Pids: 1}},
	} {
		start := func(l job.Limits) (job.Job, error) {
			j, _, err := w.Start(t.Context(), job.StartOptions{Owner: tt.bound, Quota: tt.quota, Spec: live(l)})
			return j, err
		}
		if !enforces(w, tt.controller) {
			_, err := start(job.Limits{})
			if e, ok := errors.AsType[*job.LimitError](err); !ok || !strings.Contains(e.Error(), "quota") {
				t.Errorf("%s: %v, want that it cannot be enforced", tt.bound, err)
			}
			continue
		}
		var ids []string
		for _, l := range tt.fit {
			j, err := start(l)
			if err != nil {
				t.Fatalf("%s: %+v: %v", tt.bound, l, err)
			}
			ids = append(ids, j.ID)
		}
		_, err := start(tt.more)
		quotaError(t, err, tt.bound)
		for _, id := range ids {
			if _, err := w.Stop(t.Context(), id, job.StopOptions{Grace: duration(0)}); err != nil {
				t.Fatal(err)
			}
		}
		if used := w.Used(tt.bound); used.CPUs != 0 || used.MemoryBytes != 0 || used.Pids != 0 || used.Jobs != 0 {
			t.Errorf("%s: in use after the end: %+v", tt.bound, used)
		}
	}
}

// A quota on CPUs limits a job that asks for none; one from before the quota counts
// as what it can take.
func TestQuotaLimitsCPUs(t *testing.T) {
	w := openWorker(t, t.TempDir())
	if !enforces(w, "cpu") {
		return // TestQuotaLimits shows what happens then
	}
	for quota, want := range map[float64]float64{0.5: 0.5, 64: 1} {
		j, err := within(t, w, job.Quota{CPUs: quota}, sh("exec sleep 1000"))
		if err != nil || j.Limits.CPUs != want {
			t.Errorf("under a quota of %v: %v CPUs, %v, want %v", quota, j.Limits.CPUs, err, want)
		}
	}
	if _, _, err := w.Start(t.Context(), job.StartOptions{Owner: "bob", Spec: sh("exec sleep 1000")}); err != nil {
		t.Fatal(err)
	}
	_, _, err := w.Start(t.Context(), job.StartOptions{Owner: "bob", Quota: job.Quota{CPUs: 0.1}, Spec: sh("exit 0")})
	if e := quotaError(t, err, "cpus"); e.Used < 1 {
		t.Errorf("%+v", e)
	}
}

// enforces reports whether limits of a controller can be enforced here.
func enforces(w *job.Worker, controller string) bool {
	for _, m := range w.Missing() {
		if string(m.Controller) == controller {
			return false
		}
	}
	return true
}

// Starts that fail count too, and the error says when the next one is admitted.
func TestQuotaStarts(t *testing.T) {
	w := openWorker(t, t.TempDir())
	quota := job.Quota{StartsPerMinute: 3}
	for _, s := range []job.Spec{sh("exit 0"), {Argv: []string{"/nothing/here"}}, sh("exit 0")} {
		_, err := within(t, w, quota, s)
		if _, failed := errors.AsType[*job.StartError](err); err != nil && !failed {
			t.Fatal(err)
		}
	}
	_, err := within(t, w, quota, sh("exit 0"))
	if e := quotaError(t, err, "starts_per_minute"); e.Retry <= 0 || e.Retry > 20*time.Second {
		t.Errorf("%+v", e)
	}
	if used := w.Used("alice"); used.StartsPerMinute != 3 {
		t.Errorf("in use: %+v", used)
	}
}
