package authz

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// How long new certificates are valid where no time is given.
const (
	DefaultCALife   = 10 * 365 * 24 * time.Hour
	DefaultLeafLife = 365 * 24 * time.Hour
)

// clockSkew is how far the clocks of two machines may differ: a new certificate is valid from
// that much before now.
const clockSkew = 5 * time.Minute

// CA signs certificates. It is safe for concurrent use.
type CA struct {
	pair KeyPair
	cert *x509.Certificate
	key  any // crypto.Signer of cert
}

// NewCA makes a certificate authority with a new P-256 key, valid for life; 0 is DefaultCALife.
// It signs leaves only, no further CAs.
func NewCA(life time.Duration) (*CA, error) {
	template, err := newTemplate(life, DefaultCALife)
	if err != nil {
		return nil, fmt.Errorf("make CA: %w", err)
	}
	// Two CAs with the same subject would confuse people during a rotation, and some libraries.
	template.Subject.CommonName = fmt.Sprintf("jobworker CA %.8s", template.SerialNumber.Text(16))
	template.BasicConstraintsValid, template.IsCA = true, true
	template.MaxPathLenZero = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	pair, err := sign(template, nil)
	if err != nil {
		return nil, fmt.Errorf("make CA: %w", err)
	}
	return parseCAPair(pair)
}

// parseCAPair reads a CA's certificate and key, which must belong together and be valid now.
func parseCAPair(pair KeyPair) (*CA, error) {
	cas, err := parseCAs(pair.Cert)
	if err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		return nil, err
	}
	if err := checkTime(cas[0], time.Now()); err != nil {
		return nil, err
	}
	return &CA{pair: pair, cert: cas[0], key: cert.PrivateKey}, nil
}

// CertPEM returns the CA's certificate, which clients and servers need to verify each other. The
// caller must not change it.
func (ca *CA) CertPEM() []byte { return ca.pair.Cert }

// IssueServer makes a certificate with a new key for a server that is reached at hosts: DNS names
// and IP addresses, at least one. It is valid for life; 0 is DefaultLeafLife or
// what the CA has left.
func (ca *CA) IssueServer(hosts []string, life time.Duration) (KeyPair, error) {
	pair, err := ca.issueServer(hosts, life)
	if err != nil {
		return KeyPair{}, fmt.Errorf("make server certificate: %w", err)
	}
	return pair, nil
}

func (ca *CA) issueServer(hosts []string, life time.Duration) (KeyPair, error) {
	template, err := ca.newLeaf(life, x509.ExtKeyUsageServerAuth)
	if err != nil {
		return KeyPair{}, err
	}
	if err := addHosts(template, hosts); err != nil {
		return KeyPair{}, err
	}
	template.Subject.CommonName = "jobworker server"
	return sign(template, ca)
}

// IssueClient makes a certificate with a new key for a user in groups, which may be none. It is
// valid for life; 0 is DefaultLeafLife or what the CA has left.
func (ca *CA) IssueClient(user string, groups []string, life time.Duration) (KeyPair, error) {
	pair, err := ca.issueClient(user, groups, life)
	if err != nil {
		return KeyPair{}, fmt.Errorf("make client certificate: %w", err)
	}
	return pair, nil
}

func (ca *CA) issueClient(user string, groups []string, life time.Duration) (KeyPair, error) {
	template, err := ca.newLeaf(life, x509.ExtKeyUsageClientAuth)
	if err != nil {
		return KeyPair{}, err
	}
	if err := checkName(user); err != nil {
		return KeyPair{}, fmt.Errorf("user: %w", err)
	}
	if len(groups) > maxGroups {
		return KeyPair{}, fmt.Errorf("groups: %d of them, must be at most %d", len(groups), maxGroups)
	}
	for _, group := range groups {
		if err := checkName(group); err != nil {
			return KeyPair{}, fmt.Errorf("group: %w", err)
		}
	}
	template.Subject = pkix.Name{CommonName: user, Organization: groups}
	return sign(template, ca)
}

// newLeaf returns the template of a certificate for usage. It does not outlive the CA: the
// default life is cut to that, one that was asked for is refused.
func (ca *CA) newLeaf(life time.Duration, usage x509.ExtKeyUsage) (*x509.Certificate, error) {
	template, err := newTemplate(life, DefaultLeafLife)
	if err != nil {
		return nil, err
	}
	if template.NotAfter.After(ca.cert.NotAfter) {
		if life != 0 {
			return nil, fmt.Errorf("valid for %v: longer than the CA, valid until %s", life, ca.cert.NotAfter.Format(time.RFC3339))
		}
		template.NotAfter = ca.cert.NotAfter
	}
	template.BasicConstraintsValid = true // and IsCA false
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{usage}
	return template, nil
}

// newTemplate returns what all certificates have in common: a random serial number of 128 bits
// and the time.
func newTemplate(life, standard time.Duration) (*x509.Certificate, error) {
	if life == 0 {
		life = standard
	}
	if life < time.Second {
		return nil, fmt.Errorf("valid for %v: must be at least 1s", life)
	}
	serial := make([]byte, 16)
	rand.Read(serial) // never fails
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial),
		NotBefore:    now.Add(-clockSkew),
		NotAfter:     now.Add(life),
	}, nil
}

// sign makes a key and the certificate over it, signed by ca, or by itself when that is nil.
func sign(template *x509.Certificate, ca *CA) (KeyPair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return KeyPair{}, err
	}
	parent, signer := template, any(key)
	if ca != nil {
		parent, signer = ca.cert, ca.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return KeyPair{}, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return KeyPair{}, err
	}
	return KeyPair{
		Cert: pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: der}),
		Key:  pem.EncodeToMemory(&pem.Block{Type: pemPrivateKey, Bytes: keyDER}),
	}, nil
}

func addHosts(template *x509.Certificate, hosts []string) error {
	if len(hosts) == 0 {
		return errors.New("hosts: none: must be at least one DNS name or IP address")
	}
	for _, host := range hosts {
		if ip, err := netip.ParseAddr(host); err == nil && ip.Zone() == "" {
			template.IPAddresses = append(template.IPAddresses, ip.AsSlice())
			continue
		}
		if !isDNSName(host) {
			return fmt.Errorf("host: %+q: must be a DNS name or an IP address, without a port", clip(host))
		}
		template.DNSNames = append(template.DNSNames, host)
	}
	return nil
}

// isDNSName reports whether s is a host name as in RFC 1123 section 2.1. One that ends in a number
// is a mistyped IP address.
func isDNSName(s string) bool {
	labels := strings.Split(s, ".")
	last := labels[len(labels)-1]
	return len(s) <= 253 && !slices.ContainsFunc(labels, notDNSLabel) && strings.Trim(last, "0123456789") != ""
}

func notDNSLabel(label string) bool {
	return label == "" || len(label) > 63 || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") ||
		strings.ContainsFunc(label, notHostRune)
}

func notHostRune(r rune) bool {
	return !(r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z')
}
