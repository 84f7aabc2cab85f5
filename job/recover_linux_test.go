package job_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"jobworker/cgroupv2"
	"jobworker/internal/kerneltest"
	"jobworker/job"
	"jobworker/nsinit"
	"jobworker/stream"
)

// helperEnv names the helper that this test binary is to be, instead of tests.
const helperEnv = "JOB_TEST_HELPER"

// helpers are other programs that the tests need.
var helpers = map[string]func() error{"worker": helpWorker}

// crashed are the jobs that the helper "worker" leaves behind.
type crashed struct {
	Ended   string // over
	Running string // writes, and goes on
	Orphan  string // goes on until its FIFO "go" is written to, and then exits 7
	Sum     string // a calculate, stopped by SIGSTOP
}

// helpWorker opens a worker as its arguments say, starts jobs, says which, and
// waits to be killed.
func helpWorker() error {
	ctx := context.Background()
	w, err := job.Open(job.Config{StateDir: os.Args[1], CgroupRoot: os.Args[2], AllowMissingControllers: true, Spare: true})
	if err != nil {
		return err
	}
	var ids []string
	for _, script := range []string{
		"echo over; exit 5",
		"trap '' TERM; setsid sleep 1000 & echo ready; while :; do echo tick; sleep .01; done",
		"mkfifo go; echo ready; read line < go; echo last words; exit 7",
	} {
		j, _, err := w.Start(ctx, job.StartOptions{Owner: "alice", Key: script, Spec: sh(script)})
		if err != nil {
			return err
		}
		r, err := w.Output(j.ID, stream.Query{Follow: true})
		if err != nil {
			return err
		}
		for lines := []byte(nil); !bytes.Contains(lines, []byte(`"output"`)); {
			if lines, err = r.Next(ctx); err != nil {
				return err
			}
		}
		ids = append(ids, j.ID)
	}
	if _, err := w.Wait(ctx, ids[0]); err != nil {
		return err
	}
	sum, _, err := w.Start(ctx, job.StartOptions{Owner: "alice", Spec: job.CalculateSpec(1, "late")})
	if err == nil {
		err = w.Signal(sum.ID, "STOP", "")
	}
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(crashed{ids[0], ids[1], ids[2], sum.ID}); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// crash runs the helper "worker" until its jobs run, calls meanwhile, and kills
// it.
func crash(t *testing.T, state, root string, meanwhile func()) crashed {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, state, root)
	cmd.Env = append(os.Environ(), helperEnv+"=worker")
	cmd.Stderr = os.Stderr
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
	var c crashed
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &c)
	}
	if err == nil {
		meanwhile()
	}
	if err := errors.Join(err, cmd.Process.Kill()); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); cmd.ProcessState.Exited() {
		t.Fatalf("helper: %v, want it killed", err)
	}
	return c
}

// TestCrash kills a worker with SIGKILL while its jobs run, and opens another on
// what it left.
func TestCrash(t *testing.T) {
	kerneltest.Root(t)
	dir, root := t.TempDir(), cgroupRoot()
	state := filepath.Join(dir, "state")
	cfg := job.Config{StateDir: state, CgroupRoot: root, AllowMissingControllers: true}
	ids := crash(t, state, root, func() {
		w, err := job.Open(cfg)
		if err == nil {
			t.Fatal(errors.Join(errors.New("two workers have one state directory"), w.Shutdown(t.Context())))
		}
		if want := "open worker: state directory " + state + ": in use by another worker"; err.Error() != want {
			t.Errorf("second worker: %v, want %s", err, want)
		}
	})
	t.Cleanup(func() { removeTree(t, root) }) // after the worker below is shut down
	endOrphan(t, root, ids.Orphan, func() error {
		return os.WriteFile(filepath.Join(state, "jobs", ids.Orphan, "scratch", "go"), []byte("go\n"), 0)
	})
	endOrphan(t, root, ids.Sum, func() error {
		return nsinit.Signal(filepath.Join(state, "jobs", ids.Sum, "control"), int(unix.SIGCONT))
	})

	w := openWorker(t, dir, func(c *job.Config) { *c = cfg })
	for _, tt := range []struct{ id, verdict, output string }{
		{ids.Ended, "exited 5", "over\n"},
		{ids.Orphan, "exited 7", "ready\nlast words\n"},
		{ids.Running, "lost ", "ready\ntick\n"},
		{ids.Sum, "exited 0", "late\n"},
	} {
		j := status(t, w, tt.id)
		if j.State != job.Ended || verdict(j) != tt.verdict || j.EndedAt == nil {
			t.Errorf("job %+v, verdict %q, want %q", j, verdict(j), tt.verdict)
		}
		if out := output(t, w, tt.id, ""); !strings.HasPrefix(out, tt.output) || int64(len(out)) != j.OutputBytes {
			t.Errorf("job %s wrote %.100q, %d of %d bytes, want %q", tt.id, out, len(out), j.OutputBytes, tt.output)
		}
		checkLog(t, dir, j)
	}
	checkNoProcess(t, root)
	if entries, err := os.ReadDir(filepath.Join(state, "jobs")); err != nil || len(entries) != 4 {
		t.Errorf("directories of jobs: %v, %v, want four", entries, err)
	}
	if v := status(t, w, ids.Running).Verdict; v.Stage != "nsinit" || v.Error == "" || v.Code != nil {
		t.Errorf("verdict of the job that was killed: %+v", v)
	}
	checkEnds(t, w, ids)
	checkForgotten(t, w, ids)
}

// checkEnds fails unless the ends that nobody has seen are the worker's first events.
func checkEnds(t *testing.T, w *job.Worker, ids crashed) {
	t.Helper()
	got := make(map[string]string)
	list := until(t, all(t, w), job.WorkerReady)
	for _, e := range list[:len(list)-1] {
		got[e.Job] = words([]job.Event{e})
	}
	want := map[string]string{ids.Running: "job.ended lost", ids.Orphan: "job.ended exited", ids.Sum: `job.ended exited "late"`}
	if !maps.Equal(got, want) || len(list) != len(want)+1 {
		t.Errorf("events of the ends: %v, want %v", got, want)
	}
}

// openTree opens a tree of cgroups that is there, and takes no part of it away
// when it is closed.
func openTree(t *testing.T, root string) *cgroupv2.Tree {
	t.Helper()
	tree, err := cgroupv2.Open(cgroupv2.Config{Root: root, AllowMissing: true})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// removeTree removes the cgroups of a tree that no worker took away, because the
// one that made them is dead.
func removeTree(t *testing.T, root string) {
	t.Helper()
	tree := openTree(t, root)
	path := tree.Path()
	if err := errors.Join(tree.Close(), os.Remove(filepath.Join(path, "jobs")), os.Remove(path)); err != nil {
		t.Error(err)
	}
}

// endOrphan ends a job that no worker looks after, and waits until it has.
func endOrphan(t *testing.T, root, id string, end func() error) {
	t.Helper()
	if err := end(); err != nil {
		t.Fatal(err)
	}
	tree := openTree(t, root)
	defer tree.Close()
	g, err := tree.Group(id)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := g.WaitEmpty(ctx); err != nil {
		t.Fatal(err)
	}
}

// checkNoProcess fails if a process is in the cgroup or a cgroup of a job below
// it.
func checkNoProcess(t *testing.T, root string) {
	t.Helper()
	tree := openTree(t, root)
	defer tree.Close()
	if groups, err := tree.Groups(); err != nil || len(groups) != 0 {
		t.Errorf("cgroups of jobs: %q, %v, want none", groups, err)
	}
	events, err := os.ReadFile(filepath.Join(tree.Path(), "cgroup.events"))
	if err != nil || !strings.Contains(string(events), "populated 0") {
		t.Errorf("cgroup.events %q, %v, want no process", events, err)
	}
}

// checkForgotten removes the jobs of an earlier worker, whose keys are known
// until then.
func checkForgotten(t *testing.T, w *job.Worker, ids crashed) {
	t.Helper()
	j := status(t, w, ids.Ended)
	again, existing, err := w.Start(t.Context(), job.StartOptions{Owner: j.Owner, Key: j.Argv[2], Spec: sh(j.Argv[2])})
	if err != nil || !existing || again.ID != j.ID {
		t.Errorf("start with the key of job %s: %s, %v, %v", j.ID, again.ID, existing, err)
	}
	for _, id := range []string{ids.Ended, ids.Running, ids.Orphan, ids.Sum} {
		if _, err := w.Stop(t.Context(), id, job.StopOptions{}); err != nil {
			t.Errorf("stop: %v", err)
		}
		if err := w.Signal(id, "TERM", "bob"); !errors.Is(err, job.ErrEnded) {
			t.Errorf("signal: %v, want ErrEnded", err)
		}
		if err := w.Remove(t.Context(), id, "bob"); err != nil {
			t.Errorf("remove: %v", err)
		}
	}
	if jobs, _, err := w.List(job.Filter{}); err != nil || len(jobs) != 0 {
		t.Errorf("left in the list: %v, %v", jobs, err)
	}
}

// TestStateDirRefused: whoever else can write to a state directory decides what
// runs as whom.
func TestStateDirRefused(t *testing.T) {
	kerneltest.Root(t)
	for _, tt := range []struct {
		name  string
		setUp func(dir string) error
		want  string
	}{
		{"open to a group", func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o750)) }, "mode 0750 lets others in: chmod 0700 it"},
		{"open to all", func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chmod(dir, 0o701)) }, "mode 0701 lets others in"},
		{"a file", func(dir string) error { return os.WriteFile(dir, nil, 0o600) }, "not a directory"},
		{"a link to a directory", func(dir string) error { return errors.Join(os.Mkdir(dir+"2", 0o700), os.Symlink(dir+"2", dir)) }, "is not a directory"},
		{"a link to nowhere", func(dir string) error { return os.Symlink(dir+"2", dir) }, "file exists"},
		{"another user's", func(dir string) error { return errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, 12345, 0)) }, "belongs to user 12345, not to root"},
		{"a lock that is a link", func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o700), os.Symlink("/etc/passwd", filepath.Join(dir, "lock")))
		}, "lock: too many levels of symbolic links"},
		{"jobs that are a file", func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "jobs"), nil, 0o600))
		}, "jobs: not a directory"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state")
			if err := tt.setUp(dir); err != nil {
				t.Fatal(err)
			}
			w, err := job.Open(job.Config{StateDir: dir, CgroupRoot: cgroupRoot(), AllowMissingControllers: true})
			if err == nil {
				t.Fatal(errors.Join(errors.New("it was accepted"), w.Shutdown(t.Context())))
			}
			if !strings.HasPrefix(err.Error(), "open worker: ") || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
}

// TestConfigRefused: the message names the part of the configuration.
func TestConfigRefused(t *testing.T) {
	kerneltest.Root(t)
	good := job.Config{StateDir: filepath.Join(t.TempDir(), "state"), CgroupRoot: cgroupRoot(), AllowMissingControllers: true}
	for _, tt := range []struct {
		change func(*job.Config)
		want   string
	}{
		{func(c *job.Config) { c.StateDir = "" }, "state directory: is missing"},
		{func(c *job.Config) { c.StateDir = "state" }, `state directory: "state": must be an absolute path`},
		{func(c *job.Config) { c.UIDBase = 999 }, "uid base: 999: must be 1000 or more"},
		{func(c *job.Config) { c.UIDCount = 1<<32 - 1 }, "uid count: 4294967295: goes beyond"},
		{func(c *job.Config) { c.DefaultMemory = -1 }, "limits.memory_bytes: -1: must be"},
		{func(c *job.Config) { c.DefaultPids = -1 }, "limits.pids: -1: must be"},
		{func(c *job.Config) { c.Expose = []string{"/srv", "/proc"} }, `exposed directory: "/proc": jobs have`},
		{func(c *job.Config) { c.Expose = []string{"/nowhere"} }, "exposed directory: lstat /nowhere: no such file or directory"},
		{func(c *job.Config) { c.Expose = []string{"/usr/bin/env"} }, "exposed directory /usr/bin/env: is not a directory"},
		{func(c *job.Config) { c.CgroupRoot = "../x" }, `../x`},
	} {
		c := good
		tt.change(&c)
		w, err := job.Open(c)
		if err == nil {
			t.Fatal(errors.Join(fmt.Errorf("%+v was accepted", c), w.Shutdown(t.Context())))
		}
		if !strings.HasPrefix(err.Error(), "open worker: ") || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, want %s", err, tt.want)
		}
	}
}

// TestCorruptRecords: a job whose record cannot be read is left out and said,
// and its files are left to whoever can make sense of them.
func TestCorruptRecords(t *testing.T) {
	dir := t.TempDir()
	w := openWorker(t, dir)
	whole, _ := run(t, w, sh("echo kept"))
	damage := map[string]func(name string) error{
		"empty":     func(name string) error { return os.Truncate(name, 0) },
		"half":      func(name string) error { return os.Truncate(name, 100) },
		"missing":   os.Remove,
		"another's": func(name string) error { return copyRecord(filepath.Join(dir, "state", "jobs", whole.ID), name) },
	}
	ids := make(map[string]string)
	for name := range damage {
		j, _ := run(t, w, sh("echo kept"))
		ids[name] = j.ID
	}
	if err := w.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, do := range damage {
		if err := do(filepath.Join(dir, "state", "jobs", ids[name], "record.json")); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	w = openWorker(t, dir, func(c *job.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	for name, id := range ids {
		if _, err := w.Status(id); !errors.Is(err, job.ErrNotFound) {
			t.Errorf("%s: %v, want ErrNotFound", name, err)
		}
		if b, err := os.ReadFile(filepath.Join(dir, "state", "jobs", id, "output.jsonl")); err != nil || !bytes.Contains(b, []byte("kept")) {
			t.Errorf("%s: its log is %q, %v", name, b, err)
		}
		if !strings.Contains(log.String(), "job="+id) {
			t.Errorf("%s: job %s is not in the log:\n%s", name, id, &log)
		}
	}
	if jobs, _, err := w.List(job.Filter{}); err != nil || len(jobs) != 1 || jobs[0].ID != whole.ID {
		t.Errorf("list %+v, %v, want job %s alone", jobs, err, whole.ID)
	}
}

func copyRecord(dir, name string) error {
	b, err := os.ReadFile(filepath.Join(dir, "record.json"))
	return errors.Join(err, os.WriteFile(name, b, 0o600))
}
