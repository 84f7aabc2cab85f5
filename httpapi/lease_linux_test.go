package httpapi_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"jobworker/authz"
	"jobworker/httpapi"
	"jobworker/job"
)

// A diskPKI is certificates on disk, as the server reads them again.
type diskPKI struct {
	testing.TB
	dir string
}

func (p diskPKI) path(elem ...string) string {
	return filepath.Join(append([]string{p.dir}, elem...)...)
}

func (p diskPKI) files() authz.ServerFiles {
	return authz.ServerFiles{Cert: p.path("server.pem"), Key: p.path("server-key.pem"), ClientCA: p.path("ca.pem"), ClientCRL: p.path("crl.pem")}
}

// add makes a user's certificate; a life of 0 is a long one.
func (p diskPKI) add(user string, life time.Duration, groups ...string) *tls.Config {
	p.Helper()
	if _, err := authz.AddClient(p.dir, user, groups, life); err != nil {
		p.Fatal(err)
	}
	return p.identity(user)
}

func (p diskPKI) identity(user string) *tls.Config {
	p.Helper()
	cfg, err := authz.ClientTLS(authz.ClientFiles{CA: p.path(user, "ca.pem"), Cert: p.path(user, "cert.pem"), Key: p.path(user, "key.pem")})
	if err != nil {
		p.Fatal(err)
	}
	return cfg
}

// replaceCA puts another CA in place of the clients'.
func (p diskPKI) replaceCA() {
	p.Helper()
	next := filepath.Join(p.TempDir(), "pki")
	if _, err := authz.InitCA(next, 0); err != nil {
		p.Fatal(err)
	}
	for _, name := range []string{"ca.pem", "crl.pem"} {
		data, err := os.ReadFile(filepath.Join(next, name))
		if err == nil {
			err = os.WriteFile(p.path(name), data, 0o600)
		}
		if err != nil {
			p.Fatal(err)
		}
	}
}

// newDiskFixture is newFixture with the certificates of a new diskPKI, in which root is an admin.
func newDiskFixture(t testing.TB, change func(*httpapi.Config)) (*fixture, diskPKI) {
	t.Helper()
	pki := diskPKI{t, filepath.Join(t.TempDir(), "pki")}
	if _, err := authz.InitPKI(authz.InitOptions{Dir: pki.dir, Hosts: []string{"127.0.0.1"}, Admin: "root"}); err != nil {
		t.Fatal(err)
	}
	server, err := authz.NewServerTLS(pki.files())
	if err != nil {
		t.Fatal(err)
	}
	return newFixture(t, func(c *httpapi.Config) {
		c.TLS = server
		if change != nil {
			change(c)
		}
	}), pki
}

// An ending is how a request ended.
type ending struct {
	name string
	err  error
	at   time.Time
}

// open begins requests of every kind that lasts, and returns once the server has them all, with
// a channel that gets the end of each. All of them are silent, but for one whose client does not
// read what there is.
func (p *pending) open(cfg *tls.Config, user string) (endings chan ending, n int) {
	f := p.fixture
	c := newClient(f, f.url(), cfg)
	spec := shell("exec sleep 1000")
	spec.Stdin = true
	quiet, err := c.Start(f.Context(), spec, "")
	if err != nil {
		f.Fatal(err)
	}
	stopping := f.start(c, "exec sleep 1000")
	p.jobs = append(p.jobs, quiet.ID, stopping.ID)
	endings = make(chan ending, 16)
	wait := func(name string, end func() error) {
		n++
		go func() {
			err := end()
			endings <- ending{name, err, time.Now()}
		}()
	}
	for _, proto := range protocols {
		for _, path := range []string{follow, follow + "&format=raw", "/v1/events"} {
			resp := f.open(f.Context(), f.plain(proto, cfg), path, quiet.ID)
			wait(proto+" "+path, func() error { _, err := io.Copy(io.Discard, resp.Body); return err })
		}
		stuck := f.open(f.Context(), f.plain(proto, cfg), follow, p.flood).Header.Get("Request-Id")
		wait(proto+" who does not read", func() error { f.logs.await(f, "stream cut", stuck); return io.ErrUnexpectedEOF })
	}
	wait("wait", func() error { _, err := c.Wait(f.Context(), quiet.ID, time.Hour); return err })
	wait("stop", func() error {
		_, err := c.Stop(f.Context(), stopping.ID, httpapi.StopRequest{Signal: "WINCH", Grace: new(httpapi.Duration(time.Hour))})
		return err
	})
	r, w := io.Pipe()
	f.Cleanup(func() { w.Close() })
	wait("stdin", func() error { _, err := c.Stdin(f.Context(), quiet.ID, 0, r); return err })
	for _, action := range []string{"job.read", "job.stop"} {
		f.logs.await(f, `"allow"`, action, `"user":"`+user+`"`, `"job":"`)
	}
	if _, err := io.WriteString(w, "x"); err != nil {
		f.Fatal(err)
	}
	f.eventually("the first byte of the input", func() bool {
		j, err := f.worker.Status(quiet.ID)
		return err == nil && j.StdinBytes == 1
	})
	return endings, n
}

// pending is what open needs and leaves.
type pending struct {
	*fixture
	flood string   // a job that anybody may read, with more output than fits into any buffer
	jobs  []string // those that must go on
}

// A loss is a way to lose a right.
type loss struct {
	user string
	life time.Duration // of the certificate; 0 is a long one
	lose func()
	kind string // of the problem
	why  string // in the audit log
}

func losses(t *testing.T, f *fixture, pki diskPKI, life time.Duration) []loss {
	return []loss{
		{"revoked", 0, func() {
			if _, _, err := authz.Revoke(authz.RevokeOptions{Dir: pki.dir, User: "revoked"}); err != nil {
				t.Fatal(err)
			}
			f.reload()
		}, httpapi.TypeIdentity, `certificate of \"revoked\": revoked`},
		{"expired", life, func() {}, httpapi.TypeIdentity, `certificate of \"expired\": expired on`},
		{"demoted", 0, func() {
			policy, err := authz.ParsePolicy(strings.NewReader(`{"roles":{"admin":{"users":["root"]}}}`))
			if err != nil {
				t.Fatal(err)
			}
			f.server.SetPolicy(policy)
		}, httpapi.TypeForbidden, "the policy gives you no role"},
	}
}

func (f *fixture) reload() {
	f.Helper()
	if err := f.server.Reload(); err != nil {
		f.Fatal(err)
	}
}

// A right that is taken away ends every request that lives on it, at once, and with it nothing
// else: neither the jobs nor the requests of others. The heartbeat is longer than the test waits.
func TestLostRightEndsEverything(t *testing.T) {
	f, pki := newDiskFixture(t, func(c *httpapi.Config) { c.WriteTimeout = time.Hour })
	root := newClient(t, f.url(), pki.identity("root"))
	p := &pending{fixture: f, flood: f.start(root, "head -c 67108864 /dev/zero; exec sleep 1000").ID}
	begin := time.Now()
	unharmed, n := p.open(pki.identity("root"), "root")
	enough := 2*time.Second + 3*time.Since(begin) // for everything to begin before a certificate runs out

	for _, test := range losses(t, f, pki, enough) {
		t.Run(test.user, func(t *testing.T) {
			cfg := pki.add(test.user, test.life, admin)
			from := time.Now()
			if test.life > 0 {
				from = notAfter(t, cfg)
			}
			endings, n := p.open(cfg, test.user)
			if test.life == 0 {
				from = time.Now()
			}
			test.lose()
			p.ended(t, endings, n, from, test.kind)
			f.logs.await(t, `"decision":"deny"`, `"user":"`+test.user+`"`, `"action":"job.output"`, `"job":"`+p.flood, "no longer: ", test.why)
			f.logs.await(t, `"decision":"deny"`, `"user":"`+test.user+`"`, `"action":"events.read"`, "no longer: ", test.why)
		})
	}
	select {
	case e := <-unharmed:
		t.Errorf("of another user ended: %s, %v", e.name, e.err)
	default:
	}
	for _, id := range p.jobs {
		if j, err := f.worker.Status(id); err != nil || j.State == job.Ended {
			t.Errorf("job %s: %s, %v; want that it goes on", id, j.State, err)
		}
	}

	pki.replaceCA()
	from := time.Now()
	f.reload()
	p.ended(t, unharmed, n, from, httpapi.TypeIdentity)
	f.logs.await(t, `"decision":"deny"`, `"user":"root"`, "no longer: ", "no longer trusted")
}

// endBound is how long after its right a request may go on.
const endBound = 2 * time.Second

func notAfter(t *testing.T, cfg *tls.Config) time.Time {
	t.Helper()
	cert, err := cfg.GetClientCertificate(new(tls.CertificateRequestInfo))
	if err != nil {
		t.Fatal(err)
	}
	return cert.Leaf.NotAfter
}

// ended waits for the ends of n requests: none before the right has ended, which is at from.
func (p *pending) ended(t *testing.T, endings chan ending, n int, from time.Time, kind string) {
	t.Helper()
	for range n {
		e := <-endings
		if late := e.at.Sub(from); late < 0 || late > endBound {
			t.Errorf("%s ends after %s", e.name, late)
		}
		switch problem, ok := errors.AsType[*httpapi.Problem](e.err); {
		case ok && (problem.Type != kind || e.name == "stdin" && problem.Accepted == nil):
			t.Errorf("%s: %+v, want type %s", e.name, problem, kind)
		case ok != (e.name == "wait" || e.name == "stop" || e.name == "stdin"), e.err == nil:
			t.Errorf("%s: %v", e.name, e.err)
		}
	}
}

// What was changed while a request came is not missed.
func TestLeaseRaces(t *testing.T) {
	f, pki := newDiskFixture(t, nil)
	c := newClient(t, f.url(), pki.identity("root"))
	j := f.start(c, "exec sleep 1000")
	nobody, err := authz.ParsePolicy(strings.NewReader(`{"roles":{"admin":{"users":["nobody"]}}}`))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		f.server.SetPolicy(authz.Builtin())
		ended := make(chan error, 1)
		go func() { // ends with the right
			s, err := c.Output(t.Context(), j.ID, httpapi.OutputOptions{Follow: true})
			for err == nil {
				_, err = s.Next()
			}
			ended <- err
		}()
		if i%2 == 0 { // half of them when the stream is there
			f.logs.await(t, `"action":"job.output"`)
		}
		f.server.SetPolicy(nobody)
		if err := <-ended; errors.Is(err, io.EOF) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// A client that leaves all of its connection unread holds up the reset of its stream too. Its
// connection goes.
func TestLostRightOfStuckConnection(t *testing.T) {
	f := newFixture(t, func(c *httpapi.Config) { c.WriteTimeout = time.Hour })
	j := f.start(f.client("root", admin), "head -c 67108864 /dev/zero; exec sleep 1000")
	conn := f.dialH2(f.identity("alice", 0, viewer))
	window := []byte{0x7f, 0xff, 0, 0} // for the stream, and more for the connection: nothing but TCP is in the way
	frames := append(h2Frame(h2Settings, 0, 0, append([]byte{0, 4}, window...)), h2Frame(h2WindowUpdate, 0, 0, window)...)
	get := h2Fields(":method=GET", ":scheme=https", ":authority=worker", ":path=/v1/jobs/"+j.ID+"/output?follow=true")
	if _, err := conn.Write(append(frames, h2Frame(h2Headers, h2EndStream|h2EndHeaders, 1, get)...)); err != nil {
		t.Fatal(err)
	}
	last, since := 0, time.Now()
	f.eventually("a connection that is stuck", func() bool {
		n := unread(t, conn)
		if n != last {
			last, since = n, time.Now()
		}
		return n > 0 && time.Since(since) > 500*time.Millisecond
	})
	policy, err := authz.ParsePolicy(strings.NewReader(`{"roles":{"admin":{"users":["root"]}}}`))
	if err != nil {
		t.Fatal(err)
	}
	from := time.Now()
	f.server.SetPolicy(policy)
	f.logs.await(t, "stream cut", j.ID, `"user":"alice"`, "gives you no role")
	if late := time.Since(from); late > endBound {
		t.Errorf("ends after %s", late)
	}
}

// unread is how many bytes conn has received that nobody has read.
func unread(t *testing.T, conn *tls.Conn) (n int) {
	t.Helper()
	raw, err := conn.NetConn().(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if e := raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCINQ) }); e != nil || err != nil { // tcp(7)
		t.Fatal(e, err)
	}
	return n
}
