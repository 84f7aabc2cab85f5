//go:build linux

package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"jobworker/authz"
	"jobworker/httpapi"
	"jobworker/internal/kerneltest"
)

// An issuer signs certificates that jobcli would not make.
type issuer struct {
	cert *x509.Certificate
	key  crypto.Signer
	raw  [][]byte // what goes with a certificate of it
}

// issuerOf is the CA in a directory.
func issuerOf(t *testing.T, dir string) issuer {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return issuer{cert: pair.Leaf, key: pair.PrivateKey.(crypto.Signer)}
}

// issue makes a certificate of an admin, spoiled; the zero issuer lets it sign itself.
func (i issuer) issue(t *testing.T, spoil func(*x509.Certificate)) *tls.Certificate {
	t.Helper()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: "mallory", Organization: []string{"jobworker:admin"}},
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	if spoil != nil {
		spoil(c)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := i.cert, i.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: append([][]byte{der}, i.raw...), PrivateKey: key, Leaf: leaf}
}

// as is an issuer that is no CA, or not for long.
func as(c *tls.Certificate) issuer {
	return issuer{cert: c.Leaf, key: c.PrivateKey.(crypto.Signer), raw: c.Certificate}
}

// with is a client of the worker with any certificate; nil is none.
func (p *process) with(cert *tls.Certificate) *tls.Config {
	p.Helper()
	ca, err := os.ReadFile(p.path("pki", "ca.pem"))
	if err != nil {
		p.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		p.Fatal("no CA")
	}
	cfg := &tls.Config{RootCAs: roots}
	if cert != nil {
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	return cfg
}

// user is the identity that is in a directory below pki.
func (p *process) user(name string) *tls.Certificate {
	p.Helper()
	cert, err := tls.LoadX509KeyPair(p.path("pki", name, "cert.pem"), p.path("pki", name, "key.pem"))
	if err != nil {
		p.Fatal(err)
	}
	return &cert
}

func (p *process) add(name string, life time.Duration) {
	p.Helper()
	if _, err := authz.AddClient(p.path("pki"), name, []string{"jobworker:admin"}, life); err != nil {
		p.Fatal(err)
	}
}

// ask makes a request over a new connection. In TLS 1.3 a client that will be refused has
// "connected" by then, so that nothing but an answer counts.
func ask(t *testing.T, url string, cfg *tls.Config) error {
	t.Helper()
	c, err := httpapi.NewClient(url, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.Live(t.Context())
}

// refused asserts that a request is not answered, and that TLS says why.
func refused(t *testing.T, name, url string, cfg *tls.Config, alert string) {
	t.Helper()
	err := ask(t, url, cfg)
	if _, answered := errors.AsType[*httpapi.Problem](err); err == nil || answered || !strings.Contains(err.Error(), alert) {
		t.Errorf("%s: %v, want %q in it", name, err, alert)
	}
}

// TestTLSSuite: who is not to be let in is not, and hears why as far as TLS can say it. The worker
// is a process of its own.
func TestTLSSuite(t *testing.T) {
	kerneltest.Root(t)
	p, other := newProcess(t), newProcess(t)
	for _, name := range []string{"bob", "revoked"} {
		p.add(name, 0)
	}
	if _, _, err := authz.Revoke(authz.RevokeOptions{Dir: p.path("pki"), User: "revoked"}); err != nil {
		t.Fatal(err)
	}
	d := p.startChild(t, "-client-crl", p.path("pki", "crl.pem"), "-tls-pq", "require")
	ca, strangers := issuerOf(t, p.path("pki")), issuerOf(t, other.path("pki"))
	middle := ca.issue(t, func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign })
	bob := p.user("bob")
	tls12, classical := p.with(bob), p.with(bob)
	tls12.MaxVersion = tls.VersionTLS12
	classical.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP256}
	server, err := tls.LoadX509KeyPair(p.path("pki", "server.pem"), p.path("pki", "server-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		client *tls.Config
		want   string // the alert
	}{
		{"no certificate", p.with(nil), "certificate required"},
		{"other CA", p.with(strangers.issue(t, nil)), "unknown certificate authority"},
		{"self-signed", p.with(issuer{}.issue(t, nil)), "unknown certificate authority"},
		{"a server's", p.with(&server), "bad certificate"},
		{"expired", p.with(ca.issue(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) })), "expired certificate"},
		{"not yet valid", p.with(ca.issue(t, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })), "expired certificate"},
		{"signed by a leaf", p.with(as(bob).issue(t, nil)), "unknown certificate authority"},
		{"signed by a CA below the CA", p.with(as(middle).issue(t, nil)), "bad certificate"},
		{"revoked", p.with(p.user("revoked")), "bad certificate"},
		{"TLS 1.2", tls12, "protocol version not supported"},
		{"no post-quantum key exchange", classical, "handshake failure"},
	} {
		refused(t, test.name, d.url, test.client, test.want)
	}
	for name, cert := range map[string]*tls.Certificate{
		"for no use":   ca.issue(t, func(c *x509.Certificate) { c.ExtKeyUsage = nil }),
		"the CA's own": {Certificate: [][]byte{ca.cert.Raw}, PrivateKey: ca.key, Leaf: ca.cert},
	} { // crypto/tls lets these in
		if err := ask(t, d.url, p.with(cert)); err == nil || !strings.Contains(err.Error(), "no clientAuth") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := ask(t, d.url, p.with(bob)); err != nil {
		t.Errorf("good: %v", err)
	}
	noTickets(t, d.url, p.with(bob))
	d.signal()
	d.wait(0)
}

// ticketCache counts the session tickets that come.
type ticketCache struct{ n int }

func (c *ticketCache) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (c *ticketCache) Put(_ string, s *tls.ClientSessionState) {
	if s != nil {
		c.n++
	}
}

// noTickets checks that a client gets nothing with which it could skip the verification.
func noTickets(t *testing.T, url string, cfg *tls.Config) {
	t.Helper()
	cache := new(ticketCache)
	cfg.ClientSessionCache = cache
	if err := ask(t, url, cfg); err != nil || cache.n > 0 {
		t.Errorf("%v, %d session tickets", err, cache.n)
	}
}

// TestServersRefused: the other direction. A client of ours takes nobody for the worker who is not,
// least of all another client.
func TestServersRefused(t *testing.T) {
	p, other := newProcess(t), newProcess(t)
	ca, strangers := issuerOf(t, p.path("pki")), issuerOf(t, other.path("pki"))
	client, err := authz.ClientTLS(authz.ClientFiles{CA: p.path("pki", "ca.pem"), Cert: p.path("pki", "alice", "cert.pem"), Key: p.path("pki", "alice", "key.pem")})
	if err != nil {
		t.Fatal(err)
	}
	asServer := func(spoil func(*x509.Certificate)) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.ExtKeyUsage, c.IPAddresses = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, []net.IP{net.IPv4(127, 0, 0, 1)}
			if spoil != nil {
				spoil(c)
			}
		}
	}
	clientAuth := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	for _, test := range []struct {
		name string
		cert *tls.Certificate
		max  uint16
		want string // "" is that it is believed
	}{
		{"good", ca.issue(t, asServer(nil)), 0, ""},
		{"a client's", ca.issue(t, asServer(func(c *x509.Certificate) { c.ExtKeyUsage = clientAuth })), 0, "incompatible key usage"},
		{"other CA", strangers.issue(t, asServer(nil)), 0, "unknown authority"},
		{"self-signed", issuer{}.issue(t, asServer(nil)), 0, "unknown authority"},
		{"expired", ca.issue(t, asServer(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) })), 0, "expired"},
		{"not yet valid", ca.issue(t, asServer(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })), 0, "not yet valid"},
		{"other address", ca.issue(t, asServer(func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 2)} })), 0, "not 127.0.0.1"},
		{"TLS 1.2", ca.issue(t, asServer(nil)), tls.VersionTLS12, "protocol version not supported"},
	} {
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{*test.cert}, MaxVersion: test.max, NextProtos: []string{"http/1.1"}})
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"status":"ok"}`)
		})}
		served := make(chan error, 1)
		go func() { served <- server.Serve(l) }()
		err = ask(t, "https://"+l.Addr().String(), client)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q in it", test.name, err, test.want)
		}
		server.Close()
		<-served
	}
}

// TestKeyModes: a key that others than its owner can read has perhaps been read. The worker does not
// start with it, nor takes it at a reload.
func TestKeyModes(t *testing.T) {
	kerneltest.Root(t)
	p := newProcess(t)
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660, 0o644, 0o666} {
		chmod(p, "pki/server-key.pem", mode)
		var stderr bytes.Buffer
		cmd := exec.Command("/proc/self/exe")
		cmd.Args, cmd.Stderr = append([]string{"jobworker"}, p.args...), &stderr
		if err := cmd.Run(); cmd.ProcessState.ExitCode() != 1 || !strings.Contains(stderr.String(), fmt.Sprintf("server-key.pem: mode %04o: private key open to group or others, want 0600", mode)) {
			t.Errorf("mode %04o: %v: %s", mode, err, &stderr)
		}
	}
	chmod(p, "pki/server-key.pem", 0o600)
	url := p.start()
	chmod(p, "pki/server-key.pem", 0o644)
	p.reload(p.client(url, "alice"), "the old certificates stay in force")
	if err := ask(t, url, p.with(p.user("alice"))); err != nil {
		t.Errorf("after the reload: %v", err)
	}
	if code := p.stop(); code != 0 {
		t.Errorf("exit status %d", code)
	}
}

// A loss is a way to lose a right.
type loss struct {
	user string
	life time.Duration    // of the certificate; 0 is a long one
	lose func() time.Time // returns when that was
	then string           // the alert that the next connection gets; "" for none
}

// losses are all of them; next has the CA that comes at the end.
func (d *child) losses(next *process) []loss {
	hup := func() time.Time {
		if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			d.Fatal(err)
		}
		return time.Now()
	}
	return []loss{
		{"expired", 4 * time.Second, func() time.Time { return d.user("expired").Leaf.NotAfter }, "expired certificate"},
		{"revoked", 0, func() time.Time {
			if _, _, err := authz.Revoke(authz.RevokeOptions{Dir: d.path("pki"), User: "revoked"}); err != nil {
				d.Fatal(err)
			}
			return hup()
		}, "bad certificate"},
		{"demoted", 0, func() time.Time {
			d.write("policy.json", `{"roles":{"admin":{"users":["alice", "rotated"]}}}`)
			return hup()
		}, ""},
		{"rotated", 0, func() time.Time {
			for _, name := range []string{"ca.pem", "crl.pem"} {
				data, err := os.ReadFile(next.path("pki", name))
				if err != nil {
					d.Fatal(err)
				}
				d.write("pki/"+name, string(data))
			}
			return hup()
		}, "unknown certificate authority"},
	}
}

// TestRightsEndStreams: a certificate that runs out or is revoked, a role that is taken away and a CA
// that is replaced end a silent stream of the worker's, within 2 seconds, and its job goes on.
func TestRightsEndStreams(t *testing.T) {
	kerneltest.Root(t)
	p, next := newProcess(t), newProcess(t)
	p.write("policy.json", `{"roles":{"admin":{"groups":["jobworker:admin"]}}}`)
	d := p.startChild(t, "-client-crl", p.path("pki", "crl.pem"), "-policy", p.path("policy.json"))
	root := d.client(d.url, "alice")
	for _, test := range d.losses(next) {
		t.Run(test.user, func(t *testing.T) {
			cfg, id := d.endsStream(t, test)
			if test.then != "" {
				refused(t, "the next connection", d.url, cfg, test.then)
			}
			if test.user == "rotated" {
				root = nextClient(t, next, d.url, cfg.RootCAs)
			}
			if j, err := root.Status(t.Context(), id); err != nil || j.State != httpapi.Running {
				t.Errorf("the job: %s, %v", j.State, err)
			}
		})
	}
	d.signal()
	d.wait(0)
	for _, test := range d.losses(next) {
		ends := func(line string) bool {
			return strings.Contains(line, `"user":"`+test.user+`"`) && strings.Contains(line, `"action":"job.output"`) && strings.Contains(line, "no longer: ")
		}
		if !slices.ContainsFunc(strings.Split(d.stderr.String(), "\n"), ends) {
			t.Errorf("the end of the stream of %s is not in the audit log", test.user)
		}
	}
}

// endsStream checks that the stream of a silent job ends with the right of its reader, and returns the
// reader's configuration and the job.
func (d *child) endsStream(t *testing.T, l loss) (cfg *tls.Config, id string) {
	t.Helper()
	d.add(l.user, l.life)
	cfg = d.with(d.user(l.user))
	c, err := httpapi.NewClient(d.url, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	job, err := c.Start(t.Context(), httpapi.Spec{Argv: []string{"sleep", "1000"}}, "")
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Output(t.Context(), job.ID, httpapi.OutputOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if fr, err := s.Next(); err != nil || fr.Type != "start" {
		t.Fatalf("%+v, %v", fr, err)
	}
	from := l.lose()
	fr, err := s.Next()
	if late := time.Since(from); !errors.Is(err, io.ErrUnexpectedEOF) || late < 0 || late > 2*time.Second {
		t.Errorf("%s after its right the stream gives %+v, %v", late, fr, err)
	}
	return cfg, job.ID
}

// nextClient is alice of another PKI, at a worker that has kept its own certificate.
func nextClient(t *testing.T, p *process, url string, roots *x509.CertPool) *httpapi.Client {
	t.Helper()
	cfg := p.with(p.user("alice"))
	cfg.RootCAs = roots
	c, err := httpapi.NewClient(url, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
