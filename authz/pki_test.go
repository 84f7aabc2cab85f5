package authz_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"testing"
	"time"

	"jobworker/authz"
)

func newCA(t *testing.T, life time.Duration) *authz.CA {
	t.Helper()
	ca, err := authz.NewCA(life)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// parseCert reads the one certificate in data.
func parseCert(t *testing.T, data []byte) *x509.Certificate {
	t.Helper()
	block, rest := pem.Decode(data)
	if block == nil || len(rest) > 0 {
		t.Fatalf("not one PEM block: %q", data)
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNewCA(t *testing.T) {
	c := parseCert(t, newCA(t, 0).CertPEM())
	if !c.IsCA || !c.BasicConstraintsValid || c.MaxPathLen != 0 || !c.MaxPathLenZero {
		t.Errorf("basic constraints: %v %v %d", c.IsCA, c.BasicConstraintsValid, c.MaxPathLen)
	}
	if c.KeyUsage != x509.KeyUsageCertSign|x509.KeyUsageCRLSign || len(c.ExtKeyUsage) != 0 {
		t.Errorf("usage %b %v", c.KeyUsage, c.ExtKeyUsage)
	}
	checkCommon(t, c, authz.DefaultCALife)
	if other := parseCert(t, newCA(t, 0).CertPEM()); other.Subject.String() == c.Subject.String() {
		t.Errorf("two CAs are named %s", c.Subject)
	}
}

// checkCommon checks what all certificates have in common.
func checkCommon(t *testing.T, c *x509.Certificate, life time.Duration) {
	t.Helper()
	if key, ok := c.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		t.Errorf("key is %T", c.PublicKey)
	}
	if bits := c.SerialNumber.BitLen(); bits > 128 || bits < 64 { // fewer once in 2^64
		t.Errorf("serial number of %d bits", bits)
	}
	now := time.Now()
	if d := now.Sub(c.NotBefore); d < 4*time.Minute || d > 6*time.Minute {
		t.Errorf("valid since %v", d)
	}
	if d := c.NotAfter.Sub(now) - life; d < -time.Minute || d > time.Second {
		t.Errorf("valid for %v more than %v", d, life)
	}
}

func TestIssueServer(t *testing.T) {
	pair, err := newCA(t, 0).IssueServer([]string{"worker1", "127.0.0.1", "::1", "a.example.org"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	c := parseCert(t, pair.Cert)
	checkCommon(t, c, time.Hour)
	for _, host := range []string{"worker1", "127.0.0.1", "::1", "a.example.org"} {
		if err := c.VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
	if !slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}) || c.IsCA ||
		c.KeyUsage != x509.KeyUsageDigitalSignature || len(c.DNSNames) != 2 || len(c.IPAddresses) != 2 {
		t.Errorf("usage %v, CA %v, hosts %v %v", c.ExtKeyUsage, c.IsCA, c.DNSNames, c.IPAddresses)
	}
}

func TestIssueClient(t *testing.T) {
	pair, err := newCA(t, 0).IssueClient("alice", []string{"jobworker:admin", "dev"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := parseCert(t, pair.Cert)
	checkCommon(t, c, authz.DefaultLeafLife)
	slices.Sort(c.Subject.Organization)
	if c.Subject.CommonName != "alice" || !slices.Equal(c.Subject.Organization, []string{"dev", "jobworker:admin"}) {
		t.Errorf("subject %s", c.Subject)
	}
	if !slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}) || c.IsCA {
		t.Errorf("usage %v, CA %v", c.ExtKeyUsage, c.IsCA)
	}
}

func TestIssueRefused(t *testing.T) {
	ca := newCA(t, 24*time.Hour)
	client := func(user string, groups ...string) func() (authz.KeyPair, error) {
		return func() (authz.KeyPair, error) { return ca.IssueClient(user, groups, 0) }
	}
	server := func(hosts ...string) func() (authz.KeyPair, error) {
		return func() (authz.KeyPair, error) { return ca.IssueServer(hosts, 0) }
	}
	life := func(d time.Duration) func() (authz.KeyPair, error) {
		return func() (authz.KeyPair, error) { return ca.IssueClient("alice", nil, d) }
	}
	for _, tt := range []struct {
		issue func() (authz.KeyPair, error)
		want  string
	}{
		{client(""), `user: ""`},
		{client("a\nb"), `user: "a\nb"`},
		{client(strings.Repeat("x", 65)), "longer than 64"},
		{client("alice", "g", ""), `group: ""`},
		{client("alice", slices.Repeat([]string{"g"}, 65)...), "65 of them"},
		{server(), "none"},
		{server("a", ""), `host: ""`},
		{server("worker1:8443"), `host: "worker1:8443"`},
		{server("https://worker1"), `host: "https://worker1"`},
		{server("[::1]"), `host: "[::1]"`},
		{server("fe80::1%eth0"), `host: "fe80::1%eth0"`},
		{server("1.2.3.256"), `host: "1.2.3.256"`},
		{server("*.example.org"), `host: "*.example.org"`},
		{server("-a"), `host: "-a"`},
		{server("a-."), `host: "a-."`},
		{server("a..b"), `host: "a..b"`},
		{server("wörker"), `host: "w\u00f6rker"`},
		{server(strings.Repeat("a", 64)), "host: "},
		{server(strings.Repeat("a.", 127) + "a"), "host: "},
		{life(-time.Hour), "-1h0m0s"},
		{life(time.Millisecond), "1ms"},
		{life(25 * time.Hour), "25h0m0s: longer than the CA"},
	} {
		pair, err := tt.issue()
		if err == nil || pair.Cert != nil || pair.Key != nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %q in it", err, tt.want)
		}
	}
	if _, err := authz.NewCA(-time.Hour); err == nil || !strings.Contains(err.Error(), "-1h0m0s") {
		t.Errorf("CA for -1h: %v", err)
	}
}

// TestDefaultLifeEndsWithCA: in its last year a CA still signs, for what it has left.
func TestDefaultLifeEndsWithCA(t *testing.T) {
	ca := newCA(t, 24*time.Hour)
	pair, err := ca.IssueClient("alice", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	if leaf := parseCert(t, pair.Cert); !leaf.NotAfter.Equal(parseCert(t, ca.CertPEM()).NotAfter) {
		t.Errorf("until %v", leaf.NotAfter)
	}
}

// TestInMemory is a whole service without a file.
func TestInMemory(t *testing.T) {
	ca := newCA(t, time.Hour)
	serverPair, err := ca.IssueServer([]string{"127.0.0.1"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	clientPair, err := ca.IssueClient("alice", []string{authz.BuiltinGroup(authz.Admin)}, 0)
	if err != nil {
		t.Fatal(err)
	}
	server, err := authz.NewServerTLSFromPEM(authz.ServerPEM{KeyPair: serverPair, ClientCA: ca.CertPEM()})
	if err != nil {
		t.Fatal(err)
	}
	client, err := authz.ClientTLSFromPEM(authz.ClientPEM{KeyPair: clientPair, CA: ca.CertPEM()})
	if err != nil {
		t.Fatal(err)
	}
	x := request(t, server.Config(), client)
	if x.client != nil || x.server != nil {
		t.Fatalf("client %v, server %v", x.client, x.server)
	}
	id, err := server.Identify(&x.peer)
	if err != nil || !slices.Equal(authz.Builtin().Rights(id).Roles, []authz.Role{authz.Admin}) {
		t.Errorf("%+v, %v", id, err)
	}
}

func BenchmarkIdentify(b *testing.B) {
	ca, err := authz.NewCA(0)
	if err != nil {
		b.Fatal(err)
	}
	pair, err := ca.IssueServer([]string{"127.0.0.1"}, 0)
	if err != nil {
		b.Fatal(err)
	}
	s, err := authz.NewServerTLSFromPEM(authz.ServerPEM{KeyPair: pair, ClientCA: ca.CertPEM()})
	if err != nil {
		b.Fatal(err)
	}
	clientPair, err := ca.IssueClient("alice", []string{"jobworker:operator"}, 0)
	if err != nil {
		b.Fatal(err)
	}
	leaf, root := benchCert(b, clientPair.Cert), benchCert(b, ca.CertPEM())
	cs := &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{leaf, root}}}
	for b.Loop() {
		if _, err := s.Identify(cs); err != nil {
			b.Fatal(err)
		}
	}
}

func benchCert(b *testing.B, data []byte) *x509.Certificate {
	block, _ := pem.Decode(data)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		b.Fatal(err)
	}
	return c
}
