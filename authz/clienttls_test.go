package authz_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"jobworker/authz"
)

// rawServer is a server that checks nothing of its own certificate, as an attacker's.
func (ca *testCA) rawServer(t *testing.T, pair authz.KeyPair) *tls.Config {
	t.Helper()
	return &tls.Config{
		Certificates: []tls.Certificate{loadPair(t, pair)},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    pool(ca),
	}
}

func wrongHost(err error) bool {
	_, ok := errors.AsType[x509.HostnameError](err)
	return ok
}

func TestServersAreRefused(t *testing.T) {
	ca, other := newTestCA(t), newTestCA(t)
	client := newClient(t, ca)
	spoilt := func(spoil func(*x509.Certificate)) *tls.Config {
		c := serverCert()
		spoil(c)
		return ca.rawServer(t, ca.issue(t, c))
	}
	old := ca.rawServer(t, ca.issue(t, serverCert()))
	old.MaxVersion = tls.VersionTLS12
	for _, tt := range []struct {
		name   string
		server *tls.Config
		want   func(error) bool // of the client's error
	}{
		{"other CA", ca.rawServer(t, other.issue(t, serverCert())), unknownCA},
		{"self-signed", ca.rawServer(t, (*testCA)(nil).issue(t, serverCert())), unknownCA},
		{"usage of a client", spoilt(func(c *x509.Certificate) { c.ExtKeyUsage = clientCert().ExtKeyUsage }), invalid(x509.IncompatibleUsage)},
		{"other host", spoilt(func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 2)} }), wrongHost},
		{"host in common name only", spoilt(func(c *x509.Certificate) { c.Subject.CommonName, c.IPAddresses = "127.0.0.1", nil }), wrongHost},
		{"expired", spoilt(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) }), invalid(x509.Expired)},
		{"not yet valid", spoilt(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }), invalid(x509.Expired)},
		{"TLS 1.2", old, says("protocol version not supported")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := request(t, tt.server, client)
			if x.client == nil || !tt.want(x.client) {
				t.Errorf("client got %q, %v", x.answer, x.client)
			}
		})
	}
	if x := request(t, ca.rawServer(t, ca.issue(t, serverCert())), client); x.answer != "alice" {
		t.Errorf("the good server: %v", x.client)
	}
}

func TestServerNameOverride(t *testing.T) {
	ca := newTestCA(t)
	c := serverCert()
	c.IPAddresses, c.DNSNames = nil, []string{"worker1"}
	server := ca.rawServer(t, ca.issue(t, c))
	for name, want := range map[string]bool{"worker1": true, "worker2": false, "": false} {
		client, err := authz.ClientTLSFromPEM(authz.ClientPEM{KeyPair: ca.issue(t, clientCert()), CA: ca.pem, ServerName: name})
		if err != nil {
			t.Fatal(err)
		}
		if x := request(t, server, client); (x.client == nil) != want {
			t.Errorf("server name %q: %v", name, x.client)
		}
	}
}

// clientFiles writes what a client needs to a directory.
func clientFiles(t *testing.T, pair authz.KeyPair, ca []byte) authz.ClientFiles {
	t.Helper()
	dir := t.TempDir()
	f := authz.ClientFiles{
		CA:   filepath.Join(dir, "ca.pem"),
		Cert: filepath.Join(dir, "cert.pem"),
		Key:  filepath.Join(dir, "key.pem"),
	}
	writeFile(t, f.CA, ca)
	writeFile(t, f.Cert, pair.Cert)
	writeFile(t, f.Key, pair.Key)
	return f
}

func TestClientFilesRefused(t *testing.T) {
	ca := newTestCA(t)
	good, server := ca.issue(t, clientCert()), ca.issue(t, serverCert())
	c := clientCert()
	c.NotAfter = time.Now().Add(-time.Second)
	for _, tt := range []struct {
		name       string
		pair       authz.KeyPair
		ca         []byte
		file, want string
	}{
		{"server certificate", server, ca.pem, "cert.pem", "no clientAuth"},
		{"other key", authz.KeyPair{Cert: good.Cert, Key: server.Key}, ca.pem, "key.pem", "does not match"},
		{"expired", ca.issue(t, c), ca.pem, "cert.pem", "expired on"},
		{"empty CA", good, nil, "ca.pem", "no CA certificate"},
		{"leaf as CA", good, server.Cert, "ca.pem", "not a CA"},
	} {
		_, err := authz.ClientTLS(clientFiles(t, tt.pair, tt.ca))
		if err == nil || !strings.Contains(err.Error(), tt.file) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s and %q in it", tt.name, err, tt.file, tt.want)
		}
	}
}

func TestClientFiles(t *testing.T) {
	ca := newTestCA(t)
	files := clientFiles(t, ca.issue(t, clientCert()), ca.pem)
	client, err := authz.ClientTLS(files)
	if err != nil {
		t.Fatal(err)
	}
	if x := request(t, newServer(t, ca).Config(), client); x.answer != "alice" {
		t.Errorf("client %v, server %v", x.client, x.server)
	}
	for _, path := range []string{files.CA, files.Cert, files.Key} {
		good := readFile(t, path)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if _, err := authz.ClientTLS(files); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), path) {
			t.Errorf("without %s: %v", path, err)
		}
		writeFile(t, path, good)
	}
}

func TestClientKeyOpenToOthersRefused(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("files have no permission bits on windows")
	}
	ca := newTestCA(t)
	files := clientFiles(t, ca.issue(t, clientCert()), ca.pem)
	if err := os.Chmod(files.Key, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := authz.ClientTLS(files); err == nil || !strings.Contains(err.Error(), files.Key+": mode 0644") {
		t.Errorf("got %v", err)
	}
}
