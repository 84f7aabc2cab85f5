package job_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"jobworker/internal/kerneltest"
	"jobworker/job"
)

// TestNoDescriptors: a start for which there are not enough descriptors, however many
// are missing, fails and leaves nothing; the job that runs goes on, and when there are
// descriptors again so does the worker.
func TestNoDescriptors(t *testing.T) {
	dir := t.TempDir()
	w := openWorker(t, dir, noSpare)
	live := start(t, w, job.Spec{Argv: []string{"sleep", "1000"}})
	spec := job.Spec{Argv: []string{"true"}, Stdin: true}
	failed := 0
	for free := 0; ; free++ {
		restore := leaveDescriptors(t, free)
		j, _, err := w.Start(t.Context(), job.StartOptions{Owner: "alice", Spec: spec})
		restore()
		if err == nil {
			wait(t, w, j.ID)
			break
		}
		failed++
		if entries, err := os.ReadDir(filepath.Join(dir, "state", "jobs")); err != nil || len(entries) != 1 {
			t.Fatalf("with %d descriptors: %v, %v, want the job that runs alone", free, entries, err)
		}
	}
	if failed < 3 {
		t.Errorf("only %d starts failed", failed)
	}
	if s := status(t, w, live.ID).State; s != job.Running {
		t.Errorf("the job that ran is %s", s)
	}
}

// leaveDescriptors has this process get no more than that many new descriptors.
func leaveDescriptors(t *testing.T, free int) (restore func()) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	// The limit is on the number of a descriptor, and the lowest free one is taken.
	var taken []int
	for range free + 1 {
		fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, fd)
	}
	limit := unix.Rlimit{Cur: uint64(taken[free]), Max: old.Max}
	for _, fd := range taken {
		unix.Close(fd)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
			t.Fatal(err)
		}
	}
}

// TestClockSteps: a clock that is set by a day, either way, moves no timeout.
func TestClockSteps(t *testing.T) {
	kerneltest.VM(t) // whose clock nobody needs
	w := openWorker(t, t.TempDir())
	live := start(t, w, job.Spec{Argv: []string{"sleep", "1000"}, Timeout: job.Duration(time.Hour)})
	for _, by := range []time.Duration{24 * time.Hour, -48 * time.Hour, 24 * time.Hour} {
		stepClock(t, by)
		if j := wait(t, w, start(t, w, job.Spec{Argv: []string{"true"}, Timeout: job.Duration(time.Hour)}).ID); verdict(j) != "exited 0" {
			t.Errorf("a job after a step of %v: %s", by, verdict(j))
		}
		if s := status(t, w, live.ID).State; s != job.Running {
			t.Fatalf("after a step of %v the job is %s", by, s)
		}
	}
}

func stepClock(t *testing.T, by time.Duration) {
	t.Helper()
	ts, err := unix.TimeToTimespec(time.Now().Add(by))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &ts); err != nil {
		t.Fatal(err)
	}
}
