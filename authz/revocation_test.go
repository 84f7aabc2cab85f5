package authz_test

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"jobworker/authz"
)

// pkiFiles are the files of the worker that InitPKI makes in dir.
func pkiFiles(dir string) authz.ServerFiles {
	return authz.ServerFiles{
		Cert:     filepath.Join(dir, "server.pem"),
		Key:      filepath.Join(dir, "server-key.pem"),
		ClientCA: filepath.Join(dir, "ca.pem"), ClientCRL: filepath.Join(dir, "crl.pem"),
	}
}

func revoke(t *testing.T, o authz.RevokeOptions, want int) {
	t.Helper()
	path, added, err := authz.Revoke(o)
	if err != nil || added != want || path != filepath.Join(o.Dir, "crl.pem") {
		t.Fatalf("%s, %d certificates, %v; want %d", path, added, err, want)
	}
}

func clientOf(t *testing.T, dir, user string) *tls.Config {
	t.Helper()
	config, err := authz.ClientTLS(set(dir, user))
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// Who is revoked is refused in the handshake, and on a connection that is open; others are not, nor
// is the same user with a new certificate.
func TestRevoke(t *testing.T) {
	dir := initPKI(t)
	if _, err := authz.AddClient(dir, "bob", nil, 0); err != nil {
		t.Fatal(err)
	}
	s, err := authz.NewServerTLS(pkiFiles(dir))
	if err != nil {
		t.Fatal(err)
	}
	alice, bob := clientOf(t, dir, "alice"), clientOf(t, dir, "bob")
	open := request(t, s.Config(), bob).peer
	if _, err := s.Identify(&open); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "bob")); err != nil { // it has been given to bob
		t.Fatal(err)
	}
	revoke(t, authz.RevokeOptions{Dir: dir, User: "bob"}, 1)
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Identify(&open); err == nil || !strings.Contains(err.Error(), `certificate of "bob": revoked`) {
		t.Errorf("on the open connection: %v", err)
	}
	if x := request(t, s.Config(), bob); x.answer != "" || x.server == nil || !strings.Contains(x.server.Error(), "revoked") {
		t.Errorf("was answered %q, the server says %v", x.answer, x.server)
	}
	if x := request(t, s.Config(), alice); x.answer != "alice" {
		t.Errorf("another: %v, %v", x.client, x.server)
	}
	if _, err := authz.AddClient(dir, "bob", nil, 0); err != nil {
		t.Fatal(err)
	}
	if x := request(t, s.Config(), clientOf(t, dir, "bob")); x.answer != "bob" {
		t.Errorf("with a new certificate: %v, %v", x.client, x.server)
	}
	revoke(t, authz.RevokeOptions{Dir: dir, User: "bob"}, 1)
	revoke(t, authz.RevokeOptions{Dir: dir, Cert: set(dir, "alice").Cert}, 1)
	revoke(t, authz.RevokeOptions{Dir: dir, User: "alice"}, 0)
	revoke(t, authz.RevokeOptions{Dir: dir, Life: time.Hour}, 0)
	list := readList(t, filepath.Join(dir, "crl.pem"))
	if len(list.RevokedCertificateEntries) != 3 || list.Number.Int64() != 6 || time.Until(list.NextUpdate) > time.Hour {
		t.Errorf("list number %d with %d certificates, until %s", list.Number, len(list.RevokedCertificateEntries), list.NextUpdate)
	}
}

func readList(t *testing.T, path string) *x509.RevocationList {
	t.Helper()
	block, _ := pem.Decode(readFile(t, path))
	list, err := x509.ParseRevocationList(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// What cannot be revoked leaves the list as it was.
func TestRevokeRefused(t *testing.T) {
	dir, other := initPKI(t), initPKI(t)
	list := readFile(t, dir, "crl.pem")
	for _, tt := range []struct {
		o    authz.RevokeOptions
		want string
	}{
		{authz.RevokeOptions{User: "carol"}, `user "carol": has no certificate`},
		{authz.RevokeOptions{User: "../alice"}, `user "../alice": has no certificate`},
		{authz.RevokeOptions{User: "a\nb"}, "printable"},
		{authz.RevokeOptions{Cert: filepath.Join(dir, "none.pem")}, "none.pem"},
		{authz.RevokeOptions{Cert: filepath.Join(dir, "ca-key.pem")}, "no certificate in it"},
		{authz.RevokeOptions{Cert: set(other, "alice").Cert}, "cert.pem"},
		{authz.RevokeOptions{User: "alice", Life: -time.Hour}, "-1h"},
		{authz.RevokeOptions{User: "alice", Life: 1e5 * time.Hour}, "before the CA"},
	} {
		tt.o.Dir = dir
		if _, _, err := authz.Revoke(tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %q in it", err, tt.want)
		}
	}
	writeFile(t, filepath.Join(dir, "crl.pem.new"), nil)
	if _, _, err := authz.Revoke(authz.RevokeOptions{Dir: dir, User: "alice"}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("while another is at it: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "crl.pem.new")); err != nil {
		t.Fatal(err)
	}
	if string(readFile(t, dir, "crl.pem")) != string(list) {
		t.Error("the list is another")
	}
	copyFile(t, other, dir, "crl.pem")
	if _, _, err := authz.Revoke(authz.RevokeOptions{Dir: dir, User: "alice"}); err == nil || !strings.Contains(err.Error(), "crl.pem") {
		t.Errorf("after the list of another CA: %v", err)
	}
}

// list makes a list of the CA that revokes serial number 1, and is spoiled.
func (ca *testCA) list(t *testing.T, spoil func(*x509.RevocationList)) []byte {
	t.Helper()
	l := &x509.RevocationList{
		Number: big.NewInt(7), ThisUpdate: time.Now().Add(-time.Hour), NextUpdate: time.Now().Add(time.Hour),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(1), RevocationTime: time.Now()}},
	}
	if spoil != nil {
		spoil(l)
	}
	der, err := x509.CreateRevocationList(rand.Reader, l, ca.cert, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func pemList(der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}) }

// TestRevocationFileRefused: a file that does not say for certain who is revoked is not served with.
func TestRevocationFileRefused(t *testing.T) {
	ca, other := newTestCA(t), newTestCA(t)
	pair := ca.issue(t, serverCert())
	good := ca.list(t, nil)
	critical := pkix.Extension{Id: []int{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, 1}} // deltaCRLIndicator
	forged := ca.list(t, nil)
	forged[len(forged)-1] ^= 1
	for _, tt := range []struct {
		name string
		data []byte
		want string // "" is none
	}{
		{"good", pemList(good), ""},
		{"DER", good, ""},
		{"empty list", pemList(ca.list(t, func(l *x509.RevocationList) { l.RevokedCertificateEntries = nil })), ""},
		{"empty", []byte{}, "no revocation list"},
		{"text", []byte("none\n"), "no revocation list"},
		{"certificate", ca.pem, "CERTIFICATE"},
		{"cut short", pemList(good)[:100], "malformed PEM"},
		{"DER cut short", good[:len(good)-1], "list 1"},
		{"bytes after DER", append(good[:len(good):len(good)], 0), "bytes after"},
		{"other CA", pemList(other.list(t, nil)), "of none of the CAs"},
		{"other CA too", concat(pemList(good), pemList(other.list(t, nil))), "list 2"},
		{"forged", pemList(forged), "list 1"},
		{"twice", concat(pemList(good), pemList(good)), "the second of this CA"},
		{"run out", pemList(ca.list(t, func(l *x509.RevocationList) { l.NextUpdate = time.Now().Add(-time.Second) })), "ran out on"},
		{"not yet", pemList(ca.list(t, func(l *x509.RevocationList) { l.ThisUpdate = time.Now().Add(time.Minute) })), "not in force before"},
		{"delta", pemList(ca.list(t, func(l *x509.RevocationList) { l.ExtraExtensions = []pkix.Extension{critical} })), "critical extension 2.5.29.27"},
		{"entry of another CA", pemList(ca.list(t, func(l *x509.RevocationList) {
			l.RevokedCertificateEntries[0].ExtraExtensions = []pkix.Extension{{Id: []int{2, 5, 29, 29}, Critical: true, Value: []byte{5, 0}}}
		})), "critical extension 2.5.29.29"},
		{"huge", make([]byte, 9<<20), "larger than"},
	} {
		files := serverFiles(t, pair, ca.pem)
		files.ClientCRL = filepath.Join(filepath.Dir(files.Cert), "crl.pem")
		writeFile(t, files.ClientCRL, tt.data)
		_, err := authz.NewServerTLS(files)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "crl.pem")) {
			t.Errorf("%s: %v, want %q and the file in it", tt.name, err, tt.want)
		}
	}
}

// TestReloadNeverGoesBack: an older list, or none, would let those in again who were shut out.
func TestReloadNeverGoesBack(t *testing.T) {
	ca, next := newTestCA(t), newTestCA(t)
	files := serverFiles(t, ca.issue(t, serverCert()), ca.pem)
	files.ClientCRL = filepath.Join(filepath.Dir(files.Cert), "crl.pem")
	writeFile(t, files.ClientCRL, pemList(ca.list(t, nil)))
	s, err := authz.NewServerTLS(files)
	if err != nil {
		t.Fatal(err)
	}
	older := ca.list(t, func(l *x509.RevocationList) { l.Number, l.RevokedCertificateEntries = big.NewInt(6), nil })
	for _, step := range []struct {
		name     string
		cas, crl []byte
		want     string
	}{
		{"the same", ca.pem, pemList(ca.list(t, nil)), ""},
		{"older", ca.pem, pemList(older), "list number 6 of"},
		{"gone", concat(ca.pem, next.pem), pemList(next.list(t, nil)), "not there any more"},
		{"a CA more", concat(ca.pem, next.pem), concat(pemList(ca.list(t, nil)), pemList(next.list(t, nil))), ""},
		{"the CA is gone too", next.pem, pemList(next.list(t, nil)), ""},
	} {
		writeFile(t, files.ClientCA, step.cas)
		writeFile(t, files.ClientCRL, step.crl)
		if err := s.Reload(); step.want == "" && err != nil || step.want != "" && (err == nil || !strings.Contains(err.Error(), step.want)) {
			t.Errorf("%s: %v, want %q in it", step.name, err, step.want)
		}
		if x := request(t, s.Config(), newClient(t, ca)); x.answer != "" { // its serial number is 1
			t.Errorf("%s: who is revoked was answered %q", step.name, x.answer)
		}
	}
}

// TestListRunsOut: what has been revoked since then nobody knows, so all of the CA's are refused.
func TestListRunsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newTestCA(t)
		list := ca.list(t, func(l *x509.RevocationList) { l.RevokedCertificateEntries = nil })
		s, err := authz.NewServerTLSFromPEM(authz.ServerPEM{KeyPair: ca.issue(t, serverCert()), ClientCA: ca.pem, ClientCRL: list})
		if err != nil {
			t.Fatal(err)
		}
		template := clientCert()
		template.NotAfter = time.Now().Add(24 * time.Hour)
		leaf := loadPair(t, ca.issue(t, template)).Leaf
		open := tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{leaf, ca.cert}}}
		id, err := s.Identify(&open)
		if err != nil || time.Until(id.NotAfter) > time.Hour {
			t.Fatalf("%+v, %v; want the end of the list", id, err)
		}
		time.Sleep(time.Hour + time.Second) // of the bubble's time
		if _, err := s.Identify(&open); err == nil || !strings.Contains(err.Error(), "revocation list of") {
			t.Errorf("an hour later: %v", err)
		}
		if err := s.Config().VerifyConnection(open); err == nil {
			t.Error("an hour later a handshake would pass")
		}
	})
}

// TestCrossSignedCA: the client chooses the chain, and may send a certificate of the CA that another
// CA has signed. The list is that of the CA's key.
func TestCrossSignedCA(t *testing.T) {
	ca := newTestCA(t)
	top := clientCert()
	top.Subject.CommonName, top.IsCA, top.BasicConstraintsValid = "top", true, true
	top.KeyUsage, top.ExtKeyUsage = x509.KeyUsageCertSign, nil
	pair := loadPair(t, (*testCA)(nil).issue(t, top))
	cross := *ca.cert
	cross.SerialNumber = big.NewInt(99)
	der, err := x509.CreateCertificate(rand.Reader, &cross, pair.Leaf, ca.cert.PublicKey, pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	client := loadPair(t, ca.issue(t, clientCert()))
	client.Certificate = append(client.Certificate, der)
	config := &tls.Config{RootCAs: pool(ca), GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return &client, nil
	}}
	cas := concat(ca.pem, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Leaf.Raw}))
	for _, tt := range []struct {
		list []byte
		want string
	}{{nil, "alice"}, {ca.list(t, nil), ""}} {
		s, err := authz.NewServerTLSFromPEM(authz.ServerPEM{KeyPair: ca.issue(t, serverCert()), ClientCA: cas, ClientCRL: tt.list})
		if err != nil {
			t.Fatal(err)
		}
		x := request(t, s.Config(), config)
		if x.answer != tt.want {
			t.Errorf("answered %q, want %q: %v, %v", x.answer, tt.want, x.client, x.server)
		}
		if tt.list == nil && len(x.peer.VerifiedChains) != 2 {
			t.Errorf("%d chains, want the one to each CA", len(x.peer.VerifiedChains))
		}
	}
}

// TestPostQuantum: a server that requires it refuses who does not offer it, and no others.
func TestPostQuantum(t *testing.T) {
	ca := newTestCA(t)
	for _, tt := range []struct {
		name     string
		require  bool
		offers   []tls.CurveID
		answered bool
		used     tls.CurveID
	}{
		{"default client", true, nil, true, tls.X25519MLKEM768},
		{"its second choice", true, []tls.CurveID{tls.X25519, tls.X25519MLKEM768}, true, tls.X25519MLKEM768},
		{"old client", true, []tls.CurveID{tls.X25519, tls.CurveP256}, false, 0},
		{"old client, not required", false, []tls.CurveID{tls.X25519, tls.CurveP256}, true, tls.X25519},
	} {
		s, err := authz.NewServerTLSFromPEM(authz.ServerPEM{KeyPair: ca.issue(t, serverCert()), ClientCA: ca.pem, PostQuantum: tt.require})
		if err != nil {
			t.Fatal(err)
		}
		client := newClient(t, ca)
		client.CurvePreferences = tt.offers
		x := request(t, s.Config(), client)
		if (x.client == nil) != tt.answered || x.state.CurveID != tt.used {
			t.Errorf("%s: %v, key exchange %v; want %v", tt.name, x.client, x.state.CurveID, tt.used)
		}
	}
}
