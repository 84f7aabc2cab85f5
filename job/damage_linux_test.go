package job_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"jobworker/job"
	"jobworker/stream"
)

// TestDamagedFiles has a worker take over a job of which every prefix of each file, and
// each file with any byte of it damaged, is what a crash has left: the worker comes up,
// serves every job, and says nothing of how it ended that is not so.
func TestDamagedFiles(t *testing.T) {
	dir := tmpfsDir(t)
	w := openWorker(t, dir, noSpare)
	whole, out := run(t, w, sh("echo one; echo two >&2; exit 3"))
	state := filepath.Join(dir, "state", "jobs")
	files := readFiles(t, filepath.Join(state, whole.ID), "record.json", "exit.json", "output.jsonl")
	if err := w.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	d := damaged{t: t, state: state, files: unfinished(t, files)}
	d.make()

	w = openWorker(t, dir, noSpare)
	jobs, err := allJobs(w)
	if err != nil {
		t.Fatal(err)
	}
	ends := map[string]int{}
	for _, j := range jobs {
		ends[reason(j)]++
		if err := d.check(w, j, out); err != nil {
			t.Errorf("%s: %v: %+v", d.what[j.ID], err, j.Verdict)
		}
	}
	// With its record damaged a job is set aside; without a line of the exit file it
	// is not known how it ended, or that it ever began.
	for _, want := range []string{"exited 3", "lost exit file", "lost nsinit", "start_failed worker"} {
		if ends[want] == 0 {
			t.Errorf("ends %v, want %q among them", ends, want)
		}
	}
	if len(ends) != 4 || len(jobs) != d.known+1 {
		t.Errorf("%d jobs are known, want %d: %v", len(jobs), d.known+1, ends)
	}
	t.Logf("%d damaged jobs, %d of them set aside: %v", len(d.what), len(d.what)-d.known, ends)
}

// unfinished returns the files of a job that has ended while there was no worker.
func unfinished(t *testing.T, files map[string][]byte) map[string][]byte {
	t.Helper()
	log := files["output.jsonl"]
	log = log[:bytes.LastIndexByte(log[:len(log)-1], '\n')+1]
	return map[string][]byte{"exit.json": files["exit.json"], "output.jsonl": log, "record.json": reseal(t, files["record.json"], func(m map[string]any) {
		m["state"] = "starting"
		for _, name := range []string{"started_at", "ended_at", "verdict", "limits"} {
			delete(m, name)
		}
	})}
}

// damaged makes directories of jobs.
type damaged struct {
	t     *testing.T
	state string
	files map[string][]byte
	what  map[string]string // by id
	known int               // jobs whose record is in order
}

func (d *damaged) make() {
	d.what = map[string]string{}
	for name, b := range d.files {
		for n := 0; n < len(b); n += stride() {
			d.one(name+" torn", name, func(b []byte) []byte { return b[:n] })
			d.one(name+" flipped", name, func(b []byte) []byte { b[n] ^= 0x04; return b })
		}
	}
}

// stride is at how many bytes of a file there is one that is damaged: each, but in
// the virtual machine.
func stride() int {
	if os.Getenv("KERNELTEST") == "vm" {
		return 16
	}
	return 1
}

// one makes the directory of a job with one damaged file.
func (d *damaged) one(what, file string, damage func(b []byte) []byte) {
	d.t.Helper()
	id := []byte(strings.Repeat("a", 26))
	for i, n := 0, len(d.what); n > 0; i, n = i+1, n/16 {
		id[i] = "bcdefghijklmnopq"[n%16]
	}
	dir := filepath.Join(d.state, string(id))
	if err := os.Mkdir(dir, 0o700); err != nil {
		d.t.Fatal(err)
	}
	d.what[string(id)] = what
	if file != "record.json" {
		d.known++
	}
	for name, b := range d.files {
		b = bytes.Clone(b)
		if name == "record.json" {
			b = reseal(d.t, b, func(m map[string]any) { m["id"], m["uid"] = string(id), job.DefaultUIDBase+len(d.what) })
		}
		if name == file {
			b = damage(b)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			d.t.Fatal(err)
		}
	}
}

// check checks what became of a job that was not set aside.
func (d *damaged) check(w *job.Worker, j job.Job, out string) error {
	what, intact := d.what[j.ID]
	if j.State != job.Ended || intact && what[:6] == "output" && reason(j) != "exited 3" {
		return errors.New("it ended, with 3")
	}
	r, err := w.Output(j.ID, stream.Query{})
	if err != nil {
		return err
	}
	defer r.Close()
	got, err := payload(d.t, r)
	if !strings.HasSuffix(what, "flipped") && (err != nil || !strings.HasPrefix(out, string(got)) && !strings.HasSuffix(out, string(got))) {
		return errors.Join(errors.New("its output is not what it wrote"), err)
	}
	return nil
}
