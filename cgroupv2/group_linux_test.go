package cgroupv2_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"jobworker/cgroupv2"

	"golang.org/x/sys/unix"
)

// TestKill: a tree of processes in sessions of their own that ignore SIGTERM is gone at
// once, and the job's PID 1 is not.
func TestKill(t *testing.T) {
	tree := anyTree(t)
	g := create(t, tree, "job")
	dir, err := g.OpenInit()
	init := start(t, dir, err, "wait")
	init.lines.next()
	top := inPayload(t, g, "nest", "4")
	top.lines.next()
	if n := len(pids(t, g.Path()+"/payload")); n != 5 {
		t.Fatalf("%d processes in the payload, want 5", n)
	}

	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	wantKilled(t, top)
	if got := pids(t, g.Path()+"/init"); len(got) != 1 {
		t.Errorf("processes in init/: %v, want 1", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := g.WaitEmpty(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("WaitEmpty with init alive: %v, want context.Canceled", err)
	}

	if err := g.KillAll(); err != nil {
		t.Fatal(err)
	}
	wantKilled(t, init)
	if err := g.WaitEmpty(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := pids(t, g.Path()+"/payload"); len(got) != 0 {
		t.Errorf("processes left: %v", got)
	}
}

func wantKilled(t *testing.T, p *process) {
	t.Helper()
	p.Wait()
	ws, ok := p.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !ws.Signaled() || ws.Signal() != syscall.SIGKILL {
		t.Errorf("helper ended with %v, want SIGKILL", p.ProcessState)
	}
}

func pids(t *testing.T, dir string) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(b))
}

// TestPayloadPIDs: the processes of the payload are told, and those that have ended, or
// are elsewhere, are not.
func TestPayloadPIDs(t *testing.T) {
	g := create(t, anyTree(t), "job")
	if pids, err := g.PayloadPIDs(); err != nil || len(pids) != 0 {
		t.Errorf("of an empty group: %v, %v", pids, err)
	}
	p := inPayload(t, g, "wait")
	p.lines.next()
	if pids, err := g.PayloadPIDs(); err != nil || !slices.Equal(pids, []int{p.Process.Pid}) {
		t.Errorf("%v, %v, want %d", pids, err, p.Process.Pid)
	}
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	wantKilled(t, p)
	if pids, err := g.PayloadPIDs(); err != nil || len(pids) != 0 {
		t.Errorf("after the end: %v, %v", pids, err)
	}
}

// TestWaitEmpty waits longer than the kernel delays notifications, so that it is one that
// ends the wait, and holds the processor time of the wait against that of a busy loop.
func TestWaitEmpty(t *testing.T) {
	g := create(t, anyTree(t), "job")
	p := inPayload(t, g, "wait")
	p.lines.next()
	const delay = 400 * time.Millisecond
	before, began := cpuTime(t), time.Now()
	timer := time.AfterFunc(delay, func() { g.Kill() })
	defer timer.Stop()
	if err := g.WaitEmpty(t.Context()); err != nil {
		t.Fatal(err)
	}
	took, used := time.Since(began), cpuTime(t)-before
	t.Logf("waited %v with %v of processor time", took, used)
	if took < delay || took > delay+5*time.Second {
		t.Errorf("waited %v, want about %v", took, delay)
	}
	if used > delay/2 {
		t.Errorf("waiting used %v of processor time in %v", used, took)
	}
}

func cpuTime(t *testing.T) time.Duration {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func TestWaitEmptyContext(t *testing.T) {
	g := create(t, anyTree(t), "job")
	inPayload(t, g, "wait").lines.next()
	for _, d := range []time.Duration{0, time.Millisecond, 100 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		began := time.Now()
		err := g.WaitEmpty(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) < d {
			t.Errorf("%v: %v after %v", d, err, time.Since(began))
		}
		cancel()
	}
}

// TestWaitEmptyShort: the end of a job that was short is not seen late.
func TestWaitEmptyShort(t *testing.T) {
	g := create(t, anyTree(t), "job")
	var worst time.Duration
	for range 20 {
		p := inPayload(t, g, "spin", "1ms")
		p.succeed(t)
		began := time.Now()
		if err := g.WaitEmpty(t.Context()); err != nil {
			t.Fatal(err)
		}
		worst = max(worst, time.Since(began))
	}
	t.Logf("at most %v after the process was waited for", worst)
	if worst > time.Second {
		t.Errorf("WaitEmpty took %v after the end of the last process", worst)
	}
}

// TestConcurrentJobs: the lives of many jobs do not get in each other's way.
func TestConcurrentJobs(t *testing.T) {
	tree := anyTree(t)
	const workers, each = 8, 10
	failed := make(chan error, workers) // one report of each worker
	for w := range workers {
		go func() {
			for i := range each {
				if err := liveOnce(tree, fmt.Sprintf("job-%d-%d", w, i)); err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		}()
	}
	for range workers {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	if ids, err := tree.Groups(); err != nil || len(ids) != 0 {
		t.Errorf("left: %q, %v", ids, err)
	}
}

func TestGoneGroup(t *testing.T) {
	tree := anyTree(t)
	g, err := tree.Create("job")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := g.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for name, err := range map[string]error{"WaitEmpty": g.WaitEmpty(t.Context()), "Kill": g.Kill(), "KillAll": g.KillAll()} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := g.Usage(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Usage: %v, want fs.ErrNotExist", err)
	}
	if f, err := g.OpenPayload(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("OpenPayload: %v, %v, want fs.ErrNotExist", f, err)
	}
}

// TestRemoveBusy: what has processes stays, and the error names them.
func TestRemoveBusy(t *testing.T) {
	g := create(t, anyTree(t), "job")
	p := inPayload(t, g, "wait")
	p.lines.next()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err := g.Remove(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), fmt.Sprint(p.Process.Pid)) {
		t.Errorf("Remove: %v, want EBUSY and pid %d", err, p.Process.Pid)
	}
	if err := p.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the process is gone: %v", err)
	}
}

// TestRemoveWaits: a group whose processes end meanwhile is removed.
func TestRemoveWaits(t *testing.T) {
	g := create(t, anyTree(t), "job")
	inPayload(t, g, "wait").lines.next()
	timer := time.AfterFunc(50*time.Millisecond, func() { g.KillAll() })
	defer timer.Stop()
	if err := g.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(g.Path()); !os.IsNotExist(err) {
		t.Errorf("%s is there (%v)", g.Path(), err)
	}
}

// TestRemoveInside: cgroups that the payload made are removed with it.
func TestRemoveInside(t *testing.T) {
	g := create(t, anyTree(t), "job")
	if err := os.MkdirAll(filepath.Join(g.Path(), "payload/a/b/c"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(g.Path(), "payload/d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := g.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(g.Path()); !os.IsNotExist(err) {
		t.Errorf("%s is there (%v)", g.Path(), err)
	}
}

func BenchmarkCreateRemove(b *testing.B) {
	tree := anyTree(b)
	for b.Loop() {
		g, err := tree.Create("job")
		if err != nil {
			b.Fatal(err)
		}
		if err := g.Remove(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLife is all of this package that a job's start and end wait for.
func BenchmarkLife(b *testing.B) {
	tree := anyTree(b)
	limits := cgroupv2.Limits{}
	if tree.Has(cgroupv2.Memory) && tree.Has(cgroupv2.Pids) {
		limits = cgroupv2.Limits{MemoryBytes: 1 << 30, Pids: 512}
	}
	for b.Loop() {
		g, err := tree.Create("job")
		if err != nil {
			b.Fatal(err)
		}
		_, usageErr := g.Usage()
		for _, err := range []error{g.SetLimits(limits), g.WaitEmpty(b.Context()), usageErr, g.Remove(b.Context())} {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}
