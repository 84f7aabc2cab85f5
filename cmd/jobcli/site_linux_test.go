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
	"sync/atomic"
	"testing"
	"time"

	"jobworker/authz"
	"jobworker/httpapi"
	"jobworker/internal/kerneltest"
	"jobworker/job"
)

// A site is a real worker behind a real server, with certificates on disk.
type site struct {
	dir     string
	pki     string // certificates in alice (admin), bob (operator), eve (viewer), mallory (nobody), trent (revoked)
	addr    string // host:port
	program string // path of the program, in a job as well
	cfg     job.Config
	policy  *authz.Policy // nil: the built-in one
	worker  *job.Worker   // nil while it is closed

	terminated chan struct{} // gets a value for each terminate that a client asks for
}

// sites counts those of this process: each has a cgroup and user ids of its own.
var sites atomic.Uint32

const siteUIDs = 1000

// newSite opens a worker for a test. It needs root and a cgroup2 mount.
func newSite(t *testing.T) *site {
	t.Helper()
	return newSiteWith(t, job.Config{})
}

// newSiteWith is newSite with what cfg says beyond the directories.
func newSiteWith(t *testing.T, cfg job.Config) *site {
	t.Helper()
	kerneltest.Root(t)
	n := sites.Add(1)
	s := &site{dir: t.TempDir(), program: installProgram(t), cfg: cfg, terminated: make(chan struct{}, 8)}
	s.pki = filepath.Join(s.dir, "pki")
	makeCertificates(t, s.pki)
	s.cfg.StateDir = filepath.Join(s.dir, "state")
	s.cfg.CgroupRoot = fmt.Sprintf("%s%d-%d", cgroupPrefix, os.Getpid(), n)
	s.cfg.AllowMissingControllers = true
	s.cfg.UIDBase = job.DefaultUIDBase + 1<<24 + n%100*siteUIDs // other packages' tests run at the same time
	s.cfg.UIDCount = siteUIDs
	s.cfg.Expose = []string{filepath.Dir(s.program)}
	s.open(t)
	t.Cleanup(func() {
		if s.worker != nil {
			s.close(t)
		}
	})
	s.addr = s.serve(t, "127.0.0.1:0")
	return s
}

// open opens the worker, again if it was closed.
func (s *site) open(t *testing.T) {
	t.Helper()
	w, err := job.Open(s.cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.worker = w
}

func (s *site) close(t *testing.T) {
	t.Helper()
	finish(t, s.worker.Shutdown)
	s.worker = nil
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
	for name, group := range map[string]string{"bob": "jobworker:operator", "eve": "jobworker:viewer", "mallory": "nobody", "trent": "jobworker:admin"} {
		if _, err := authz.AddClient(dir, name, []string{group}, 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := authz.Revoke(authz.RevokeOptions{Dir: dir, User: "trent"}); err != nil {
		t.Fatal(err)
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
	files := authz.ServerFiles{
		Cert: filepath.Join(s.pki, "server.pem"), Key: filepath.Join(s.pki, "server-key.pem"),
		ClientCA: filepath.Join(s.pki, "ca.pem"), ClientCRL: filepath.Join(s.pki, "crl.pem"),
	}
	tls, err := authz.NewServerTLS(files)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	server := httpapi.NewServer(httpapi.Config{
		Worker: s.worker, TLS: tls, Policy: s.policy,
		Terminate: func() { s.terminated <- struct{}{} },
	})
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
	c.vars["JOBCLI_CERT_DIR"] = filepath.Join(s.pki, user)
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
	return map[string]string{"PKI": s.pki, "JOB": s.program, "EVENT": fmt.Sprint(s.worker.Info().Event)}
}
