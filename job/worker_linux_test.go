package job_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"jobworker/internal/kerneltest"
	"jobworker/job"
	"jobworker/stream"
)

// limit bounds every wait of a test for something that takes milliseconds.
const limit = 30 * time.Second

var roots atomic.Int32

// cgroupRoot returns the name of a cgroup that no other test has.
func cgroupRoot() string { return fmt.Sprintf("jobworker-test-%d-%d", os.Getpid(), roots.Add(1)) }

// openWorker opens a worker with its state in dir, and at the end of the test
// shuts it down and checks that it left nothing behind.
func openWorker(tb testing.TB, dir string, change ...func(*job.Config)) *job.Worker {
	tb.Helper()
	kerneltest.Root(tb)
	cfg := job.Config{StateDir: filepath.Join(dir, "state"), CgroupRoot: cgroupRoot(), AllowMissingControllers: true, Spare: true}
	for _, f := range change {
		f(&cfg)
	}
	w, err := job.Open(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := w.Shutdown(ctx); err != nil && err != job.ErrClosed {
			tb.Errorf("shutdown: %v", err)
		}
	})
	return w
}

// noSpare is for tests that look at what jobs have made.
func noSpare(c *job.Config) { c.Spare = false }

// start starts a job for alice that must start.
func start(tb testing.TB, w *job.Worker, s job.Spec) job.Job {
	tb.Helper()
	j, _, err := w.Start(tb.Context(), job.StartOptions{Owner: "alice", Spec: s})
	if err != nil {
		tb.Fatalf("start %q: %v", s.Argv, err)
	}
	return j
}

// sh is the spec of a shell script.
func sh(script string) job.Spec { return job.Spec{Argv: []string{"sh", "-c", script}} }

// wait returns the job when it is over.
func wait(tb testing.TB, w *job.Worker, id string) job.Job {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), limit)
	defer cancel()
	j, err := w.Wait(ctx, id)
	if err != nil {
		tb.Fatalf("wait for %s: %v", id, err)
	}
	return j
}

// output returns what a job has written to the source, or to both if it is
// empty, following it to its end.
func output(tb testing.TB, w *job.Worker, id string, source stream.Source) string {
	tb.Helper()
	r, err := w.Output(id, stream.Query{Follow: true, Source: source})
	if err != nil {
		tb.Fatal(err)
	}
	defer r.Close()
	out, err := payload(tb, r)
	if err != nil {
		tb.Fatalf("output of %s after %q: %v", id, out, err)
	}
	return string(out)
}

// payload reads a job's output to its end.
func payload(tb testing.TB, r *stream.Reader) (out []byte, err error) {
	ctx, cancel := context.WithTimeout(tb.Context(), limit)
	defer cancel()
	for {
		lines, err := r.Next(ctx)
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		if out, err = stream.AppendPayload(out, lines); err != nil {
			return out, err
		}
	}
}

// run runs a script to its end and returns the job and all of its output.
func run(tb testing.TB, w *job.Worker, s job.Spec) (job.Job, string) {
	tb.Helper()
	j := start(tb, w, s)
	out := output(tb, w, j.ID, "")
	return wait(tb, w, j.ID), out
}

// started starts a job and waits until it has written a line "ready".
func started(tb testing.TB, w *job.Worker, s job.Spec) job.Job {
	tb.Helper()
	j := start(tb, w, s)
	r, err := w.Output(j.ID, stream.Query{Follow: true})
	if err != nil {
		tb.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(tb.Context(), limit)
	defer cancel()
	var payload []byte
	for !strings.Contains(string(payload), "ready\n") {
		lines, err := r.Next(ctx)
		if err != nil {
			tb.Fatalf("%q is not ready, wrote %q: %v", s.Argv, payload, err)
		}
		if payload, err = stream.AppendPayload(payload, lines); err != nil {
			tb.Fatal(err)
		}
	}
	return j
}
