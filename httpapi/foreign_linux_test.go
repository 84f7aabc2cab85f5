package httpapi_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"jobworker/httpapi"
	"jobworker/job"
)

// foreignJob returns a fixture with a job of alice's that runs, its id and its directory.
func foreignJob(t *testing.T) (f *fixture, id, dir string) {
	f = newFixture(t, func(c *httpapi.Config) {
		c.Worker = newWorker(t, c.Log, func(c *job.Config) { dir = c.StateDir })
	})
	id = f.start(f.client("alice", operator), "exec sleep 1000").ID
	return f, id, filepath.Join(dir, "jobs", id)
}

// A fault of a job that is not the client's does not show: nothing of it is looked at.
func TestForeignJobIsNotLookedAt(t *testing.T) {
	f, id, dir := foreignJob(t)
	log := filepath.Join(dir, "output.jsonl")
	if err := errors.Join(os.Rename(log, log+".away"), os.Mkdir(log, 0o700)); err != nil {
		t.Fatal(err)
	}
	output := func(user string) error {
		s, err := f.client(user, operator).Output(t.Context(), id, httpapi.OutputOptions{})
		if err == nil {
			s.Close()
		}
		return err
	}
	problem(t, output("bob"), httpapi.TypeNotFound)
	problem(t, output("alice"), httpapi.TypeInternal) // so the fault is one that would show
	if err := errors.Join(os.Remove(log), os.Rename(log+".away", log)); err != nil {
		t.Fatal(err)
	}
}

// The time of an answer does not tell a foreign job from one that does not exist: the
// usual time of each is one that the other often takes as well.
func TestForeignJobTiming(t *testing.T) {
	f, foreign, _ := foreignJob(t)
	c := f.plain("HTTP/2.0", f.identity("bob", 0, operator))
	const unknown = "aaaaaaaaaaaaaaaaaaaaaaaaaa"
	times := make(map[string][]time.Duration)
	for range 100 {
		for _, id := range []string{foreign, unknown} {
			begin := time.Now()
			if resp, _ := f.do(c, "GET", "/v1/jobs/"+id, "", ""); resp.StatusCode != http.StatusNotFound {
				t.Fatal(resp.Status)
			}
			times[id] = append(times[id], time.Since(begin))
		}
	}
	for _, list := range times {
		slices.Sort(list)
	}
	for id, other := range map[string]string{foreign: unknown, unknown: foreign} {
		median, n := times[id][len(times[id])/2], len(times[other])
		if low, high := times[other][n/10], times[other][n*9/10]; median < low || median > high {
			t.Errorf("%s takes %v, but %s from %v to %v", id, median, other, low, high)
		}
	}
}
