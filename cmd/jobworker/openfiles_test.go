//go:build linux

package main

import (
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"jobworker/httpapi"
)

// The daemon may open as many files as its clients and jobs can make it open, and its clients no more
// than that. Jobs have limits of their own.
func TestOpenFiles(t *testing.T) {
	var ours unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &ours); err != nil {
		t.Fatal(err)
	}
	connections := 100
	raised := unix.Rlimit{Cur: ours.Cur, Max: ours.Max + 1}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &raised); err == nil { // as root with CAP_SYS_RESOURCE
		connections = int(ours.Max) + 1 // more than a process may have that does nothing about it
	}
	d := startChild(t, "-max-connections", fmt.Sprint(connections), "-max-requests", "100", "-max-requests-per-user", "1")
	var l unix.Rlimit
	if err := unix.Prlimit(d.cmd.Process.Pid, unix.RLIMIT_NOFILE, nil, &l); err != nil {
		t.Fatal(err)
	}
	if need := uint64(connections + 100 + ownFiles); l.Cur < need {
		t.Errorf("open files: %d, want %d", l.Cur, need)
	}
	c := d.client(d.url, "alice")
	s, err := c.Run(t.Context(), httpapi.Spec{Argv: []string{"sh", "-c", "ulimit -Sn; exec sleep 1000"}}, "")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if p, ok := errors.AsType[*httpapi.Problem](c.Live(t.Context())); !ok || p.Type != httpapi.TypeTooMany {
		t.Errorf("a second request at once: %+v", p)
	}
	for {
		fr, err := s.Next()
		if err != nil {
			t.Fatal(err)
		}
		if len(fr.Data) > 0 {
			if string(fr.Data) != "1024\n" {
				t.Errorf("a job's limit: %q", fr.Data)
			}
			return
		}
	}
}
