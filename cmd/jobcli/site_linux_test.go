package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"jobworker/authz"
	"jobworker/httpapi"
	"jobworker/internal/kerneltest"
	"jobworker/job"
)

// A site is a real worker behind a real server, with certificates on disk.
type site struct {
	dir     string // certificates in pki/alice (admin), pki/bob (operator), pki/eve (viewer), pki/mallory (nobody)
	addr    string // host:port
	program string // path of the program, in a job as well
	worker  *job.Worker
}

// newSite opens a worker for a test. It needs root and a cgroup2 mount.
func newSite(t *testing.T) *site {
	t.Helper()
	kerneltest.Root(t)
	s := &site{dir: t.TempDir()}
	s.program = installProgram(t)
	makeCertificates(t, filepath.Join(s.dir, "pki"))
	var err error
	s.worker, err = job.Open(job.Config{
		StateDir:                filepath.Join(s.dir, "state"),
		CgroupRoot:              fmt.Sprintf("%s%d-%s", cgroupPrefix, os.Getpid(), filepath.Base(filepath.Dir(s.dir))),
		AllowMissingControllers: true,
		UIDBase:                 job.DefaultUIDBase + 1<<24, UIDCount: 1000, // other packages' tests run at the same time
		Expose: []string{filepath.Dir(s.program)},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { finish(t, s.worker.Shutdown) })
	s.addr = s.serve(t, "127.0.0.1:0")
	return s
}

// cgroupPrefix begins the names of the cgroups of tests.
const cgroupPrefix = "jobcli-test-"

// finish runs the end of something within a bound.
func finish(t *testing.T, shutdown func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := shutdown(ctx); err != nil {
		t.Error(err)
	}
}

// installProgram copies the test binary to where jobs may run it: not below /tmp, for
// they have one of their own.
func installProgram(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var", "jobcli-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, programName)
	if err := copyFile(path, "/proc/self/exe"); err != nil {
		t.Fatal(err)
	}
	return path
}

// copyFile makes a program of its own out of another.
func copyFile(to, from string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}

func makeCertificates(t *testing.T, dir string) {
	t.Helper()
	_, err := authz.InitPKI(authz.InitOptions{Dir: dir, Hosts: []string{"127.0.0.1", "worker1"}, Admin: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	for name, group := range map[string]string{"bob": "jobworker:operator", "eve": "jobworker:viewer", "mallory": "nobody"} {
		if _, err := authz.AddClient(dir, name, []string{group}, 0); err != nil {
			t.Fatal(err)
		}
	}
}

// serve starts a server of the site's worker, which ends with the test, and returns
// its address.
func (s *site) serve(t *testing.T, listen string) string {
	t.Helper()
	addr, stop := s.server(t, listen)
	t.Cleanup(stop)
	return addr
}

// server starts a server of the site's worker; stop ends it, once.
func (s *site) server(t *testing.T, listen string) (addr string, stop func()) {
	t.Helper()
	pki := filepath.Join(s.dir, "pki")
	files := authz.ServerFiles{Cert: filepath.Join(pki, "server.pem"), Key: filepath.Join(pki, "server-key.pem"), ClientCA: filepath.Join(pki, "ca.pem")}
	tls, err := authz.NewServerTLS(files)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	server := httpapi.NewServer(httpapi.Config{Worker: s.worker, TLS: tls})
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }() // ends in stop
	return l.Addr().String(), func() {
		finish(t, server.Shutdown)
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}
}

// terminal returns a terminal whose environment names the site, for one of its users.
func (s *site) terminal(user string) *terminal {
	c := newTerminal()
	c.vars["JOBCLI_ADDR"] = "https://" + s.addr
	c.vars["JOBCLI_CERT_DIR"] = filepath.Join(s.dir, "pki", user)
	return c
}

// leftovers is what tests must not leave on the machine.
func leftovers() string {
	found, _ := filepath.Glob(filepath.Join(os.TempDir(), "jobcli-local-*")) // errors are for bad patterns only
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err.Error()
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, " - cgroup2 ") {
			mount := strings.Fields(line)[4]
			ours, _ := filepath.Glob(filepath.Join(mount, fmt.Sprintf("%s%d-*", cgroupPrefix, os.Getpid())))
			found = append(found, ours...)
		}
	}
	return strings.Join(found, " ")
}

// newScriptSite is newSite for scripts.
func newScriptSite(t *testing.T) scriptSite { return newSite(t) }

func (s *site) variables() map[string]string {
	return map[string]string{"PKI": filepath.Join(s.dir, "pki"), "JOB": s.program, "EVENT": fmt.Sprint(s.worker.Info().Event)}
}
