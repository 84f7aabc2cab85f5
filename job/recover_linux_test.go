package job_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"jobworker/cgroupv2"
	"jobworker/internal/kerneltest"
	"jobworker/job"
)

// openTree opens a tree of cgroups that is there, and takes no part of it away
// when it is closed.
func openTree(tb testing.TB, root string) *cgroupv2.Tree {
	tb.Helper()
	tree, err := cgroupv2.Open(cgroupv2.Config{Root: root, AllowMissing: true})
	if err != nil {
		tb.Fatal(err)
	}
	return tree
}

// removeTree removes the cgroups of a tree, if there are any, that no worker took
// away, because the one that made them is dead.
func removeTree(tb testing.TB, root string) {
	tb.Helper()
	tree := openTree(tb, root)
	path := tree.Path()
	if err := tree.Close(); err != nil {
		tb.Error(err)
	}
	for _, dir := range []string{filepath.Join(path, "jobs"), path} {
		if err := os.Remove(dir); err != nil && !os.IsNotExist(err) {
			tb.Error(err)
		}
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
