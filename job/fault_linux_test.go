//go:build failpoint

package job_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"jobworker/internal/failpoint"
	"jobworker/internal/kerneltest"
	"jobworker/job"
)

func init() {
	helpers["failpoint"] = helper{false, helpFailpoint}
	helpers["spare failpoint"] = helper{true, helpSpare}
}

// What the helper "failpoint" runs: the first job ends politely, the second does not.
const (
	politeScript = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep .01; done"
	deafScript   = "trap '' TERM; echo ready; while :; do sleep .01; done"
)

// helpFailpoint takes a worker through everything that has failpoints, and fails where
// it comes to the end of that.
func helpFailpoint(w *job.Worker) error {
	ctx := context.Background()
	for _, script := range []string{politeScript, deafScript} {
		j, _, err := w.Start(ctx, job.StartOptions{Owner: "alice", Key: script, Spec: reading(script)})
		if err == nil {
			err = awaitOutput(ctx, w, j.ID)
		}
		if err == nil {
			err = feedByte(ctx, w, j.ID)
		}
		if err == nil {
			_, err = w.Stop(ctx, j.ID, job.StopOptions{By: "bob", Grace: graceOf(script)})
		}
		if err == nil {
			err = w.Remove(ctx, j.ID, "bob")
		}
		if err != nil {
			return err
		}
	}
	return errors.New("the failpoint was not reached")
}

// helpSpare has a worker make what it keeps ready.
func helpSpare(*job.Worker) error {
	time.Sleep(limit) // which the failpoint cuts short
	return errors.New("the failpoint was not reached")
}

// graceOf is long where the job is to end by itself.
func graceOf(script string) *job.Duration {
	if script == deafScript {
		return duration(0)
	}
	return duration(time.Hour)
}

func feedByte(ctx context.Context, w *job.Worker, id string) error {
	in, err := w.Stdin(ctx, id, 0)
	if err != nil {
		return err
	}
	_, err = in.Write([]byte("x"))
	return errors.Join(err, in.Close())
}

// failpoints are all that there are, and what the next worker makes of the job: its
// state, or its verdict once it is over; nothing where there is no job.
var failpoints = []struct{ name, want string }{
	{"start.admitted", ""},
	{"start.directory", ""},
	{"start.temp", ""},
	{"start.record", "start_failed worker"},
	{"start.cgroup", "start_failed worker"},
	{"start.nsinit", "start_failed worker"},
	{"start.files", "start_failed worker"},
	{"start.limits", "start_failed worker"},
	{"start.files-sent", "start_failed config"},
	{"start.config-sent", "running"},
	{"start.executed", "running"},
	{"start.running", "running"},
	{"spare.directory", ""},
	{"spare.ready", ""},
	{"stdin.written", "running"},
	{"stop.asked", "running"},
	{"stop.written", "stopped 3"},
	{"stop.begun", "stopped 3"},
	{"stop.sent", "stopped 3"},
	{"stop.noted", "stopped 3"},
	{"stop.killed", "stopped SIGKILL"},
	{"end.nsinit", "stopped 3"},
	{"end.measured", "stopped 3"},
	{"end.log", "stopped 3"},
	{"end.temp", "stopped 3"},
	{"end.record", "stopped 3"},
	{"end.cgroup", "stopped 3"},
	{"end.shown", "stopped 3"},
	{"remove.forgotten", "stopped 3"},
	{"remove.renamed", ""},
}

// TestFailpoints kills a worker at every failpoint, and has the next one take over.
func TestFailpoints(t *testing.T) {
	kerneltest.Root(t)
	for _, tt := range failpoints {
		t.Run(tt.name, func(t *testing.T) {
			s := &crashSite{t: t, dir: t.TempDir(), root: cgroupRoot()}
			s.fail(tt.name)
			t.Cleanup(func() { removeTree(t, s.root) })
			w := openWorker(t, s.dir, func(c *job.Config) { *c = s.config() })
			jobs, _, err := w.List(job.Filter{})
			if err != nil || len(jobs) > 1 || (len(jobs) == 0) != (tt.want == "") {
				t.Fatalf("jobs %+v, %v, want %q", jobs, err, tt.want)
			}
			for _, j := range jobs {
				s.check(w, j, tt.want)
				if err := w.Remove(t.Context(), j.ID, ""); err != nil {
					t.Error(err)
				}
			}
			checkNoProcess(t, s.root)
			if left, err := os.ReadDir(filepath.Join(s.dir, "state", "jobs")); err != nil || len(left) != 0 {
				t.Errorf("left in the directory of jobs: %v, %v", left, err)
			}
		})
	}
}

// fail has the helper killed at a failpoint.
func (s *crashSite) fail(name string) {
	s.t.Helper()
	helper := "failpoint"
	if strings.HasPrefix(name, "spare.") {
		helper = "spare failpoint"
	}
	cmd, stderr := helperCommand(s.t, helper, s.config().StateDir, s.root)
	cmd.Env = append(cmd.Env, failpoint.Variable+"="+name)
	cmd.Run() // says that it was killed, which is what is to be
	if st := cmd.ProcessState.Sys().(interface{ Signal() unix.Signal }); st.Signal() != unix.SIGKILL {
		s.t.Fatalf("helper: %v, want it killed: %s", cmd.ProcessState, stderr)
	}
}

// check checks what has become of a job, and ends it if it goes on. A worker dies
// before or after the program ends, but the job has one end.
func (s *crashSite) check(w *job.Worker, j job.Job, want string) {
	s.t.Helper()
	id := j.ID
	if want == string(job.Running) {
		if j.State != job.Running {
			s.t.Errorf("job %+v, want it running", j)
		}
		if n := j.StdinBytes; n > 1 {
			s.t.Errorf("%d bytes of input, of which there was one", n)
		}
		if err := s.mayStop(w, id); err != nil {
			s.t.Error(err)
		}
		want = "stopped 3"
	}
	j = wait(s.t, w, id)
	if got := reason(j); got != want {
		s.t.Errorf("verdict %q, %+v, want %q", got, j.Verdict, want)
	}
	out := output(s.t, w, id, "")
	if int64(len(out)) != j.OutputBytes {
		s.t.Errorf("output %q, want %d bytes", out, j.OutputBytes)
	}
	if want == "stopped 3" && out != "ready\nbye\n" {
		s.t.Errorf("output %q, want a signal to have come once it was ready", out)
	}
	checkLog(s.t, s.dir, j)
}

// mayStop stops a job that has been started, when it can be.
func (s *crashSite) mayStop(w *job.Worker, id string) error {
	ctx, cancel := context.WithTimeout(s.t.Context(), limit)
	defer cancel()
	if err := awaitOutput(ctx, w, id); err != nil {
		return err
	}
	_, err := w.Stop(ctx, id, job.StopOptions{By: "eve"})
	return err
}
