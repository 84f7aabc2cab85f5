package authz_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"time"

	"jobworker/authz"
)

// verified is the state of a connection on which cert was verified against ca.
func verified(cert, ca *x509.Certificate) *tls.ConnectionState {
	return &tls.ConnectionState{
		PeerCertificates: []*x509.Certificate{cert},
		VerifiedChains:   [][]*x509.Certificate{{cert, ca}},
	}
}

func TestIdentify(t *testing.T) {
	ca := newTestCA(t)
	c := clientCert()
	c.Subject = pkix.Name{CommonName: "zoë", Organization: []string{"jobworker:viewer", "a b"}}
	leaf := loadPair(t, ca.issue(t, c)).Leaf
	id, err := authz.Identify(verified(leaf, ca.cert))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(id.Groups) // X.501 makes them a set
	sum := sha256.Sum256(leaf.Raw)
	if id.User != "zoë" || !slices.Equal(id.Groups, []string{"a b", "jobworker:viewer"}) ||
		id.Fingerprint != hex.EncodeToString(sum[:]) || !id.NotAfter.Equal(leaf.NotAfter) {
		t.Errorf("got %+v", id)
	}
}

func TestIdentifyWantsVerifiedChain(t *testing.T) {
	leaf := clientCert()
	for name, cs := range map[string]*tls.ConnectionState{
		"nil":                  nil,
		"no TLS peer":          {},
		"only sent":            {PeerCertificates: []*x509.Certificate{leaf}},
		"empty chain":          {PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{{}}},
		"empty chain in front": {VerifiedChains: [][]*x509.Certificate{{}, {leaf}}},
	} {
		if id, err := authz.Identify(cs); err == nil {
			t.Errorf("%s: identified as %q", name, id.User)
		}
	}
}

func TestIdentifyRefusesSubject(t *testing.T) {
	long := strings.Repeat("x", 65)
	name := func(cn string, o ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.Subject = pkix.Name{CommonName: cn, Organization: o} }
	}
	for _, tt := range []struct {
		name  string
		spoil func(*x509.Certificate)
		want  string // in the error
	}{
		{"no common name", name("", "g"), "common name: \"\""},
		{"common name too long", name(long), long},
		{"line feed", name("alice\nbob"), `alice\nbob`},
		{"NUL", name("alice\x00"), `alice\x00`},
		{"escape", name("\x1b[2J"), `\x1b[2J`},
		{"right-to-left override", name("a\u202eb"), `a\u202eb`},
		{"not UTF-8", name("al\xffice"), `al\xffice`},
		{"replacement character", name("al\ufffdice"), `al\ufffdice`},
		{"space around", name(" alice"), "space"},
		{"only space", name(" "), "space"},
		{"empty group", name("alice", "g", ""), "organization: \"\""},
		{"group too long", name("alice", long), long},
		{"control character in group", name("alice", "g\r"), `g\r`},
		{"too many groups", name("alice", slices.Repeat([]string{"g"}, 65)...), "65"},
		{"no usage", func(c *x509.Certificate) { c.ExtKeyUsage = nil }, "clientAuth"},
		{"usage of a server", func(c *x509.Certificate) { c.ExtKeyUsage = serverCert().ExtKeyUsage }, "clientAuth"},
		{"two common names", func(c *x509.Certificate) {
			cn := pkix.AttributeTypeAndValue{Type: []int{2, 5, 4, 3}, Value: "alice"}
			c.Subject.Names = []pkix.AttributeTypeAndValue{cn, cn}
		}, "2 common names"},
	} {
		c := clientCert()
		tt.spoil(c)
		_, err := authz.Identify(verified(c, c))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q in it", tt.name, err, tt.want)
		}
	}
}

// TestIdentifyShortensHugeNames: what a certificate can put into our log is bounded.
func TestIdentifyShortensHugeNames(t *testing.T) {
	c := clientCert()
	c.Subject.CommonName = strings.Repeat("é", 100_000)
	if _, err := authz.Identify(verified(c, c)); err == nil || len(err.Error()) > 1000 {
		t.Errorf("an error of %d bytes", len(err.Error()))
	}
}

func TestLongestNameIsGood(t *testing.T) {
	c := clientCert()
	c.Subject.CommonName = strings.Repeat("é", 64)
	if id, err := authz.Identify(verified(c, c)); err != nil || id.User != c.Subject.CommonName {
		t.Errorf("%q, %v", id.User, err)
	}
}

// TestIdentityEndsWithItsChain: the CA may run out first, and with two CAs the last one counts.
func TestIdentityEndsWithItsChain(t *testing.T) {
	at := func(h time.Duration) *x509.Certificate {
		c := clientCert()
		c.NotAfter = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC).Add(h * time.Hour)
		return c
	}
	for _, tt := range []struct {
		name   string
		chains [][]*x509.Certificate
		want   *x509.Certificate
	}{
		{"leaf first", [][]*x509.Certificate{{at(1), at(2)}}, at(1)},
		{"CA first", [][]*x509.Certificate{{at(3), at(2)}}, at(2)},
		{"two CAs", [][]*x509.Certificate{{at(5), at(2)}, {at(5), at(4)}}, at(4)},
	} {
		id, err := authz.Identify(&tls.ConnectionState{VerifiedChains: tt.chains})
		if err != nil || !id.NotAfter.Equal(tt.want.NotAfter) {
			t.Errorf("%s: %v, %v", tt.name, id.NotAfter, err)
		}
		if id.Expired(id.NotAfter) || !id.Expired(id.NotAfter.Add(1)) {
			t.Errorf("%s: expires at the wrong moment", tt.name)
		}
	}
}
