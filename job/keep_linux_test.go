package job_test

import (
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"jobworker/job"
	"jobworker/stream"
)

// eager makes a worker keep no job longer than the test says.
func eager(change func(*job.Config)) func(*job.Config) {
	return func(c *job.Config) {
		c.KeepLeast = 1
		change(c)
	}
}

// removed waits until n jobs have been removed, and returns their ids in that order.
func removed(t *testing.T, e *job.Events, n int) (ids []string) {
	t.Helper()
	for len(ids) < n {
		events, err := e.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range events {
			if ev.Type != job.JobRemoved {
				continue
			}
			if ev.By != "(retention)" {
				t.Errorf("job %s was removed by %q", ev.Job, ev.By)
			}
			ids = append(ids, ev.Job)
		}
	}
	return ids
}

// kept shuts w down and returns the ids of the jobs that it had, newest first, and
// those that have files in its directory.
func kept(t *testing.T, w *job.Worker, dir string) (ids, files []string) {
	t.Helper()
	jobs, _, err := w.List(job.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range jobs {
		ids = append(ids, j.ID)
	}
	if err := w.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	entries, err := os.ReadDir(dir + "/state/jobs")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		files = append(files, e.Name())
	}
	return ids, files
}

// openEager opens a worker that removes jobs at once, and its events from the first.
func openEager(t *testing.T, limits func(*job.Config)) (dir string, w *job.Worker, e *job.Events) {
	t.Helper()
	dir = t.TempDir()
	w = openWorker(t, dir, noSpare, eager(limits))
	e, err := w.Events(0)
	if err != nil {
		t.Fatal(err)
	}
	return dir, w, e
}

// TestRetention: beyond what is to be kept the jobs that ended first go first, with
// their files, and a job that runs is not one of them.
func TestRetention(t *testing.T) {
	for name, limits := range map[string]func(*job.Config){
		"jobs":  func(c *job.Config) { c.KeepJobs = 1 },
		"bytes": func(c *job.Config) { c.KeepBytes = 200 << 10 },
	} {
		t.Run(name, func(t *testing.T) {
			dir, w, e := openEager(t, limits)
			running := started(t, w, sh("echo ready; exec sleep 1000"))
			var ended []string
			for range 3 {
				j, _ := run(t, w, sh("head -c 120000 /dev/zero | tr '\\0' x"))
				ended = append(ended, j.ID)
			}
			if got := removed(t, e, 2); !slices.Equal(got, ended[:2]) {
				t.Errorf("removed %v of %v", got, ended)
			}
			ids, files := kept(t, w, dir)
			want := []string{ended[2], running.ID}
			// The shutdown ends the one that runs, which may leave one too many.
			if !slices.Equal(ids, want) || slices.Contains(files, ended[0]) || slices.Contains(files, ended[1]) {
				t.Errorf("kept %v, files of %v, want %v", ids, files, want)
			}
		})
	}
}

// TestRetentionIsFair: of several owners the one that keeps most loses jobs first: nobody
// can have another's output removed by running jobs of their own.
func TestRetentionIsFair(t *testing.T) {
	for name, limits := range map[string]func(*job.Config){
		"jobs":  func(c *job.Config) { c.KeepJobs = 3 },
		"bytes": func(c *job.Config) { c.KeepBytes = 3 << 20 },
	} {
		t.Run(name, func(t *testing.T) {
			_, w, e := openEager(t, limits)
			ended := make(map[string][]string)
			for _, owner := range []string{"bob", "alice", "alice", "alice", "alice"} {
				j, _, err := w.Start(t.Context(), job.StartOptions{Owner: owner, Spec: sh("head -c 800000 /dev/zero | tr '\\0' x")})
				if err != nil {
					t.Fatal(err)
				}
				wait(t, w, j.ID)
				ended[owner] = append(ended[owner], j.ID)
			}
			if got := removed(t, e, 2); !slices.Equal(got, ended["alice"][:2]) {
				t.Errorf("removed %v of alice's %v and bob's %v", got, ended["alice"], ended["bob"])
			}
		})
	}
}

// TestRetentionByAge: a job goes when its time has come, without another one that
// ends, and also where it ended under an earlier worker.
func TestRetentionByAge(t *testing.T) {
	dir := t.TempDir()
	w := openWorker(t, dir)
	run(t, w, sh("true"))
	if err := w.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	w = openWorker(t, dir, noSpare, eager(func(c *job.Config) { c.KeepAge = 500 * time.Millisecond }))
	e, err := w.Events(w.Info().Opened.UnixMicro() - 1) // all there were
	if err != nil {
		t.Fatal(err)
	}
	run(t, w, sh("true"))
	removed(t, e, 2)
	if ids, files := kept(t, w, dir); len(ids)+len(files) != 0 {
		t.Errorf("kept %v, files of %v", ids, files)
	}
}

// TestRetentionLeast: whatever is to be kept, who waits for a job has time to read
// how it ended.
func TestRetentionLeast(t *testing.T) {
	const least = 600 * time.Millisecond
	w := openWorker(t, t.TempDir(), func(c *job.Config) { c.KeepJobs, c.KeepLeast = 1, least })
	first, _ := run(t, w, sh("true"))
	e, err := w.Events(0)
	if err != nil {
		t.Fatal(err)
	}
	run(t, w, sh("true"))
	for {
		events, err := e.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range events {
			if ev.Type != job.JobRemoved {
				continue
			}
			if kept := ev.Time.Sub(*first.EndedAt); ev.Job != first.ID || kept < least {
				t.Errorf("job %s was removed after %v, want %s after %v", ev.Job, kept, first.ID, least)
			}
			return
		}
	}
}

// TestRemovedWhileRead: who reads the output of a job that is removed meanwhile gets
// all of it, to its true end; who comes later finds no such job.
func TestRemovedWhileRead(t *testing.T) {
	w := openWorker(t, t.TempDir(), eager(func(c *job.Config) { c.KeepJobs = 1 }))
	e, err := w.Events(0)
	if err != nil {
		t.Fatal(err)
	}
	j := start(t, w, sh("seq 200000"))
	r, err := w.Output(j.ID, stream.Query{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	wait(t, w, j.ID)
	run(t, w, sh("true")) // which is kept instead
	if got := removed(t, e, 1); got[0] != j.ID {
		t.Errorf("removed %v, want %s", got, j.ID)
	}
	out, err := payload(t, r)
	if err != nil || !strings.HasSuffix(string(out), "\n200000\n") || !strings.HasPrefix(string(out), "1\n2\n") {
		t.Errorf("%d bytes of output, %v", len(out), err)
	}
	if end := r.End(); end.Reason != stream.EndComplete || end.Next != 1288895 {
		t.Errorf("end %+v", end)
	}
	if _, err := w.Output(j.ID, stream.Query{}); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("output of a removed job: %v", err)
	}
	if _, err := r.Next(t.Context()); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
}

// TestScratchGoes: a job's /scratch is gone when the worker is, and the rest is not.
func TestScratchGoes(t *testing.T) {
	dir := t.TempDir()
	w := openWorker(t, dir, noSpare)
	j, _ := run(t, w, sh("mkdir -p a/b/c; echo x > a/b/c/f; ln -s /etc/passwd l"))
	if err := w.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	var names []string
	entries, err := os.ReadDir(dir + "/state/jobs/" + j.ID)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := []string{"control", "exit.json", "output.jsonl", "record.json"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("files of a job that is over: %v, %v, want %v", names, err, want)
	}
}

// TestNoSpace: below the reserve, and above what all jobs may take, no job is
// started, nothing is left of it, and a job that has the key is still found.
func TestNoSpace(t *testing.T) {
	dir := t.TempDir()
	w := openWorker(t, dir)
	known := job.StartOptions{Owner: "alice", Key: "k", Spec: sh("head -c 3000000 /dev/zero | tr '\\0' x")}
	j, _, err := w.Start(t.Context(), known)
	if err != nil {
		t.Fatal(err)
	}
	wait(t, w, j.ID)
	if err := w.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, limits := range map[string]func(*job.Config){
		"reserve": func(c *job.Config) { c.ReserveBytes = 1 << 60 },
		"total":   func(c *job.Config) { c.MaxStateBytes = 2 << 20 },
	} {
		t.Run(name, func(t *testing.T) {
			w := openWorker(t, dir, noSpare, limits)
			_, _, err := w.Start(t.Context(), job.StartOptions{Owner: "alice", Spec: sh("true")})
			if !errors.Is(err, job.ErrNoSpace) {
				t.Errorf("start: %v", err)
			}
			if again, existing, err := w.Start(t.Context(), known); err != nil || !existing || again.ID != j.ID {
				t.Errorf("start with the key of %s: %s, %t, %v", j.ID, again.ID, existing, err)
			}
			if ids, files := kept(t, w, dir); len(ids) != 1 || len(files) != 1 {
				t.Errorf("kept %v, files of %v", ids, files)
			}
		})
	}
	w = openWorker(t, dir, func(c *job.Config) { c.MaxStateBytes = 2 << 20 })
	if _, _, err := w.Start(t.Context(), job.StartOptions{Owner: "alice", Spec: sh("true")}); !errors.Is(err, job.ErrNoSpace) {
		t.Errorf("start: %v", err)
	}
	if err := w.Remove(t.Context(), j.ID, "alice"); err != nil {
		t.Fatal(err)
	}
	start(t, w, sh("true"))
}
