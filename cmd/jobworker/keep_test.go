//go:build linux

package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"jobworker/httpapi"
)

// TestKeep: a job outlives a daemon that is told to keep it and one that is killed, and
// a client that goes on at the byte where it stopped misses nothing. What terminates a
// worker ends the job even so.
func TestKeep(t *testing.T) {
	d := startChild(t, "-on-shutdown", "keep")
	c := d.client(d.url, "alice")
	s, err := c.Run(t.Context(), httpapi.Spec{Argv: []string{"sh", "-c", "echo ready; while :; do echo tick; sleep .01; done"}}, "")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	awaitReady(t, s)
	list, err := c.List(t.Context(), httpapi.ListOptions{})
	if err != nil || len(list.Jobs) != 1 {
		t.Fatalf("jobs %+v, %v, want one", list, err)
	}
	id := list.Jobs[0].ID
	d.signal()
	if last := lastLine(t, s); last != "end shutdown" {
		t.Errorf("the stream ends with %q, want end shutdown", last)
	}
	d.wait(0)

	d = d.startChild(t)
	follow(t, d, id, int64(len("ready\n")))
	if err := d.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	d.cmd.Wait() // says that it was killed

	d = d.startChild(t, "-on-shutdown", "keep")
	follow(t, d, id, int64(len("ready\ntick\n")))
	if _, err := d.client(d.url, "alice").TerminateWorker(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.wait(0)
	d.removeCgroup()
	d.nothingLeft()
	b, err := os.ReadFile(d.path("state", "jobs", id, "record.json"))
	if err != nil || !strings.Contains(string(b), `"reason":"stopped"`) {
		t.Errorf("record %s, %v, want the job stopped", b, err)
	}
}

// follow reads a tick of a job's output at offset.
func follow(t *testing.T, d *child, id string, offset int64) {
	t.Helper()
	s, err := d.client(d.url, "alice").Output(t.Context(), id, httpapi.OutputOptions{Follow: true, Offset: offset})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	f, err := s.Next()
	if err != nil || !bytes.HasPrefix(f.Data, []byte("tick\n")) || f.Offset != offset {
		t.Errorf("frame %+v, %v, want a tick at offset %d", f, err, offset)
	}
}

// removeCgroup removes the cgroups that the last daemon has not made.
func (c *child) removeCgroup() {
	c.Helper()
	for _, root := range c.cgroups() {
		if err := errors.Join(os.Remove(filepath.Join(root, "jobs")), os.Remove(root)); err != nil {
			c.Error(err)
		}
	}
}
