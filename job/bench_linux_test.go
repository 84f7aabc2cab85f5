package job_test

import (
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"jobworker/job"
)

// BenchmarkStart times a job of /bin/true from Start to its verdict, and then as
// many runs of bubblewrap with a like root and the same namespaces. One after
// the other and not in turn, because the kernel takes a network namespace apart
// in the background, which would be measured with the other's next run.
// bubblewrap keeps no records: beside it the state directory on a tmpfs is what
// compares; on a disk every job waits for it twice. Each job is followed by the
// next at once, so its nsinit is made while the one before runs.
func BenchmarkStart(b *testing.B) {
	b.Run("state=tmpfs", func(b *testing.B) { benchmarkStart(b, tmpfsDir(b), true) })
	b.Run("state=disk", func(b *testing.B) { benchmarkStart(b, b.TempDir(), true) })
	b.Run("state=tmpfs/nospare", func(b *testing.B) { benchmarkStart(b, tmpfsDir(b), false) })
}

var bwrapArgs = []string{"--unshare-all", "--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib",
	"--symlink", "usr/lib64", "/lib64", "--ro-bind", "/etc", "/etc", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "/bin/true"}

func benchmarkStart(b *testing.B, dir string, spare bool) {
	w := openWorker(b, dir, func(c *job.Config) { c.Spare = spare })
	var jobs, peers []time.Duration
	for b.Loop() {
		begin := time.Now()
		runTrue(b, w)
		jobs = append(jobs, time.Since(begin))
	}
	for range jobs {
		begin := time.Now()
		if out, err := exec.Command("bwrap", bwrapArgs...).CombinedOutput(); err != nil {
			b.Fatalf("bwrap: %v\n%s", err, out)
		}
		peers = append(peers, time.Since(begin))
	}
	j, p := median(jobs), median(peers)
	b.ReportMetric(0, "ns/op") // the median says more
	b.ReportMetric(float64(j.Microseconds())/1000, "ms/job")
	b.ReportMetric(float64(p.Microseconds())/1000, "ms/bwrap")
	b.ReportMetric(float64(j)/float64(p), "job/bwrap")
}

func runTrue(b *testing.B, w *job.Worker) {
	j, _, err := w.Start(b.Context(), job.StartOptions{Owner: "bench", Spec: job.Spec{Argv: []string{"/bin/true"}}})
	if err != nil {
		b.Fatal(err)
	}
	if j, err = w.Wait(b.Context(), j.ID); err != nil || *j.Verdict.Code != 0 {
		b.Fatal(j, err)
	}
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// tmpfsDir returns a directory on the tmpfs that every Linux system has.
func tmpfsDir(tb testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "jobtest-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// BenchmarkKept times a worker with 10,000 jobs that are over: all of them listed in
// pages, one page from the middle, and a worker opened over them, once with 1,000 more
// that run.
func BenchmarkKept(b *testing.B) {
	const jobs, live = 10_000, 1000
	dir, root := tmpfsDir(b), cgroupRoot()
	same := func(c *job.Config) { c.CgroupRoot = root }
	b.Cleanup(func() { removeTree(b, root) })
	w := openWorker(b, dir, same)
	for range jobs {
		runTrue(b, w)
	}
	var all, page, open []time.Duration
	for b.Loop() {
		begin := time.Now()
		middle := listAll(b, w, jobs)
		all = append(all, time.Since(begin))
		begin = time.Now()
		if l, _, err := w.List(job.Filter{Limit: 100, PageToken: middle}); err != nil || len(l) != 100 {
			b.Fatalf("%d jobs, %v", len(l), err)
		}
		page = append(page, time.Since(begin))
		if err := w.Shutdown(b.Context()); err != nil {
			b.Fatal(err)
		}
		begin = time.Now()
		w = openWorker(b, dir, same)
		open = append(open, time.Since(begin))
	}
	startIdle(b, w, live)
	if err := w.Leave(); err != nil {
		b.Fatal(err)
	}
	begin := time.Now()
	w = openWorker(b, dir, same)
	takeOver := time.Since(begin)
	if l, _, err := w.List(job.Filter{State: job.Running}); err != nil || len(l) != live {
		b.Fatalf("%d jobs run, %v", len(l), err)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(takeOver.Microseconds())/1000, "ms/takeover")
	b.ReportMetric(float64(median(all).Microseconds())/1000, "ms/list")
	b.ReportMetric(float64(median(page).Microseconds())/1000, "ms/page")
	b.ReportMetric(float64(median(open).Microseconds())/1000, "ms/open")
}

// listAll lists n jobs page by page and returns the token of a page in the middle.
func listAll(b *testing.B, w *job.Worker, n int) (middle string) {
	got, token := 0, ""
	for {
		l, next, err := w.List(job.Filter{PageToken: token})
		if err != nil {
			b.Fatal(err)
		}
		got += len(l)
		if got == n/2 {
			middle = next
		}
		if token = next; token == "" {
			break
		}
	}
	if got != n {
		b.Fatalf("%d jobs, want %d", got, n)
	}
	return middle
}
