package job_test

import (
	"errors"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"jobworker/internal/kerneltest"
	"jobworker/job"
)

// These tests need the controllers: they run in the virtual machine.

func TestCPULimit(t *testing.T) {
	kerneltest.VM(t)
	w := openWorker(t, t.TempDir())
	s := sh("echo ready; while :; do :; done")
	s.Limits.CPUs = 0.2
	j := started(t, w, s)
	before, begin := status(t, w, j.ID).Usage.CPUSeconds, time.Now()
	<-time.After(5 * time.Second) // what is measured is a rate
	used, took := status(t, w, j.ID).Usage.CPUSeconds-before, time.Since(begin)
	share := used / took.Seconds()
	t.Logf("cpus=0.2: %.3f s of CPU in %v, %.4f CPUs", used, took, share)
	if share < 0.18 || share > 0.22 {
		t.Errorf("used %.3f CPUs, want 0.2 within 10 %%", share)
	}
	if j = status(t, w, j.ID); j.Limits.CPUs != 0.2 || j.Usage.ThrottledSeconds == nil || *j.Usage.ThrottledSeconds == 0 {
		t.Errorf("limits in force %+v, usage %+v", j.Limits, j.Usage)
	}
}

// status returns the job as it is now.
func status(tb testing.TB, w *job.Worker, id string) job.Job {
	tb.Helper()
	j, err := w.Status(id)
	if err != nil {
		tb.Fatal(err)
	}
	return j
}

// TestMemoryLimit: anonymous memory and tmpfs count, the whole job dies, the
// verdict says why, and a sibling lives.
func TestMemoryLimit(t *testing.T) {
	kerneltest.VM(t)
	w := openWorker(t, t.TempDir())
	sibling := started(t, w, sh("echo ready; exec sleep 1000"))
	for name, script := range map[string]string{
		"anonymous": "tail /dev/zero",
		"tmpfs":     "cat /dev/zero > /dev/shm/f; sleep 1000", // cat dies, and all with it
	} {
		t.Run(name, func(t *testing.T) {
			s := sh("sleep 1000 & " + script + "; echo survived")
			s.Limits.MemoryBytes = 32 << 20
			e, err := w.Events(0)
			if err != nil {
				t.Fatal(err)
			}
			j, out := run(t, w, s)
			if got, want := words(until(t, e, job.JobEnded)), "job.created, job.started, job.oom, job.ended oom_killed"; got != want {
				t.Errorf("events %s, want %s", got, want)
			}
			if verdict(j) != "oom_killed SIGKILL" || out != "" {
				t.Errorf("verdict %q, output %q", verdict(j), out)
			}
			if u := j.Usage; u.OOMKills == nil || *u.OOMKills == 0 || u.MemoryPeakBytes == nil || *u.MemoryPeakBytes > 32<<20 || *u.MemoryPeakBytes < 30<<20 {
				t.Errorf("usage %+v", u)
			} else {
				t.Logf("memory 32 MiB: peak %d bytes, %d killed", *u.MemoryPeakBytes, *u.OOMKills)
			}
		})
	}
	if j := status(t, w, sibling.ID); j.State != job.Running {
		t.Errorf("sibling: %+v", j)
	}
}

func TestPidsLimit(t *testing.T) {
	kerneltest.VM(t)
	w := openWorker(t, t.TempDir())
	s := sh("f() { f | f & }; f 2>/dev/null; sleep 2")
	s.Limits.Pids = 20
	s.Timeout = job.Duration(5 * time.Second)
	j := wait(t, w, start(t, w, s).ID)
	if u := j.Usage; u.PidsDenied == nil || *u.PidsDenied == 0 {
		t.Errorf("usage %+v: want forks to be denied", u)
	} else {
		t.Logf("pids 20: %d forks denied", *u.PidsDenied)
	}
	// The bomb did not reach beyond its job.
	wait(t, w, start(t, w, sh("true")).ID)
}

// TestOnePid: nsinit is not counted, so a limit of one is enough for a program
// that does not fork.
func TestOnePid(t *testing.T) {
	kerneltest.VM(t)
	w := openWorker(t, t.TempDir())
	s := sh("echo here; true | true")
	s.Limits.Pids = 1
	if j, out := run(t, w, s); !strings.HasPrefix(out, "here\n") || verdict(j) == "exited 0" {
		t.Errorf("verdict %q, output %q: want the fork to fail", verdict(j), out)
	}
}

func TestIOLimit(t *testing.T) {
	kerneltest.VM(t)
	w := openWorker(t, kerneltest.Disk(t))
	s := sh("cut -d' ' -f1 /proc/uptime; dd if=/dev/zero of=f bs=64k count=64 oflag=direct 2>/dev/null; cut -d' ' -f1 /proc/uptime")
	s.Limits.IO = []job.IOLimit{{Path: "/scratch", WriteBPS: 1 << 20}}
	j, out := run(t, w, s)
	f := strings.Fields(out)
	if len(f) != 2 {
		t.Fatalf("output %q", out)
	}
	begin, err1 := strconv.ParseFloat(f[0], 64)
	end, err2 := strconv.ParseFloat(f[1], 64)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	rate := 4 / (end - begin)
	t.Logf("write_bps 1 MiB/s: 4 MiB in %.2f s, %.3f MiB/s", end-begin, rate)
	if rate < 0.9 || rate > 1.1 {
		t.Errorf("wrote %.3f MiB/s, want 1 within 10 %%", rate)
	}
	if len(j.Limits.IO) != 1 || j.Limits.IO[0].WriteBPS != 1<<20 || j.Limits.IO[0].Device == "" {
		t.Errorf("limits in force: %+v", j.Limits.IO)
	}
	if j.Usage.IO == nil || j.Usage.IO.WriteBytes < 4<<20 {
		t.Errorf("usage %+v", j.Usage.IO)
	}
}

// TestOddCPUs: what cpu.max cannot say exactly is rounded, not refused.
func TestOddCPUs(t *testing.T) {
	kerneltest.VM(t)
	w := openWorker(t, t.TempDir())
	s := sh("true")
	s.Limits.CPUs = 1.0 / 3
	if j, _ := run(t, w, s); j.Limits.CPUs != 0.33333 {
		t.Errorf("limits in force %+v, want 0.33333 CPUs", j.Limits)
	}
}

// TestDefaults: a job that asks for nothing is bounded all the same.
func TestDefaults(t *testing.T) {
	kerneltest.VM(t)
	w := openWorker(t, t.TempDir(), func(c *job.Config) { c.DefaultMemory, c.DefaultPids = 64<<20, 77 })
	j, _ := run(t, w, sh("true"))
	if l := j.Limits; l.MemoryBytes != 64<<20 || l.Pids != 77 || l.CPUs != 0 {
		t.Errorf("limits in force %+v", l)
	}
}

// TestUnenforceable: a limit that cannot be had refuses the job, and says why.
func TestUnenforceable(t *testing.T) {
	dir := t.TempDir()
	w := openWorker(t, dir, noSpare)
	missing := make(map[string]bool)
	for _, m := range w.Missing() {
		missing[string(m.Controller)] = true
	}
	for _, tt := range []struct {
		controller, field string
		limits            job.Limits
	}{
		{"cpu", "limits.cpus", job.Limits{CPUs: 0.5}},
		{"cpu", "limits.cpu_weight", job.Limits{CPUWeight: 50}},
		{"memory", "limits.memory_bytes", job.Limits{MemoryBytes: 64 << 20}},
		{"pids", "limits.pids", job.Limits{Pids: 50}},
		{"io", "limits.io", job.Limits{IO: []job.IOLimit{{Device: "8:0", ReadBPS: 4096}}}},
		{"", "limits.io", job.Limits{IO: []job.IOLimit{{Path: "/tmp", ReadBPS: 4096}}}},
		{"", "limits.io", job.Limits{IO: []job.IOLimit{{Device: "0:0", ReadBPS: 4096}}}},
	} {
		if tt.controller != "" && !missing[tt.controller] {
			continue // TestCPULimit and its kin have it
		}
		s := sh("true")
		s.Limits = tt.limits
		_, _, err := w.Start(t.Context(), job.StartOptions{Owner: "alice", Spec: s})
		e, ok := errors.AsType[*job.LimitError](err)
		if !ok || !strings.HasPrefix(e.Field, tt.field) || e.Reason == "" {
			t.Errorf("%+v: %v, want a LimitError of %s", tt.limits, err, tt.field)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, "state", "jobs", "*")); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
