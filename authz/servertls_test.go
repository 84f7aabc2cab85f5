package authz_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"jobworker/authz"
)

func TestClientIsAnswered(t *testing.T) {
	ca := newTestCA(t)
	x := request(t, newServer(t, ca).Config(), newClient(t, ca))
	if x.client != nil || x.server != nil || x.answer != "alice" {
		t.Fatalf("client %v, server %v, answer %q; want alice", x.client, x.server, x.answer)
	}
	if x.state.Version != tls.VersionTLS13 {
		t.Errorf("version %s, want TLS 1.3", tls.VersionName(x.state.Version))
	}
	if x.state.CurveID != tls.X25519MLKEM768 {
		t.Errorf("key exchange %v, want X25519MLKEM768", x.state.CurveID)
	}
}

// invalid checks that an error is a failed verification for one of crypto/x509's reasons.
func invalid(reason x509.InvalidReason) func(error) bool {
	return func(err error) bool {
		bad, ok := errors.AsType[x509.CertificateInvalidError](err)
		return ok && bad.Reason == reason
	}
}

func unknownCA(err error) bool {
	_, ok := errors.AsType[x509.UnknownAuthorityError](err)
	return ok
}

func says(text string) func(error) bool {
	return func(err error) bool { return strings.Contains(err.Error(), text) }
}

func TestClientsAreRefused(t *testing.T) {
	ca, other := newTestCA(t), newTestCA(t)
	server := newServer(t, ca).Config()
	leaf := ca.sub(t, clientCert())
	middle := clientCert()
	middle.IsCA, middle.BasicConstraintsValid, middle.KeyUsage = true, true, x509.KeyUsageCertSign
	subCA := ca.sub(t, middle)
	spoilt := func(spoil func(*x509.Certificate)) *tls.Config {
		c := clientCert()
		spoil(c)
		return ca.rawClient(t, ca.issue(t, c))
	}
	old := newClient(t, ca)
	old.MinVersion, old.MaxVersion = 0, tls.VersionTLS12
	for _, tt := range []struct {
		name   string
		client *tls.Config
		want   func(error) bool // of the server's error
	}{
		{"no certificate", &tls.Config{RootCAs: pool(ca)}, says("didn't provide a certificate")},
		{"other CA", ca.rawClient(t, other.issue(t, clientCert())), unknownCA},
		{"self-signed", ca.rawClient(t, (*testCA)(nil).issue(t, clientCert())), unknownCA},
		{"usage of a server", ca.rawClient(t, ca.issue(t, serverCert())), invalid(x509.IncompatibleUsage)},
		{"no usage at all", spoilt(func(c *x509.Certificate) { c.ExtKeyUsage = nil }), says("no clientAuth")},
		{"expired", spoilt(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) }), invalid(x509.Expired)},
		{"not yet valid", spoilt(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }), invalid(x509.Expired)},
		{"signed by a client", leaf.signedBy(t, ca), unknownCA},
		{"signed by a CA below the CA", subCA.signedBy(t, ca), invalid(x509.TooManyIntermediates)},
		{"TLS 1.2", old, says("unsupported versions")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := request(t, server, tt.client)
			if x.answer != "" || x.client == nil {
				t.Fatalf("was answered %q", x.answer)
			}
			if x.server == nil || !tt.want(x.server) {
				t.Errorf("server refused it with %v", x.server)
			}
		})
	}
}

// signedBy is a client whose certificate middle has signed, sent along with that of middle.
func (middle *testCA) signedBy(t *testing.T, root *testCA) *tls.Config {
	t.Helper()
	cert := loadPair(t, middle.issue(t, clientCert()))
	cert.Certificate = append(cert.Certificate, middle.cert.Raw)
	return &tls.Config{
		RootCAs: pool(root),
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &cert, nil
		},
	}
}

// countingCache counts the session tickets that a server hands out.
type countingCache struct {
	tls.ClientSessionCache
	tickets int
}

func (c *countingCache) Put(key string, s *tls.ClientSessionState) {
	if s != nil {
		c.tickets++
	}
	c.ClientSessionCache.Put(key, s)
}

func TestSessionsAreNotResumed(t *testing.T) {
	ca := newTestCA(t)
	server := newServer(t, ca).Config()
	careless := server.Clone()
	careless.GetConfigForClient, careless.SessionTicketsDisabled = nil, false
	for _, tt := range []struct {
		name   string
		server *tls.Config
		want   bool
	}{
		{"ours", server, false},
		{"one that hands out tickets", careless, true}, // or the test would show nothing
	} {
		cache := &countingCache{ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		client := newClient(t, ca)
		client.ClientSessionCache = cache
		for _, resumed := range []bool{false, tt.want} {
			x := request(t, tt.server, client)
			if x.client != nil || x.state.DidResume != resumed {
				t.Errorf("%s: error %v, resumed %v, want %v", tt.name, x.client, x.state.DidResume, resumed)
			}
		}
		if (cache.tickets > 0) != tt.want {
			t.Errorf("%s: %d tickets", tt.name, cache.tickets)
		}
	}
}

func TestReloadRotatesCA(t *testing.T) {
	before, after := newTestCA(t), newTestCA(t)
	files := serverFiles(t, before.issue(t, serverCert()), before.pem)
	s, err := authz.NewServerTLS(files)
	if err != nil {
		t.Fatal(err)
	}
	config := s.Config() // taken once, as a listener does
	oldClient, newClient := newClient(t, before), before.rawClient(t, after.issue(t, clientCert()))
	steps := []struct {
		name     string
		ca       []byte
		old, new bool
	}{
		{"both", concat(before.pem, after.pem), true, true},
		{"new", after.pem, false, true},
	}
	open := request(t, config, oldClient).peer
	for _, step := range steps {
		writeFile(t, files.ClientCA, step.ca)
		if err := s.Reload(); err != nil {
			t.Fatal(err)
		}
		if got := request(t, config, oldClient).client == nil; got != step.old {
			t.Errorf("%s: client of the old CA answered: %v, want %v", step.name, got, step.old)
		}
		if got := request(t, config, newClient).client == nil; got != step.new {
			t.Errorf("%s: client of the new CA answered: %v, want %v", step.name, got, step.new)
		}
		if _, err := s.Identify(&open); (err == nil) != step.old {
			t.Errorf("%s: open connection of the old CA: %v, want trusted %v", step.name, err, step.old)
		}
	}
}

func TestReloadServesNewCertificate(t *testing.T) {
	ca := newTestCA(t)
	files := serverFiles(t, ca.issue(t, serverCert()), ca.pem)
	s, err := authz.NewServerTLS(files)
	if err != nil {
		t.Fatal(err)
	}
	renewed := ca.issue(t, serverCert())
	writeFile(t, files.Cert, renewed.Cert)
	writeFile(t, files.Key, renewed.Key)
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	x := request(t, s.Config(), newClient(t, ca))
	if x.client != nil || !x.state.PeerCertificates[0].Equal(loadPair(t, renewed).Leaf) {
		t.Errorf("error %v, or the old certificate is still served", x.client)
	}
}

func TestFailedReloadKeepsServing(t *testing.T) {
	ca := newTestCA(t)
	files := serverFiles(t, ca.issue(t, serverCert()), ca.pem)
	s, err := authz.NewServerTLS(files)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{files.Cert, files.Key, files.ClientCA} {
		good := readFile(t, path)
		writeFile(t, path, good[:len(good)/2])
		if err := s.Reload(); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("half of %s: error %v", path, err)
		}
		if x := request(t, s.Config(), newClient(t, ca)); x.client != nil {
			t.Errorf("after half of %s: %v", path, x.client)
		}
		writeFile(t, path, good)
	}
}

func TestReloadDuringHandshakes(t *testing.T) {
	ca := newTestCA(t)
	s := newServer(t, ca)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := s.Reload(); err != nil {
				t.Error(err)
			}
		})
	}
	for range 4 {
		if x := request(t, s.Config(), newClient(t, ca)); x.client != nil {
			t.Error(x.client)
		}
	}
	wg.Wait()
}

func TestServerFilesRefused(t *testing.T) {
	ca, other := newTestCA(t), newTestCA(t)
	good, client := ca.issue(t, serverCert()), ca.issue(t, clientCert())
	server := func(spoil func(*x509.Certificate)) authz.KeyPair {
		c := serverCert()
		spoil(c)
		return ca.issue(t, c)
	}
	expired := server(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) })
	early := server(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })
	for _, tt := range []struct {
		name string
		pair authz.KeyPair
		ca   []byte
		file string // named in the error
		want string
	}{
		{"no certificate", authz.KeyPair{Key: good.Key}, ca.pem, "server.pem", "certificate"},
		{"no key", authz.KeyPair{Cert: good.Cert}, ca.pem, "server-key.pem", "key"},
		{"other key", authz.KeyPair{Cert: good.Cert, Key: client.Key}, ca.pem, "server-key.pem", "does not match"},
		{"client certificate", client, ca.pem, "server.pem", "no serverAuth"},
		{"expired", expired, ca.pem, "server.pem", "expired on"},
		{"not yet valid", early, ca.pem, "server.pem", "not valid before"},
		{"empty CA file", good, nil, "ca.pem", "no CA certificate"},
		{"text as CA file", good, []byte("hello\n"), "ca.pem", "no CA certificate"},
		{"leaf as CA", good, client.Cert, "ca.pem", "not a CA"},
		{"leaf after CA", good, concat(ca.pem, client.Cert), "ca.pem", "block 2"},
		{"key in CA file", good, concat(ca.pem, good.Key), "ca.pem", "PRIVATE KEY"},
		{"second CA cut short", good, concat(ca.pem, other.pem[:len(other.pem)-40]), "ca.pem", "block 2"},
		{"CA with a spoilt body", good, []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "ca.pem", "block 1"},
		{"huge CA file", good, make([]byte, 2<<20), "ca.pem", "larger than"},
	} {
		s, err := authz.NewServerTLS(serverFiles(t, tt.pair, tt.ca))
		if err == nil || s != nil || !strings.Contains(err.Error(), tt.file) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s and %q in it", tt.name, err, tt.file, tt.want)
		}
	}
}

func TestServerFileMissing(t *testing.T) {
	ca := newTestCA(t)
	for i := range 3 {
		files := serverFiles(t, ca.issue(t, serverCert()), ca.pem)
		path := []string{files.Cert, files.Key, files.ClientCA}[i]
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		_, err := authz.NewServerTLS(files)
		if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), path) {
			t.Errorf("without %s: %v", path, err)
		}
	}
}

func TestKeyOpenToOthersRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have no permission bits on windows")
	}
	ca := newTestCA(t)
	files := serverFiles(t, ca.issue(t, serverCert()), ca.pem)
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o601, 0o644, 0o666} {
		if err := os.Chmod(files.Key, mode); err != nil {
			t.Fatal(err)
		}
		_, err := authz.NewServerTLS(files)
		if err == nil || !strings.Contains(err.Error(), files.Key) {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
	for _, mode := range []os.FileMode{0o600, 0o400} {
		if err := os.Chmod(files.Key, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := authz.NewServerTLS(files); err != nil {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
}

// TestIdentifyNoticesExpiry: a connection that is open does not outlive its certificate.
func TestIdentifyNoticesExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newTestCA(t)
		s := newServer(t, ca)
		leaf := loadPair(t, ca.issue(t, clientCert())).Leaf // for an hour
		open := &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{leaf, ca.cert}}}
		if _, err := s.Identify(open); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour + time.Second) // of the bubble's time
		if _, err := s.Identify(open); err == nil || !strings.Contains(err.Error(), "expired") {
			t.Errorf("an hour later: %v", err)
		}
	})
}

func TestServesHTTP(t *testing.T) {
	ca := newTestCA(t)
	s := newServer(t, ca)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{TLSConfig: s.Config(), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := s.Identify(r.TLS)
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		io.WriteString(w, r.Proto+" "+id.User)
	})}
	done := make(chan error, 1) // receives once, when Serve returns
	go func() { done <- server.ServeTLS(ln, "", "") }()
	t.Cleanup(func() {
		server.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	for proto, http2 := range map[string]bool{"HTTP/2.0": true, "HTTP/1.1": false} {
		transport := &http.Transport{TLSClientConfig: newClient(t, ca), ForceAttemptHTTP2: http2}
		t.Cleanup(transport.CloseIdleConnections)
		resp, err := (&http.Client{Transport: transport}).Get("https://" + ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(body) != proto+" alice" {
			t.Errorf("%s: %q, %v", proto, body, err)
		}
	}
}
