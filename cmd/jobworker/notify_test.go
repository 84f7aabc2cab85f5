//go:build linux

package main

import (
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"jobworker/internal/kerneltest"
)

// The service manager hears when the daemon serves, and when it begins to end.
func TestNotify(t *testing.T) {
	kerneltest.Root(t)
	for _, path := range []string{filepath.Join(t.TempDir(), "notify"), "@jobworkertest/" + t.TempDir()} {
		manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer manager.Close()
		p := newProcess(t)
		p.vars["NOTIFY_SOCKET"] = path
		url := p.start()
		expect(t, manager, "READY=1")
		if err := p.client(url, "alice").Live(t.Context()); err != nil {
			t.Error(err)
		}
		p.signals <- syscall.SIGTERM
		expect(t, manager, "STOPPING=1")
		if code := <-p.code; code != 0 {
			t.Errorf("exit status %d:\n%s", code, p.log)
		}
	}
}

func expect(t *testing.T, manager *net.UnixConn, want string) {
	t.Helper()
	b := make([]byte, 64)
	n, err := manager.Read(b)
	if got := string(b[:n]); got != want || err != nil {
		t.Errorf("the manager was told %q, %v: want %q", got, err, want)
	}
}

// A manager that cannot be told is no reason not to serve.
func TestNotifyNobody(t *testing.T) {
	kerneltest.Root(t)
	p := newProcess(t)
	p.vars["NOTIFY_SOCKET"] = filepath.Join(t.TempDir(), "gone")
	p.start()
	if code := p.stop(); code != 0 || !strings.Contains(p.log.String(), "notify the service manager") {
		t.Errorf("exit status %d:\n%s", code, p.log)
	}
}
