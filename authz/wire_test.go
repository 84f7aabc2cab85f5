package authz_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"jobworker/authz"
)

// testCA signs certificates that the package itself would refuse to make.
type testCA struct {
	dir  string // as InitCA left it
	pem  []byte
	cert *x509.Certificate
	key  crypto.Signer
}

func newTestCA(t *testing.T) *testCA {
	t.Helper()
	dir := t.TempDir()
	if _, err := authz.InitCA(dir, 0); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return &testCA{dir: dir, pem: readFile(t, dir, "ca.pem"), cert: pair.Leaf, key: pair.PrivateKey.(crypto.Signer)}
}

// clientCert is a good client certificate to be spoiled.
func clientCert() *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "alice", Organization: []string{"jobworker:operator"}},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}

// serverCert is a good server certificate to be spoiled.
func serverCert() *x509.Certificate {
	c := clientCert()
	c.Subject = pkix.Name{CommonName: "server"}
	c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	return c
}

// issue signs template with the CA's key, or with its own when ca is nil.
func (ca *testCA) issue(t *testing.T, template *x509.Certificate) authz.KeyPair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := template, crypto.Signer(key)
	if ca != nil {
		parent, signer = ca.cert, ca.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return authz.KeyPair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}
}

// sub makes a CA of what template says, signed by ca.
func (ca *testCA) sub(t *testing.T, template *x509.Certificate) *testCA {
	t.Helper()
	pair := loadPair(t, ca.issue(t, template))
	return &testCA{cert: pair.Leaf, key: pair.PrivateKey.(crypto.Signer)}
}

func loadPair(t *testing.T, pair authz.KeyPair) tls.Certificate {
	t.Helper()
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// rawClient is a client that checks nothing of its own certificate, as an attacker's.
func (ca *testCA) rawClient(t *testing.T, pair authz.KeyPair) *tls.Config {
	t.Helper()
	cert := loadPair(t, pair)
	return &tls.Config{
		RootCAs: pool(ca),
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &cert, nil
		},
	}
}

func pool(ca *testCA) *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(ca.cert)
	return p
}

// exchange is what became of one connection with one request on it.
type exchange struct {
	client, server error // each side's; both nil when the request was answered
	answer         string
	state          tls.ConnectionState // the client's
	peer           tls.ConnectionState // the server's
}

// request connects client to server over loopback, sends one byte and reads the answer: the user
// that the server identified. In TLS 1.3 a client that will be refused connects without an error,
// so only an answer counts.
func request(t *testing.T, server, client *tls.Config) exchange {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var x exchange
	served := make(chan struct{})
	go func() {
		defer close(served)
		x.peer, x.server = serveOne(ln, server)
	}()
	x.answer, x.state, x.client = ask(ln.Addr().String(), client)
	<-served
	return x
}

func serveOne(ln net.Listener, config *tls.Config) (tls.ConnectionState, error) {
	raw, err := ln.Accept()
	if err != nil {
		return tls.ConnectionState{}, err
	}
	conn := tls.Server(raw, config)
	defer conn.Close()
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		return tls.ConnectionState{}, err
	}
	state := conn.ConnectionState()
	id, err := authz.Identify(&state)
	if err != nil {
		return state, err
	}
	_, err = io.WriteString(conn, id.User)
	return state, err
}

func ask(addr string, config *tls.Config) (string, tls.ConnectionState, error) {
	conn, err := tls.Dial("tcp", addr, config)
	if err != nil {
		return "", tls.ConnectionState{}, err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte{'?'}); err != nil {
		return "", tls.ConnectionState{}, err
	}
	answer, err := io.ReadAll(conn)
	if err == nil && len(answer) == 0 {
		err = errors.New("no answer")
	}
	return string(answer), conn.ConnectionState(), err
}

func newServer(t *testing.T, ca *testCA) *authz.ServerTLS {
	t.Helper()
	s, err := authz.NewServerTLSFromPEM(authz.ServerPEM{KeyPair: ca.issue(t, serverCert()), ClientCA: ca.pem})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newClient(t *testing.T, ca *testCA) *tls.Config {
	t.Helper()
	config, err := authz.ClientTLSFromPEM(authz.ClientPEM{KeyPair: ca.issue(t, clientCert()), CA: ca.pem})
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// serverFiles writes what a server needs to a directory.
func serverFiles(t *testing.T, pair authz.KeyPair, clientCA []byte) authz.ServerFiles {
	t.Helper()
	dir := t.TempDir()
	f := authz.ServerFiles{
		Cert:     filepath.Join(dir, "server.pem"),
		Key:      filepath.Join(dir, "server-key.pem"),
		ClientCA: filepath.Join(dir, "ca.pem"),
	}
	writeFile(t, f.Cert, pair.Cert)
	writeFile(t, f.Key, pair.Key)
	writeFile(t, f.ClientCA, clientCA)
	return f
}

func writeFile(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, elem ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func concat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
