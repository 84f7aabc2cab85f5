package job_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"jobworker/internal/kerneltest"
	"jobworker/job"
)

// awaitSpare waits until w has a place ready for the next job, whose nsinit has
// built what it can, and returns its directory. No job may be there.
func awaitSpare(t *testing.T, dir string) string {
	t.Helper()
	for end := time.Now().Add(limit); time.Now().Before(end); runtime.Gosched() {
		entries, err := os.ReadDir(filepath.Join(dir, "state", "jobs"))
		if err != nil {
			t.Fatal(err)
		}
		inits := nsinits(t)
		if len(entries) != 1 || len(inits) != 1 {
			continue
		}
		mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", inits[0]))
		if err == nil && strings.Contains(string(mounts), "/dev/shm rw,nosuid,nodev") {
			return filepath.Join(dir, "state", "jobs", entries[0].Name())
		}
	}
	t.Fatal("nothing is ready for the next job")
	return ""
}

// TestSpare: what waits for a job becomes that of the next one, which differs in
// nothing from any other.
func TestSpare(t *testing.T) {
	dir := t.TempDir()
	w := openWorker(t, dir)
	spare := awaitSpare(t, dir)
	const script = "hostname; pwd; id -un; test -w . && grep -c ^job /etc/passwd; exit 3"
	j, out := run(t, w, sh(script))
	if j.ID != filepath.Base(spare) {
		t.Errorf("job %s, want %s, which was ready", j.ID, spare)
	}
	if want := j.ID + "\n/scratch\njob\n1\n"; out != want || verdict(j) != "exited 3" {
		t.Errorf("output %q, verdict %q, want %q, exited 3", out, verdict(j), want)
	}
	var jobs sync.WaitGroup
	for range 20 { // one of them at most gets what is ready
		jobs.Go(func() {
			j, _, err := w.Start(t.Context(), job.StartOptions{Owner: "alice", Spec: sh("exit 3")})
			if err != nil {
				t.Error(err)
				return
			}
			if j, err = w.Wait(t.Context(), j.ID); err != nil || verdict(j) != "exited 3" {
				t.Errorf("verdict %q, %v", verdict(j), err)
			}
		})
	}
	jobs.Wait()
}

// TestSpareKept: a job that cannot use what is ready leaves it to the next that can.
func TestSpareKept(t *testing.T) {
	dir := t.TempDir()
	w := openWorker(t, dir)
	spare := filepath.Base(awaitSpare(t, dir))
	for _, change := range []func(*job.Spec){
		func(s *job.Spec) { s.Net = "host" },
		func(s *job.Spec) { s.Userns = true },
		func(s *job.Spec) { s.Binds = []job.Bind{{Source: "/usr", Target: "/data"}} },
		func(s *job.Spec) { s.Profile, s.User = "host", someUser },
	} {
		if j, _ := runPermitted(t, w, isolationSpec("exit 3", change), everything()); j.ID == spare || verdict(j) != "exited 3" {
			t.Errorf("job %s, verdict %q, with %s ready", j.ID, verdict(j), spare)
		}
	}
	if j, _ := runPermitted(t, w, isolationSpec("exit 3", func(s *job.Spec) { s.User = someUser }), everything()); j.ID != spare {
		t.Errorf("job %s of another user, want %s, which was ready", j.ID, spare)
	}
}

// TestSpareKilled: a start does without what was ready and is no more.
func TestSpareKilled(t *testing.T) {
	dir := t.TempDir()
	w := openWorker(t, dir)
	for range 5 {
		spare := awaitSpare(t, dir)
		pid := nsinits(t)[0]
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		awaitZombie(t, pid)
		j, _ := run(t, w, sh("exit 3"))
		if verdict(j) != "exited 3" || j.ID == filepath.Base(spare) {
			t.Errorf("job %s, verdict %q", j.ID, verdict(j))
		}
		if err := w.Remove(t.Context(), j.ID, "alice"); err != nil {
			t.Fatal(err)
		}
	}
}

// awaitZombie waits until a child has ended that is not waited for.
func awaitZombie(t *testing.T, pid int) {
	t.Helper()
	if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
}

// TestSpareMounts: a job sees what the host has mounted after its nsinit had been
// made.
func TestSpareMounts(t *testing.T) {
	kerneltest.VM(t) // mounts
	dir := t.TempDir()
	shown, err := os.MkdirTemp("/", "shown-") // jobs have a /tmp of their own
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(shown, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(shown) })
	w := openWorker(t, dir, func(c *job.Config) { c.Expose = []string{shown} })
	awaitSpare(t, dir)
	if err := unix.Mount("tmpfs", shown, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(shown, 0); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(shown, "new"), []byte("here"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, out := run(t, w, sh("cat "+filepath.Join(shown, "new"))); !strings.Contains(out, "here") {
		t.Errorf("the job sees %q of what was mounted", out)
	}
}
