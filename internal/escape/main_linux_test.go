package escape_test

import (
	"context"
	"encoding/json"
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
	"jobworker/internal/escape"
	"jobworker/internal/kerneltest"
	"jobworker/job"
	"jobworker/nsinit"
	"jobworker/stream"
)

// programs are what this test binary is beside a test, by its first argument: in
// the machine it is the only program that is not busybox's.
var programs = map[string]func(args []string) error{
	"probe":     probe,
	"overwrite": overwrite,
	"sibling":   sibling,
	"meek":      meek,
	"peek":      peek,
	"bomb":      func([]string) error { fmt.Println("ready"); escape.Bomb(); return nil },
	"euid":      func([]string) error { _, err := fmt.Println(os.Geteuid()); return err },
}

func TestMain(m *testing.M) {
	nsinit.MaybeRun()
	if len(os.Args) > 1 && programs[os.Args[1]] != nil {
		if err := programs[os.Args[1]](os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// probe makes the attempts of all users or of one, who knows the facts.
func probe(args []string) error {
	var f escape.Facts
	if err := json.Unmarshal([]byte(args[1]), &f); err != nil {
		return err
	}
	return escape.Run(os.Stdout, f, func(p escape.Probe) bool {
		return args[0] == "all" || p.User == (args[0] == "user")
	})
}

// A site is a worker that is served over mutual TLS on loopback, with its state
// on the disk.
type site struct {
	testing.TB
	state string
	ca    *authz.CA
	url   string
}

// policy gives mallory all that there is to give.
const policy = `{
 "roles": {"operator": {"users": ["alice", "mallory"]}},
 "grants": [{"users": ["mallory"], "profiles": ["host"], "net": ["host"], "run_as": ["*"], "userns": true,
             "rootfs": [{"path": "/disk"}], "binds": [{"path": "/disk", "write": true}]}]
}`

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{TB: t, state: filepath.Join(kerneltest.Disk(t), "state")}
	w, err := job.Open(job.Config{StateDir: s.state, CgroupRoot: "escape", Spare: true})
	s.must(err)
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // kill what is left
		s.must(w.Shutdown(ctx))
	})
	s.ca, err = authz.NewCA(0)
	s.must(err)
	pair, err := s.ca.IssueServer([]string{"127.0.0.1"}, 0)
	s.must(err)
	tls, err := authz.NewServerTLSFromPEM(authz.ServerPEM{KeyPair: pair, ClientCA: s.ca.CertPEM()})
	s.must(err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	s.url = "https://" + l.Addr().String()
	p, err := authz.ParsePolicy(strings.NewReader(policy))
	s.must(err)
	server := httpapi.NewServer(httpapi.Config{Worker: w, TLS: tls, Policy: p})
	served := make(chan error, 1) // gets what Serve returns, once
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		s.must(server.Shutdown(ctx))
		if err := <-served; err != http.ErrServerClosed {
			t.Errorf("serve: %v", err)
		}
	})
	return s
}

func (s *site) must(errs ...error) {
	s.Helper()
	if err := errors.Join(errs...); err != nil {
		s.Fatal(err)
	}
}

// in is s in a subtest.
func (s *site) in(t testing.TB) *site {
	sub := *s
	sub.TB = t
	return &sub
}

// client returns a client of an operator.
func (s *site) client(user string) *httpapi.Client {
	s.Helper()
	pair, err := s.ca.IssueClient(user, []string{"jobworker:operator"}, 0)
	s.must(err)
	cfg, err := authz.ClientTLSFromPEM(authz.ClientPEM{KeyPair: pair, CA: s.ca.CertPEM()})
	s.must(err)
	c, err := httpapi.NewClient(s.url, cfg)
	s.must(err)
	s.Cleanup(c.Close)
	return c
}

// A running is a job whose output is being read.
type running struct {
	*site
	*httpapi.Stream
	id             string
	stdout, stderr strings.Builder
	verdict        string // at the end, as in "exited 0"
}

func (s *site) start(c *httpapi.Client, spec httpapi.Spec) *running {
	s.Helper()
	output, err := c.Run(s.Context(), spec, "")
	s.must(err)
	s.Cleanup(func() { output.Close() })
	r := &running{site: s, Stream: output}
	f, err := output.Next()
	s.must(err)
	r.id = f.Job
	return r
}

// read reads until the job has ended, or has written the line "ready".
func (r *running) read() {
	r.Helper()
	for !strings.Contains(r.stdout.String(), "ready\n") {
		if !r.next() {
			return
		}
	}
}

// readOn reads until the job has ended.
func (r *running) readOn() {
	r.Helper()
	for r.next() {
	}
}

func (r *running) next() bool {
	r.Helper()
	f, err := r.Next()
	if err == io.EOF {
		return false
	}
	r.must(err)
	switch f.Stream {
	case stream.Stdout:
		r.stdout.Write(f.Data)
	case stream.Stderr:
		r.stderr.Write(f.Data)
	}
	if f.Type == stream.TypeExit {
		r.verdict = f.Verdict.Reason
		if f.Verdict.Code != nil {
			r.verdict = fmt.Sprintf("%s %d", f.Verdict.Reason, *f.Verdict.Code)
		}
	}
	return true
}

func (s *site) run(c *httpapi.Client, spec httpapi.Spec) *running {
	s.Helper()
	r := s.start(c, spec)
	r.read()
	return r
}

func shell(script string) httpapi.Spec {
	return httpapi.Spec{Argv: []string{"sh", "-c", script}}
}
