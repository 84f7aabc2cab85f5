//go:build linux

package main

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"jobworker/authz"
	"jobworker/httpapi"
)

// The daemon keeps to the quotas of its policy file, whatever comes at the same moment, and
// to new ones from SIGHUP on.
func TestQuotaOfThePolicy(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policy.json")
	jobs := func(n string) {
		text := `{"roles":{"operator":{"users":["alice"]}},"quotas":{"default":{"jobs":` + n + `}}}`
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	jobs("3")
	d := startChild(t, "-policy", file)
	c := d.client(d.url, "alice")
	sleep := httpapi.Spec{Argv: []string{"sleep", "1000"}}
	var started atomic.Int64
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			_, err := c.Start(t.Context(), sleep, "")
			if p, ok := errors.AsType[*httpapi.Problem](err); ok && p.Type == httpapi.TypeQuota {
				return
			}
			if err != nil {
				t.Error(err)
			}
			started.Add(1)
		})
	}
	all.Wait()
	if n := started.Load(); n != 3 {
		t.Errorf("%d jobs were started, want 3", n)
	}

	jobs("4")
	if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; {
		me, err := c.WhoAmI(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if me.Quota == (authz.Quota{Jobs: 4}) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("quota %+v", me.Quota)
		}
	}
	if _, err := c.Start(t.Context(), sleep, ""); err != nil {
		t.Error(err)
	}
	if _, err := c.Start(t.Context(), sleep, ""); err == nil {
		t.Error("a fifth job was started")
	}
	d.signal()
	d.wait(0)
	d.nothingLeft()
}
