package job_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"jobworker/internal/kerneltest"
	"jobworker/job"
	"jobworker/nsinit"
	"jobworker/stream"
)

// helperEnv names the helper that this test binary is to be, instead of tests.
const helperEnv = "JOB_TEST_HELPER"

// helpers are other programs that the tests need. Their arguments are the state
// directory and the cgroup of the worker that each of them is.
var helpers = map[string]helper{"worker": {true, helpWorker}}

// A helper is what it does with its worker.
type helper struct {
	spare bool // Config.Spare
	run   func(w *job.Worker) error
}

// help is main of a helper.
func help(h helper) error {
	w, err := job.Open(job.Config{StateDir: os.Args[1], CgroupRoot: os.Args[2], AllowMissingControllers: true, Spare: h.spare})
	if err != nil {
		return err
	}
	return h.run(w)
}

// The jobs that the helper "worker" leaves behind, by name. All but the first write
// "ready".
var leftJobs = map[string]job.Spec{
	"over":     sh("echo over; exit 5"),
	"writing":  sh("trap '' TERM; setsid sleep 1000 & echo ready; i=0; while :; do echo $i; i=$((i+1)); sleep .01; done"),
	"orphan":   sh("mkfifo go; echo ready; read line < go; echo last words; exit 7"),
	"stopping": sh("trap 'echo asked' TERM; echo ready; while :; do sleep .01; done"),
	"handler":  sh("trap 'exit 9' USR1; echo ready; while :; do sleep .01; done"),
	"slow":     {Argv: sh("echo ready; exec sleep 1000").Argv, Timeout: job.Duration(3 * time.Second)},
	"late":     {Argv: sh("echo ready; exec sleep 1000").Argv, Timeout: job.Duration(time.Second)},
	"killed":   sh("echo ready; exec sleep 1000"),
	"reader":   reading("echo ready; exec sha256sum"),
	"fed":      reading("mkfifo go; echo ready; read line < go; exec sha256sum"),
}

// helpWorker starts the jobs, says their ids, and waits to be killed.
func helpWorker(w *job.Worker) error {
	ctx := context.Background()
	ids := make(map[string]string)
	for name, spec := range leftJobs {
		j, _, err := w.Start(ctx, job.StartOptions{Owner: "alice", Key: name, Spec: spec})
		if err == nil {
			ids[name], err = j.ID, awaitOutput(ctx, w, j.ID)
		}
		if err != nil {
			return fmt.Errorf("job %q: %w", name, err)
		}
	}
	sum, _, err := w.Start(ctx, job.StartOptions{Owner: "alice", Spec: job.CalculateSpec(1, "late")})
	if err != nil {
		return err
	}
	ids["sum"] = sum.ID
	for _, err := range []error{
		w.Signal(sum.ID, "STOP", ""),
		stopAndGo(w, ids["stopping"]),
		feed(ctx, w, ids["reader"], 0, false),
		feed(ctx, w, ids["fed"], 0, true),
	} {
		if err != nil {
			return err
		}
	}
	if _, err := w.Wait(ctx, ids["over"]); err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(ids); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// awaitOutput returns when the job has written something.
func awaitOutput(ctx context.Context, w *job.Worker, id string) error {
	r, err := w.Output(id, stream.Query{Follow: true})
	if err != nil {
		return err
	}
	defer r.Close()
	for lines := []byte(nil); !bytes.Contains(lines, []byte(`"output"`)); {
		if lines, err = r.Next(ctx); err != nil {
			return err
		}
	}
	return nil
}

// stopAndGo asks a job to end within an hour, and does not wait for that.
func stopAndGo(w *job.Worker, id string) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	asked := make(chan error, 1)
	go func() {
		_, err := w.Stop(ctx, id, job.StopOptions{By: "bob", Grace: duration(time.Hour)})
		asked <- err
	}()
	for {
		j, err := w.Status(id)
		if err != nil {
			return err
		}
		if j.State == job.Stopping {
			break
		}
		runtime.Gosched()
	}
	cancel()
	if err := <-asked; !errors.Is(err, context.Canceled) {
		return fmt.Errorf("stop: %w", err)
	}
	return nil
}

// fedBytes is half of the input of the jobs that read. One of them does not before the
// worker is killed: the pipes have to hold it.
const fedBytes = 1 << 20

// feed gives a job its input from offset on.
func feed(ctx context.Context, w *job.Worker, id string, offset int64, end bool) error {
	in, err := w.Stdin(ctx, id, offset)
	if err != nil {
		return err
	}
	_, err = in.Write(make([]byte, fedBytes))
	if end {
		err = errors.Join(err, in.End())
	}
	return errors.Join(err, in.Close())
}

// helperCommand is the command of a helper, with a pipe for its standard error.
func helperCommand(t *testing.T, name, state, root string) (cmd *exec.Cmd, stderr *bytes.Buffer) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.CommandContext(t.Context(), exe, state, root)
	cmd.Env = append(os.Environ(), helperEnv+"="+name)
	stderr = new(bytes.Buffer)
	cmd.Stderr = stderr
	cmd.WaitDelay = time.Nanosecond // the nsinits that it leaves have it too
	return cmd, stderr
}

// crash runs a helper until it has said something, which it returns, calls
// meanwhile, and kills it. Nobody reads its standard error after.
func crash(t *testing.T, name, state, root string, meanwhile func()) (said []byte) {
	t.Helper()
	cmd, stderr := helperCommand(t, name, state, root)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said, err = bufio.NewReader(stdout).ReadBytes('\n')
	if err == nil {
		meanwhile()
	}
	err = errors.Join(err, cmd.Process.Kill())
	cmd.Wait() // says that it was killed, and that there are nsinits with its standard error
	if err != nil || cmd.ProcessState.Exited() {
		t.Fatalf("helper: %v, %v, want it killed: %s", err, cmd.ProcessState, stderr)
	}
	return said
}

// A crashSite is what a worker that was killed has left.
type crashSite struct {
	t    *testing.T
	dir  string // its state directory is dir/state
	root string // cgroup
	ids  map[string]string
}

// leaveJobs has the helper "worker" killed.
func leaveJobs(t *testing.T) *crashSite {
	t.Helper()
	kerneltest.Root(t)
	s := &crashSite{t: t, dir: t.TempDir(), root: cgroupRoot()}
	cfg := s.config()
	said := crash(t, "worker", cfg.StateDir, s.root, func() {
		w, err := job.Open(cfg)
		if err == nil {
			t.Fatal(errors.Join(errors.New("two workers have one state directory"), w.Shutdown(t.Context())))
		}
		if want := "open worker: state directory " + cfg.StateDir + ": in use by another worker"; err.Error() != want {
			t.Errorf("second worker: %v, want %s", err, want)
		}
	})
	t.Cleanup(func() { removeTree(t, s.root) }) // after the workers that are opened later are shut down
	if err := json.Unmarshal(said, &s.ids); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *crashSite) config() job.Config {
	return job.Config{StateDir: filepath.Join(s.dir, "state"), CgroupRoot: s.root, AllowMissingControllers: true}
}

// file names a file of a job.
func (s *crashSite) file(name, file string) string {
	return filepath.Join(s.dir, "state", "jobs", s.ids[name], file)
}

// endOrphan ends a job that no worker looks after, and waits until it has.
func (s *crashSite) endOrphan(name string, end func() error) {
	s.t.Helper()
	if err := end(); err != nil {
		s.t.Fatal(err)
	}
	tree := openTree(s.t, s.root)
	defer tree.Close()
	g, err := tree.Group(s.ids[name])
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), limit)
	defer cancel()
	if err := g.WaitEmpty(ctx); err != nil {
		s.t.Fatal(err)
	}
}

// tellGo has a job go on that waits for that.
func (s *crashSite) tellGo(name string) error {
	return os.WriteFile(filepath.Join(s.file(name, "scratch"), "go"), []byte("go\n"), 0)
}

// kill kills the nsinit of a job.
func (s *crashSite) kill(name string) error {
	tree := openTree(s.t, s.root)
	defer tree.Close()
	g, err := tree.Group(s.ids[name])
	if err != nil {
		return err
	}
	pids, err := g.InitPIDs()
	if err != nil || len(pids) != 1 {
		return fmt.Errorf("processes in the cgroup of nsinit: %v, %w", pids, err)
	}
	return unix.Kill(pids[0], unix.SIGKILL)
}

// TestCrash kills a worker with SIGKILL while its jobs run: they go on, and the next
// worker takes them over where that one left them.
func TestCrash(t *testing.T) {
	s := leaveJobs(t)
	s.endOrphan("orphan", func() error { return s.tellGo("orphan") })
	s.endOrphan("sum", func() error { return nsinit.Signal(s.file("sum", "control"), int(unix.SIGCONT)) })
	s.endOrphan("killed", func() error { return s.kill("killed") })
	s.endOrphan("fed", func() error { return s.tellGo("fed") })

	w := openWorker(t, s.dir, func(c *job.Config) { *c = s.config() })
	s.checkEnds(w)
	s.checkOver(w)
	s.checkWriting(w)
	s.checkInput(w)
	s.checkStops(w)
	checkNoProcess(t, s.root)
	s.checkForgotten(w)
}

// checkEnds fails unless the ends that nobody has seen are the worker's first events.
func (s *crashSite) checkEnds(w *job.Worker) {
	s.t.Helper()
	got := make(map[string]string)
	for _, e := range until(s.t, all(s.t, w), job.WorkerReady) {
		if e.Type == job.JobEnded {
			got[e.Job] += words([]job.Event{e})
		}
	}
	delete(got, s.ids["late"]) // which is due at the same moment
	want := map[string]string{s.ids["orphan"]: "job.ended exited", s.ids["sum"]: `job.ended exited "late"`,
		s.ids["killed"]: "job.ended lost", s.ids["fed"]: "job.ended exited"}
	if !maps.Equal(got, want) {
		s.t.Errorf("events of the ends: %v, want %v", got, want)
	}
}

// checkOver checks the jobs that ended while there was no worker, and before.
func (s *crashSite) checkOver(w *job.Worker) {
	s.t.Helper()
	for name, want := range map[string]string{"over": "exited 5", "orphan": "exited 7", "sum": "exited 0", "killed": "lost ", "fed": "exited 0"} {
		j := status(s.t, w, s.ids[name])
		if j.State != job.Ended || verdict(j) != want || j.StartedAt == nil || j.EndedAt == nil || j.EndedAt.Before(*j.StartedAt) || j.Usage.CPUSeconds <= 0 {
			s.t.Errorf("%s: %+v, verdict %q, want %q", name, j, verdict(j), want)
		}
		if out := output(s.t, w, j.ID, ""); int64(len(out)) != j.OutputBytes {
			s.t.Errorf("%s wrote %.100q, %d of %d bytes", name, out, len(out), j.OutputBytes)
		}
		checkLog(s.t, s.dir, j)
	}
	if out := output(s.t, w, s.ids["orphan"], ""); out != "ready\nlast words\n" {
		s.t.Errorf("orphan wrote %q", out)
	}
	if v := status(s.t, w, s.ids["killed"]).Verdict; v.Stage != "nsinit" || v.Error == "" || v.Code != nil {
		s.t.Errorf("verdict of the job whose nsinit was killed: %+v", v)
	}
}

// checkWriting follows a job that goes on writing from where a follower of the first
// worker would have stopped, and stops it.
func (s *crashSite) checkWriting(w *job.Worker) {
	s.t.Helper()
	id := s.ids["writing"]
	begin := int64(len("ready\n0\n"))
	r, err := w.Output(id, stream.Query{Follow: true, Offset: begin})
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Close()
	if j := status(s.t, w, id); j.State != job.Running || j.OutputBytes <= begin || !reflect.DeepEqual(j.Limits, s.limits(w)) {
		s.t.Errorf("writing: %+v, want it running with limits %+v", j, s.limits(w))
	}
	j, err := w.Stop(s.t.Context(), id, job.StopOptions{By: "eve", Grace: duration(50 * time.Millisecond)})
	if err != nil || verdict(j) != "stopped SIGKILL" || j.Verdict.By != "eve" {
		s.t.Errorf("stop: %+v, %v", j, err)
	}
	out, err := payload(s.t, r)
	if err != nil || int64(len(out)) != j.OutputBytes-begin {
		s.t.Fatalf("output: %d bytes, %v, want %d", len(out), err, j.OutputBytes-begin)
	}
	n := 0
	for line := range strings.Lines(string(out)) {
		if n++; line != strconv.Itoa(n)+"\n" {
			s.t.Fatalf("line %d is %q", n, line)
		}
	}
	checkLog(s.t, s.dir, j)
}

// limits are those that a job gets which asks for none.
func (s *crashSite) limits(w *job.Worker) job.Limits {
	j, _ := run(s.t, w, sh("true"))
	if err := w.Remove(s.t.Context(), j.ID, ""); err != nil {
		s.t.Error(err)
	}
	return j.Limits
}

// checkInput goes on with an input, whose count the second worker did not keep.
func (s *crashSite) checkInput(w *job.Worker) {
	s.t.Helper()
	id := s.ids["reader"]
	if j := status(s.t, w, id); j.StdinBytes != fedBytes {
		s.t.Errorf("input accepted: %d bytes, want %d", j.StdinBytes, fedBytes)
	}
	stdinRefused(s.t, w, id, 0, job.ErrStdinOffset, fedBytes)
	if err := feed(s.t.Context(), w, id, fedBytes, true); err != nil {
		s.t.Fatal(err)
	}
	for name, size := range map[string]int64{"reader": 2 * fedBytes, "fed": fedBytes} {
		j := wait(s.t, w, s.ids[name])
		want := fmt.Sprintf("ready\n%x  -\n", sha256.Sum256(make([]byte, size)))
		if out := output(s.t, w, j.ID, ""); out != want || j.StdinBytes != size {
			s.t.Errorf("%s: %q of %d bytes, want %q of %d", name, out, j.StdinBytes, want, size)
		}
	}
}

// checkStops: what was asked of a job before the crash, and what is asked after.
func (s *crashSite) checkStops(w *job.Worker) {
	s.t.Helper()
	id := s.ids["stopping"]
	if j := status(s.t, w, id); j.State != job.Stopping {
		s.t.Errorf("stopping: %+v", j)
	}
	if _, err := w.Stop(s.t.Context(), id, job.StopOptions{By: "eve", Grace: duration(0)}); err != nil {
		s.t.Error(err)
	}
	if j := status(s.t, w, id); verdict(j) != "stopped SIGKILL" || j.Verdict.By != "bob" {
		s.t.Errorf("stopping: verdict %q by %q, want bob's stop", verdict(j), j.Verdict.By)
	}
	if out := output(s.t, w, id, ""); out != "ready\nasked\n" {
		s.t.Errorf("stopping wrote %q, want one signal", out)
	}
	if err := w.Signal(s.ids["handler"], "USR1", "eve"); err != nil {
		s.t.Error(err)
	}
	for name, want := range map[string]string{"handler": "exited 9", "slow": "timed_out SIGTERM", "late": "timed_out SIGTERM"} {
		j := wait(s.t, w, s.ids[name])
		if verdict(j) != want || j.EndedAt.Sub(*j.StartedAt) < time.Duration(j.Timeout) {
			s.t.Errorf("%s: %q from %v to %v, want %q", name, verdict(j), j.StartedAt, j.EndedAt, want)
		}
	}
}

// checkForgotten removes the jobs of an earlier worker, whose keys are known
// until then.
func (s *crashSite) checkForgotten(w *job.Worker) {
	s.t.Helper()
	again, existing, err := w.Start(s.t.Context(), job.StartOptions{Owner: "alice", Key: "orphan", Spec: leftJobs["orphan"]})
	if err != nil || !existing || again.ID != s.ids["orphan"] {
		s.t.Errorf("start with the key of job %s: %s, %v, %v", s.ids["orphan"], again.ID, existing, err)
	}
	for _, id := range s.ids {
		if _, err := w.Stop(s.t.Context(), id, job.StopOptions{}); err != nil {
			s.t.Errorf("stop: %v", err)
		}
		if err := w.Signal(id, "TERM", "bob"); !errors.Is(err, job.ErrEnded) {
			s.t.Errorf("signal: %v, want ErrEnded", err)
		}
		if err := w.Remove(s.t.Context(), id, "bob"); err != nil {
			s.t.Errorf("remove: %v", err)
		}
	}
	if jobs, _, err := w.List(job.Filter{}); err != nil || len(jobs) != 0 {
		s.t.Errorf("left in the list: %v, %v", jobs, err)
	}
	if entries, err := os.ReadDir(filepath.Join(s.dir, "state", "jobs")); err != nil || len(entries) != 0 {
		s.t.Errorf("left in the directory of jobs: %v, %v", entries, err)
	}
}

// TestLeave: a worker that leaves its jobs closes everything but them.
func TestLeave(t *testing.T) {
	dir, root := t.TempDir(), cgroupRoot()
	same := func(c *job.Config) { c.CgroupRoot = root }
	w := openWorker(t, dir, same)
	j := started(t, w, sh("echo ready; exec sleep 1000"))
	asked := started(t, w, sh("trap 'sleep .1; echo bye; exit 3' TERM; echo ready; while :; do sleep .01; done"))
	if err := stopAndGo(w, asked.ID); err != nil {
		t.Fatal(err)
	}
	over, _ := run(t, w, sh("exit 4"))
	if err := w.Leave(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Leave(), w.Shutdown(t.Context())); !errors.Is(err, job.ErrClosed) {
		t.Errorf("leave and shutdown: %v, want ErrClosed", err)
	}
	w = openWorker(t, dir, same)
	if got := status(t, w, j.ID); got.State != job.Running || !got.StartedAt.Equal(*j.StartedAt) {
		t.Errorf("job %+v, want it running since %v", got, j.StartedAt)
	}
	if got := wait(t, w, asked.ID); verdict(got) != "stopped 3" || got.Verdict.By != "bob" {
		t.Errorf("job %+v, verdict %q, want bob's stop", got, verdict(got))
	}
	if got := status(t, w, over.ID); !reflect.DeepEqual(got, over) {
		t.Errorf("job that was over: %+v, was %+v", got, over)
	}
	if err := errors.Join(w.Shutdown(t.Context())); err != nil {
		t.Fatal(err)
	}
	removeTree(t, root)
}

// TestCgroupTaken: what is in a cgroup that two workers used would be nobody's.
func TestCgroupTaken(t *testing.T) {
	root := cgroupRoot()
	w := openWorker(t, t.TempDir(), func(c *job.Config) { c.CgroupRoot = root })
	j := started(t, w, sh("echo ready; exec sleep 1000"))
	second, err := job.Open(job.Config{StateDir: filepath.Join(t.TempDir(), "state"), CgroupRoot: root, AllowMissingControllers: true})
	if err == nil {
		t.Fatal(errors.Join(errors.New("two workers have one cgroup"), second.Shutdown(t.Context())))
	}
	if !strings.HasSuffix(err.Error(), root+": in use by another worker") {
		t.Errorf("second worker: %v, want the cgroup %s in use", err, root)
	}
	if j := status(t, w, j.ID); j.State != job.Running {
		t.Errorf("job of the first worker: %+v", j)
	}
}

// TestForeignCgroups: a cgroup that is not of a job in the state directory stays as it
// is, with what is in it.
func TestForeignCgroups(t *testing.T) {
	dir, root := t.TempDir(), cgroupRoot()
	same := func(c *job.Config) { c.CgroupRoot = root }
	w := openWorker(t, dir, same)
	t.Cleanup(func() { removeTree(t, root) })
	tree := openTree(t, root)
	defer tree.Close()
	var left []string
	for _, id := range []string{"foreign", strings.Repeat("a", 26)} {
		g, err := tree.Create(id)
		if err != nil {
			t.Fatal(err)
		}
		defer g.Remove(t.Context())
		left = append(left, id)
	}
	sleeper := exec.CommandContext(t.Context(), "sleep", "1000")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer sleeper.Wait()
	defer sleeper.Process.Kill()
	procs := filepath.Join(tree.Path(), "jobs", "foreign", "payload", "cgroup.procs")
	if err := os.WriteFile(procs, []byte(strconv.Itoa(sleeper.Process.Pid)), 0); err != nil {
		t.Fatal(err)
	}
	if err := w.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	w = openWorker(t, dir, same)
	if groups, err := tree.Groups(); err != nil || !slices.Contains(groups, left[0]) || !slices.Contains(groups, left[1]) {
		t.Errorf("cgroups %q, %v, want %q among them", groups, err, left)
	}
	if b, err := os.ReadFile(procs); err != nil || string(b) != fmt.Sprintln(sleeper.Process.Pid) {
		t.Errorf("process of the foreign cgroup: %q, %v", b, err)
	}
	if err := w.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestSetAside: a job that runs, but whose files are not in order, is left to run. It
// cannot be mistaken for another, nor another for it, and it is taken over when the
// files are in order again.
func TestSetAside(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		damage     func(b []byte) []byte
		want       string // in the log
	}{
		{"record of another version", "record.json", func(b []byte) []byte { return bytes.Replace(b, []byte(`"v":1`), []byte(`"v":2`), 1) }, "version 2: was written by a newer version"},
		{"damaged record", "record.json", func(b []byte) []byte { b[len(b)/2] ^= 1; return b }, "does not match its checksum"},
		{"half a record", "record.json", func(b []byte) []byte { return b[:len(b)/2] }, "has no checksum"},
		{"damaged exit file", "exit.json", func(b []byte) []byte { b[10] ^= 1; return b }, "does not match its checksum"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, root := t.TempDir(), cgroupRoot()
			var log bytes.Buffer
			two := func(c *job.Config) {
				c.CgroupRoot, c.UIDCount, c.Log = root, 2, slog.New(slog.NewTextHandler(&log, nil))
			}
			w := openWorker(t, dir, two)
			t.Cleanup(func() { removeTree(t, root) })
			j := started(t, w, sh("echo ready; exec sleep 1000"))
			name := filepath.Join(dir, "state", "jobs", j.ID, tt.file)
			good, err := os.ReadFile(name)
			if err := errors.Join(err, w.Leave(), os.WriteFile(name, tt.damage(bytes.Clone(good)), 0o600)); err != nil {
				t.Fatal(err)
			}
			w = openWorker(t, dir, two)
			if _, err := w.Status(j.ID); !errors.Is(err, job.ErrNotFound) {
				t.Errorf("status: %v, want ErrNotFound", err)
			}
			if s := log.String(); !strings.Contains(s, "job set aside") || !strings.Contains(s, j.ID) || !strings.Contains(s, tt.want) {
				t.Errorf("log %s: want %q", s, tt.want)
			}
			// There are two user ids, and it has one.
			start(t, w, sh("exec sleep 1000"))
			if _, _, err := w.Start(t.Context(), job.StartOptions{Owner: "alice", Spec: sh("true")}); !errors.Is(err, job.ErrNoUID) {
				t.Errorf("third job: %v, want ErrNoUID", err)
			}
			if err := errors.Join(w.Shutdown(t.Context()), os.WriteFile(name, good, 0o600)); err != nil {
				t.Fatal(err)
			}
			w = openWorker(t, dir, two)
			if j := status(t, w, j.ID); j.State != job.Running {
				t.Errorf("with its files in order again: %+v", j)
			}
		})
	}
}

// TestOtherCgroupRoot: a job that runs in another cgroup than the worker's is left to
// the worker of that.
func TestOtherCgroupRoot(t *testing.T) {
	dir, root := t.TempDir(), cgroupRoot()
	same := func(c *job.Config) { c.CgroupRoot = root }
	w := openWorker(t, dir, same)
	t.Cleanup(func() { removeTree(t, root) })
	j := started(t, w, sh("echo ready; exec sleep 1000"))
	if err := w.Leave(); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	w = openWorker(t, dir, func(c *job.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	if _, err := w.Status(j.ID); !errors.Is(err, job.ErrNotFound) || !strings.Contains(log.String(), "is this the cgroup root") {
		t.Errorf("in another cgroup: %v, log %s", err, &log)
	}
	if err := w.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	w = openWorker(t, dir, same)
	if j := status(t, w, j.ID); j.State != job.Running {
		t.Errorf("in its cgroup: %+v", j)
	}
}

// TestRestarted: after a restart of the system there is nothing of a job that ran, and
// whatever has its numbers now is not touched.
func TestRestarted(t *testing.T) {
	dir := t.TempDir()
	w := openWorker(t, dir)
	j := started(t, w, sh("echo ready; exec sleep 1000"))
	over, _ := run(t, w, sh("exit 3"))
	state := filepath.Join(dir, "state", "jobs")
	files := readFiles(t, filepath.Join(state, j.ID), "record.json", "exit.json", "output.jsonl")
	if err := w.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	files["record.json"] = reboot(t, files["record.json"])
	// The process of that number is this one, in the new boot.
	started := reidentify(t, files["exit.json"])
	for _, exit := range [][]byte{started, started[:9], nil} { // which is not synced
		files["exit.json"] = exit
		checkRestarted(t, dir, j.ID, over, files)
	}
}

// checkRestarted checks what a worker makes of the files of a job in a new boot.
func checkRestarted(t *testing.T, dir, id string, over job.Job, files map[string][]byte) {
	t.Helper()
	state := filepath.Join(dir, "state", "jobs")
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(state, id, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w := openWorker(t, dir)
	j := status(t, w, id)
	if verdict(j) != "lost " || j.Verdict.Stage != "boot" || j.State != job.Ended {
		t.Errorf("job %+v, verdict %+v, want it lost with the boot", j, j.Verdict)
	}
	if out := output(t, w, j.ID, ""); out != "ready\n" {
		t.Errorf("output %q", out)
	}
	checkLog(t, dir, j)
	if again := status(t, w, over.ID); !reflect.DeepEqual(again, over) {
		t.Errorf("job that was over: %+v, was %+v", again, over)
	}
	if err := w.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func readFiles(t *testing.T, dir string, names ...string) map[string][]byte {
	t.Helper()
	files := make(map[string][]byte)
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = b
	}
	return files
}

// reboot returns a record with the id of another boot.
func reboot(t *testing.T, b []byte) []byte {
	return reseal(t, b, func(m map[string]any) { m["boot"] = "another" })
}

// reidentify returns the first line of an exit file with this process for nsinit.
func reidentify(t *testing.T, b []byte) []byte {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	return reseal(t, append(line, '\n'), func(m map[string]any) { m["init"].(map[string]any)["pid"] = os.Getpid() })
}

// reseal changes a sealed line.
func reseal(t *testing.T, line []byte, change func(map[string]any)) []byte {
	t.Helper()
	object, err := nsinit.Unseal(line)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(object, &m); err != nil {
		t.Fatal(err)
	}
	change(m)
	if line, err = nsinit.Seal(m); err != nil {
		t.Fatal(err)
	}
	return line
}

// reason words a verdict, with its stage where there is one.
func reason(j job.Job) string {
	if v := j.Verdict; v != nil && v.Stage != "" {
		return v.Reason + " " + v.Stage
	}
	return verdict(j)
}
