package job_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"jobworker/job"
)

// liveJobs is how many jobs TestManyLive has at once; see shortJobs.
func liveJobs() int {
	switch vm := os.Getenv("KERNELTEST") == "vm"; {
	case vm:
		return 5
	case raceBuilt():
		return 100
	}
	return 1000
}

// TestManyLive: a job that does nothing costs the worker a descriptor and a
// goroutine, no thread, and hardly anything of the next start; the next worker takes
// over all of them; when all are over everything is as before.
func TestManyLive(t *testing.T) {
	dir, root := tmpfsDir(t), cgroupRoot()
	same := func(c *job.Config) { c.CgroupRoot = root }
	t.Cleanup(func() { removeTree(t, root) }) // which the second worker has not made
	w := openWorker(t, dir, same)
	alone := latency(t, w)
	before := measure(t)
	n := liveJobs()
	begin := time.Now()
	startIdle(t, w, min(n, 100))
	t.Logf("nsinit of %d idle jobs: %s", min(n, 100), inits(t))
	startIdle(t, w, n-min(n, 100))
	t.Logf("%d jobs started in %v", n, time.Since(begin).Round(time.Millisecond))
	beside := latency(t, w)
	t.Logf("start to verdict: %v alone, %v beside %d jobs: %.2f", alone, beside, n, beside.Seconds()/alone.Seconds())
	live := measure(t)
	t.Logf("worker: before %+v, with %d jobs %+v", before, n, live)
	if live.files > before.files+n+20 || live.goroutines > before.goroutines+n+20 || live.threads > before.threads+20 {
		t.Errorf("%d jobs take more than a descriptor and a goroutine each", n)
	}
	if err := w.Leave(); err != nil {
		t.Fatal(err)
	}
	begin = time.Now()
	w = openWorker(t, dir, same)
	t.Logf("taken over in %v", time.Since(begin).Round(time.Millisecond))
	begin = time.Now()
	if jobs, _, err := w.List(job.Filter{State: job.Running}); err != nil || len(jobs) != n {
		t.Errorf("%d jobs are listed, %v", len(jobs), err)
	}
	t.Logf("list of %d running jobs: %v", n, time.Since(begin).Round(time.Millisecond))
	begin = time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := w.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("stopped in %v", time.Since(begin).Round(time.Millisecond)) // TestMain looks at what is left
}

// startIdle starts n jobs that do nothing, as fast as it can.
func startIdle(tb testing.TB, w *job.Worker, n int) {
	tb.Helper()
	var wg sync.WaitGroup
	todo := make(chan struct{}, n)
	for range n {
		todo <- struct{}{}
	}
	close(todo)
	for range 2 * runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for range todo {
				if _, _, err := w.Start(tb.Context(), job.StartOptions{Owner: "alice", Spec: job.Spec{Argv: []string{"sleep", "1000"}}}); err != nil {
					tb.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// latency is the median time from start to verdict of a job that does nothing.
func latency(t *testing.T, w *job.Worker) time.Duration {
	t.Helper()
	var took []time.Duration
	runs := 21
	if os.Getenv("KERNELTEST") == "vm" {
		runs = 1
	}
	for range runs {
		begin := time.Now()
		j := wait(t, w, start(t, w, job.Spec{Argv: []string{"/bin/true"}}).ID)
		took = append(took, time.Since(begin))
		if err := w.Remove(t.Context(), j.ID, "alice"); err != nil {
			t.Fatal(err)
		}
	}
	return median(took).Round(10 * time.Microsecond)
}

// A footprint is what this process takes, the worker in it.
type footprint struct{ files, goroutines, threads, rssKiB int }

func measure(t *testing.T) footprint {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	status := fields(t, "/proc/self/status")
	return footprint{len(names), runtime.NumGoroutine(), status["Threads"], status["VmRSS"]}
}

// fields reads the numbers of a file of /proc that has one in each line.
func fields(t *testing.T, name string) map[string]int {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	m := make(map[string]int)
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(strings.TrimSpace(line), " kB"), ":")
		if n, err := strconv.Atoi(strings.TrimSpace(value)); err == nil {
			m[key] = n
		}
	}
	return m
}

// inits describes the memory of the nsinits that this process has started.
func inits(t *testing.T) string {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	count, pss, dirty := 0, 0, 0
	for _, name := range names {
		b, err := os.ReadFile(name)
		dir := filepath.Dir(name)
		if err != nil || !bytes.HasPrefix(b, []byte("jobworker-nsinit\x00")) || fields(t, dir+"/status")["PPid"] != os.Getpid() {
			continue
		}
		m := fields(t, dir+"/smaps_rollup")
		count, pss, dirty = count+1, pss+m["Pss"], dirty+m["Private_Dirty"]
	}
	if count == 0 {
		t.Fatal("there is none")
	}
	return fmt.Sprintf("PSS %d KiB, private dirty %d KiB each, of %d", pss/count, dirty/count, count)
}
