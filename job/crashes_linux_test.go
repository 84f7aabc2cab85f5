package job_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"jobworker/internal/kerneltest"
	"jobworker/job"
	"jobworker/stream"
)

// crashCount is how often TestCrashes kills a worker: CRASHES, or a few times.
func crashCount(t *testing.T) int {
	s := os.Getenv("CRASHES")
	if s == "" {
		return 5
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		t.Fatalf("CRASHES=%q: must be a number, 1 or more", s)
	}
	return n
}

func init() { helpers["load"] = helper{true, helpLoad} }

// A deed is a line that the helper "load" says before and after it does something.
type deed struct {
	Name string // of the job
	Stop bool   // else it is started
	Done bool
}

// counting is the spec of a job that writes the numbers from 0 to n-1 and exits with
// what its name says.
func counting(name string) job.Spec {
	var n, code int
	if _, err := fmt.Sscanf(name, "count-%d-%d-", &n, &code); err != nil {
		panic(err)
	}
	s := sh(fmt.Sprintf("i=0; while [ $i -lt %d ]; do echo $i; i=$((i+1)); done; exit %d", n, code))
	s.Name = name
	return s
}

// helpLoad starts jobs of any length, and stops some, until it is killed.
func helpLoad(w *job.Worker) error {
	var say sync.Mutex
	out := json.NewEncoder(os.Stdout)
	note := func(d deed) error {
		say.Lock()
		defer say.Unlock()
		return out.Encode(d)
	}
	failed := make(chan error)
	for range 3 {
		go func() {
			for {
				if err := loadOnce(w, note); err != nil {
					failed <- err
				}
			}
		}()
	}
	return <-failed
}

// loadOnce starts a job, follows it, and stops it or waits for its end.
func loadOnce(w *job.Worker, note func(deed) error) error {
	ctx := context.Background()
	name := fmt.Sprintf("count-%d-%d-%016x", rand.IntN(2000), rand.IntN(256), rand.Uint64())
	err := note(deed{Name: name})
	if err != nil {
		return err
	}
	j, _, err := w.Start(ctx, job.StartOptions{Owner: "alice", Key: name, Spec: counting(name)})
	if err != nil {
		return err
	}
	if err := note(deed{Name: name, Done: true}); err != nil {
		return err
	}
	r, err := w.Output(j.ID, stream.Query{Follow: true})
	if err != nil {
		return err
	}
	defer r.Close()
	if rand.IntN(3) > 0 {
		for err == nil {
			_, err = r.Next(ctx)
		}
		if err != io.EOF {
			return err
		}
		return nil
	}
	if err := note(deed{Name: name, Stop: true}); err != nil {
		return err
	}
	if _, err = w.Stop(ctx, j.ID, job.StopOptions{By: "bob"}); err != nil {
		return err
	}
	return note(deed{Name: name, Stop: true, Done: true})
}

// A history is what is known of the jobs of many workers.
type history struct {
	t       *testing.T
	seen    map[string]deed   // by name, the last that was said
	read    map[string]string // by name, the output so far
	ids     map[string]string // by name
	took    time.Duration     // by a worker until it had started a job
	jobs    int
	started int
	bytes   int64
}

// TestCrashes kills workers at random under a load of jobs that start, write, are stopped
// and end. After each, every job whose start was answered is there, once, and has one true
// verdict; its output goes on where a follower has stopped; and in the end nothing else
// is left.
func TestCrashes(t *testing.T) {
	kerneltest.Root(t)
	s := &crashSite{t: t, dir: t.TempDir(), root: cgroupRoot()}
	t.Cleanup(func() { removeTree(t, s.root) })
	h := &history{t: t, seen: map[string]deed{}, read: map[string]string{}, ids: map[string]string{}}
	count := crashCount(t)
	for range count {
		h.load(s)
		w, err := job.Open(s.config())
		if err != nil {
			t.Fatal(err)
		}
		h.follow(w)
		if err := w.Leave(); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			break
		}
	}
	w := openWorker(t, s.dir, func(c *job.Config) { *c = s.config() })
	h.end(w, s)
	checkNoProcess(t, s.root)
	t.Logf("%d workers killed, %d jobs, of which %d had been started, %d bytes of output compared", count, h.jobs, h.started, h.bytes)
}

// load runs a worker with a load, and kills it: at any moment until about the time in
// which it can have started its first job once more, in one case of four before that.
func (h *history) load(s *crashSite) {
	h.t.Helper()
	cmd, stderr := helperCommand(h.t, "load", s.config().StateDir, s.root)
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		h.t.Fatal(err)
	}
	begin := time.Now()
	early := h.took > 0 && rand.IntN(4) == 0
	timer := time.AfterFunc(limit, func() { cmd.Process.Kill() })
	defer timer.Stop()
	if early {
		timer.Reset(rand.N(h.took))
	}
	dec := json.NewDecoder(stdout)
	for first := true; ; {
		var d deed
		if dec.Decode(&d) != nil {
			break // it was killed
		}
		h.seen[d.Name] = d
		if d.Done && first && !early {
			first, h.took = false, time.Since(begin)
			timer.Reset(rand.N(h.took))
		}
	}
	cmd.Wait() // says that it was killed
	if st := cmd.ProcessState.Sys().(interface{ Signal() unix.Signal }); st.Signal() != unix.SIGKILL {
		h.t.Fatalf("helper: %v, want it killed: %s", cmd.ProcessState, stderr)
	}
}

// follow reads what jobs have written since it was called last, and checks it with
// what is known of them.
func (h *history) follow(w *job.Worker) {
	h.t.Helper()
	jobs, err := allJobs(w)
	if err != nil {
		h.t.Fatal(err)
	}
	there := map[string]bool{}
	for _, j := range jobs {
		if there[j.Name] || h.ids[j.Name] != "" && h.ids[j.Name] != j.ID {
			h.t.Errorf("%s is there twice", j.Name)
		}
		there[j.Name] = true
		if _, ok := h.seen[j.Name]; !ok {
			h.t.Errorf("%s: nobody has started it", j.Name)
		}
		h.ids[j.Name] = j.ID
		h.readOn(w, j)
	}
	for name, d := range h.seen {
		if (d.Done || d.Stop) && !there[name] {
			h.t.Errorf("%s is gone, after %+v", name, d)
		}
	}
}

// allJobs returns all jobs.
func allJobs(w *job.Worker) (jobs []job.Job, err error) {
	f := job.Filter{}
	for {
		page, next, err := w.List(f)
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, page...)
		if next == "" {
			return jobs, nil
		}
		f.PageToken = next
	}
}

// readOn reads the output of a job from where it was read to.
func (h *history) readOn(w *job.Worker, j job.Job) {
	h.t.Helper()
	r, err := w.Output(j.ID, stream.Query{Offset: int64(len(h.read[j.Name]))})
	if err != nil {
		h.t.Error(err)
		return
	}
	defer r.Close()
	more, err := payload(h.t, r)
	if err != nil {
		h.t.Errorf("output of %s: %v", j.Name, err)
	}
	h.read[j.Name] += string(more)
	var n int
	fmt.Sscanf(j.Name, "count-%d", &n)
	if out := h.read[j.Name]; !strings.HasPrefix(numbers(n), out) {
		h.t.Errorf("%s wrote %.200q", j.Name, out)
	}
}

// numbers is what a job writes that counts to n.
func numbers(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintln(&b, i)
	}
	return b.String()
}

// end waits for all jobs and checks their ends.
func (h *history) end(w *job.Worker, s *crashSite) {
	h.t.Helper()
	h.follow(w)
	for name, id := range h.ids {
		j := wait(h.t, w, id)
		h.readOn(w, j)
		h.jobs++
		h.bytes += j.OutputBytes
		if err := h.judge(j); err != nil {
			h.t.Errorf("%s: %v: verdict %q, %+v; %+v", name, err, verdict(j), j.Verdict, h.seen[name])
		}
		checkLog(h.t, s.dir, j)
		if err := w.Remove(h.t.Context(), id, ""); err != nil {
			h.t.Error(err)
		}
	}
	if left, err := os.ReadDir(filepath.Join(s.dir, "state", "jobs")); err != nil || len(left) != 0 {
		h.t.Errorf("left in the directory of jobs: %v, %v", left, err)
	}
}

// judge reports what is wrong with a job's end.
func (h *history) judge(j job.Job) error {
	var n, code int
	fmt.Sscanf(j.Name, "count-%d-%d-", &n, &code)
	d, out := h.seen[j.Name], h.read[j.Name]
	if int64(len(out)) != j.OutputBytes {
		return fmt.Errorf("%d bytes of output were read, of %d", len(out), j.OutputBytes)
	}
	if j.Verdict.Reason != job.StartFailed {
		h.started++
	}
	v := j.Verdict
	whole := v.Code != nil && *v.Code == code && out == numbers(n) // perhaps faster than the signal
	switch {
	case v.Reason == job.Exited && whole:
		return nil
	case v.Reason == job.Stopped && v.By == "bob" && d.Stop && (v.Signal == "SIGTERM" || whole):
		return nil
	case v.Reason == job.StartFailed && !d.Done && !d.Stop && out == "":
		return nil
	}
	return errors.New("that is not how it ended")
}
