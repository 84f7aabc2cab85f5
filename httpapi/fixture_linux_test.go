package httpapi_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jobworker/authz"
	"jobworker/httpapi"
	"jobworker/internal/kerneltest"
	"jobworker/job"
	"jobworker/nsinit"
)

func TestMain(m *testing.M) {
	nsinit.MaybeRun() // in a job this binary is its PID 1
	// The runtime keeps two descriptors for its poller from the first use on.
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
		l.Close()
	}
	before := fds()
	code := m.Run()
	if code == 0 {
		code = leaks(before)
	}
	os.Exit(code)
}

// leaks fails the run when goroutines or file descriptors are left. Both may
// take a moment to go.
func leaks(before int) int {
	deadline := time.Now().Add(10 * time.Second)
	for {
		var stacks bytes.Buffer
		if err := pprof.Lookup("goroutine").WriteTo(&stacks, 2); err != nil {
			panic(err)
		}
		n := strings.Count(stacks.String(), "\ngoroutine ") - strings.Count(stacks.String(), "\nos/signal.loop(") // of go test -fuzz
		if n <= 0 && fds() <= before {
			return 0
		}
		if time.Now().After(deadline) {
			fmt.Fprintf(os.Stderr, "FAIL: left behind: %d file descriptors, and goroutines:\n%s", fds()-before, stacks.String())
			return 1
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func fds() int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		panic(err)
	}
	return len(list)
}

// A fixture is a worker that is served on loopback, with a CA of its own.
type fixture struct {
	testing.TB
	ca     *authz.CA
	worker *job.Worker
	server *httpapi.Server
	tls    *authz.ServerTLS
	addr   string
	logs   *records
}

// newFixture serves a new worker, with a configuration that change has changed.
func newFixture(t testing.TB, change func(*httpapi.Config)) *fixture {
	t.Helper()
	kerneltest.Root(t)
	f := &fixture{TB: t, logs: newRecords(t)}
	f.makeCertificates()
	cfg := httpapi.Config{TLS: f.tls, Audit: authz.NewAudit(slog.New(f.logs)), Log: slog.New(f.logs)}
	if change != nil {
		change(&cfg)
	}
	if cfg.Worker == nil {
		cfg.Worker = newWorker(t, cfg.Log)
	}
	f.worker = cfg.Worker
	f.server = httpapi.NewServer(cfg)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.addr = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- f.server.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := f.server.Shutdown(ctx); err != nil {
			t.Errorf("shut down: %v", err)
		}
		if err := <-served; err != http.ErrServerClosed {
			t.Errorf("serve: %v", err)
		}
	})
	return f
}

var workers atomic.Int64

func newWorker(t testing.TB, log *slog.Logger, change ...func(*job.Config)) *job.Worker {
	t.Helper()
	cfg := job.Config{
		StateDir:                filepath.Join(stateParent(t), "state"),
		CgroupRoot:              fmt.Sprintf("httpapi-%d-%d", os.Getpid(), workers.Add(1)),
		Spare:                   true,
		AllowMissingControllers: true,
		Log:                     log,
	}
	for _, f := range change {
		f(&cfg)
	}
	w, err := job.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // kill what is left
		if err := w.Shutdown(ctx); err != nil {
			t.Errorf("shut down worker: %v", err)
		}
	})
	return w
}

// stateParent is a temporary directory; for a benchmark it is on tmpfs, so that
// it measures the worker and not the disk.
func stateParent(t testing.TB) string {
	if _, ok := t.(*testing.B); !ok {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("/dev/shm", "httpapi-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func (f *fixture) makeCertificates() {
	f.Helper()
	ca, err := authz.NewCA(0)
	if err != nil {
		f.Fatal(err)
	}
	pair, err := ca.IssueServer([]string{"127.0.0.1"}, 0)
	if err != nil {
		f.Fatal(err)
	}
	f.ca = ca
	f.tls, err = authz.NewServerTLSFromPEM(authz.ServerPEM{KeyPair: pair, ClientCA: ca.CertPEM()})
	if err != nil {
		f.Fatal(err)
	}
}

// identity makes the TLS configuration of a client. A life of 0 is a long one.
func (f *fixture) identity(user string, life time.Duration, groups ...string) *tls.Config {
	f.Helper()
	pair, err := f.ca.IssueClient(user, groups, life)
	if err != nil {
		f.Fatal(err)
	}
	cfg, err := authz.ClientTLSFromPEM(authz.ClientPEM{KeyPair: pair, CA: f.ca.CertPEM()})
	if err != nil {
		f.Fatal(err)
	}
	return cfg
}

const (
	admin    = "jobworker:admin"
	operator = "jobworker:operator"
	viewer   = "jobworker:viewer"
)

func (f *fixture) url() string { return "https://" + f.addr }

// client returns a Client of a user in groups.
func (f *fixture) client(user string, groups ...string) *httpapi.Client {
	f.Helper()
	return newClient(f, f.url(), f.identity(user, 0, groups...))
}

func newClient(t testing.TB, url string, cfg *tls.Config) *httpapi.Client {
	t.Helper()
	c, err := httpapi.NewClient(url, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// protocols are those that every test of the wire goes over.
var protocols = []string{"HTTP/1.1", "HTTP/2.0"}

// plain returns an HTTP client that knows nothing of the API.
func (f *fixture) plain(proto string, cfg *tls.Config) *http.Client {
	var p http.Protocols
	p.SetHTTP1(proto == "HTTP/1.1")
	p.SetHTTP2(proto == "HTTP/2.0")
	tr := &http.Transport{TLSClientConfig: cfg.Clone(), Protocols: &p, DisableCompression: true}
	f.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// do sends a request and reads the whole answer.
func (f *fixture) do(c *http.Client, method, path, contentType, body string) (*http.Response, string) {
	f.Helper()
	req, err := http.NewRequestWithContext(f.Context(), method, f.url()+path, strings.NewReader(body))
	if err != nil {
		f.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.Do(req)
	if err != nil {
		f.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		f.Fatalf("%s %s: %v after %q", method, path, err, b)
	}
	return resp, string(b)
}

// start starts a shell command for c.
func (f *fixture) start(c *httpapi.Client, script string) httpapi.Job {
	f.Helper()
	j, err := c.Start(f.Context(), shell(script), "")
	if err != nil {
		f.Fatal(err)
	}
	return j
}

// startReady starts a job and waits until it has written a line "ready".
func (f *fixture) startReady(c *httpapi.Client, spec httpapi.Spec) httpapi.Job {
	f.Helper()
	j, err := c.Start(f.Context(), spec, "")
	if err != nil {
		f.Fatal(err)
	}
	s, err := c.Output(f.Context(), j.ID, httpapi.OutputOptions{Follow: true})
	if err != nil {
		f.Fatal(err)
	}
	defer s.Close()
	awaitOutput(f, s, "ready\n")
	return j
}

func shell(script string) httpapi.Spec {
	return httpapi.Spec{Argv: []string{"sh", "-c", script}}
}

// ended waits for the end of a job.
func (f *fixture) ended(c *httpapi.Client, id string) httpapi.Job {
	f.Helper()
	for {
		j, err := c.Wait(f.Context(), id, time.Minute)
		if err != nil {
			f.Fatal(err)
		}
		if j.State == httpapi.Ended {
			return j
		}
	}
}

// problem asserts that err is a *Problem of a type, and returns it.
func problem(t testing.TB, err error, kind string) *httpapi.Problem {
	t.Helper()
	p, ok := errors.AsType[*httpapi.Problem](err)
	if !ok || p.Type != kind {
		t.Fatalf("error %v (%T), want a problem of type %s", err, err, kind)
	}
	return p
}

// records is a log that a test can wait for and search.
type records struct {
	slog.Handler
	mu    *sync.Mutex
	buf   *bytes.Buffer
	grown chan struct{} // closed, and replaced, when there is something new; guarded by mu
}

func newRecords(t testing.TB) *records {
	r := &records{mu: new(sync.Mutex), buf: new(bytes.Buffer), grown: make(chan struct{})}
	r.Handler = slog.NewJSONHandler(r, nil)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the worker:\n%s", r)
		}
	})
	return r
}

func (r *records) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.grown)
	r.grown = make(chan struct{})
	return r.buf.Write(p)
}

// since returns what is logged so far, and a channel that is closed when there is more.
func (r *records) since() (string, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.String(), r.grown
}

func (r *records) String() string {
	text, _ := r.since()
	return text
}

// await blocks until a line has all of the parts, and returns it.
func (r *records) await(t testing.TB, parts ...string) string {
	t.Helper()
	for {
		text, grown := r.since()
		for line := range strings.Lines(text) {
			if hasAll(line, parts) {
				return line
			}
		}
		select {
		case <-grown:
		case <-time.After(30 * time.Second):
			t.Fatalf("no line with %q in the log", parts)
		}
	}
}

func hasAll(s string, parts []string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return true
}
