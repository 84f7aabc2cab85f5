package authz

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"time"
)

const (
	pemCertificate = "CERTIFICATE"
	pemPrivateKey  = "PRIVATE KEY" // PKCS #8, RFC 7468 section 10

	// maxPEM is the size of a PEM file in bytes; a bundle of a hundred CAs has 200 KiB. See maxCRL.
	maxPEM = 1 << 20
)

// KeyPair is a certificate (chain) and its private key, both PEM.
type KeyPair struct {
	Cert, Key []byte
}

// readPEM reads a file of certificates.
func readPEM(path string) ([]byte, error) { return readChecked(path, maxPEM, anyMode) }

// readKey reads a file with a private key, and refuses it when others than its owner may read it:
// whoever could, may already have it.
func readKey(path string) ([]byte, error) { return readChecked(path, maxPEM, ownerOnly) }

// readCRL reads a file of revocation lists.
func readCRL(path string) ([]byte, error) { return readChecked(path, maxCRL, anyMode) }

// readChecked reads a file of at most so many bytes.
func readChecked(path string, most int64, check func(os.FileMode) error) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat() // of the open file: the one that is read
	if err != nil {
		return nil, err
	}
	if err := check(info.Mode()); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > most {
		return nil, fmt.Errorf("%s: larger than %d bytes", path, most)
	}
	return data, nil
}

func anyMode(os.FileMode) error { return nil }

// ownerOnly checks the permission bits of a key file. Windows has none: Go makes them up there.
func ownerOnly(mode os.FileMode) error {
	if runtime.GOOS != "windows" && mode.Perm()&0o077 != 0 {
		return fmt.Errorf("mode %04o: private key open to group or others, want 0600", mode.Perm())
	}
	return nil
}

// parsePair reads a certificate with its key, and checks that the certificate may be used for
// usage now. The peer would find out too, but could not say it as clearly.
func parsePair(pair KeyPair, usage x509.ExtKeyUsage, now time.Time) (tls.Certificate, error) {
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key) // and whether they belong together
	if err != nil {
		return tls.Certificate{}, err
	}
	if err := checkTime(cert.Leaf, now); err != nil {
		return tls.Certificate{}, err
	}
	if !slices.Contains(cert.Leaf.ExtKeyUsage, usage) {
		return tls.Certificate{}, fmt.Errorf("certificate of %q: extended key usage has no %s", cert.Leaf.Subject, usageName(usage))
	}
	return cert, nil
}

func usageName(u x509.ExtKeyUsage) string {
	if u == x509.ExtKeyUsageServerAuth {
		return "serverAuth"
	}
	return "clientAuth"
}

// ErrExpired is wrapped in the error for one's own certificate whose time is over.
var ErrExpired = errors.New("expired")

func checkTime(c *x509.Certificate, now time.Time) error {
	switch {
	case now.After(c.NotAfter):
		return fmt.Errorf("certificate of %q: %w on %s", c.Subject, ErrExpired, c.NotAfter.Format(time.RFC3339))
	case now.Before(c.NotBefore):
		return fmt.Errorf("certificate of %q: not valid before %s", c.Subject, c.NotBefore.Format(time.RFC3339))
	}
	return nil
}

// parseCAs reads the CA certificates of a PEM file: at least one, and nothing but CAs. A leaf
// would be trusted as it is.
func parseCAs(data []byte) ([]*x509.Certificate, error) {
	blocks, err := pemBlocks(data, pemCertificate)
	if err != nil {
		return nil, err
	}
	if len(blocks) == 0 {
		return nil, errors.New("no CA certificate in it")
	}
	var cas []*x509.Certificate
	for i, der := range blocks {
		ca, err := parseCA(der)
		if err != nil {
			return nil, fmt.Errorf("block %d: %w", i+1, err)
		}
		cas = append(cas, ca)
	}
	return cas, nil
}

func parseCA(der []byte) (*x509.Certificate, error) {
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	if !ca.BasicConstraintsValid || !ca.IsCA {
		return nil, fmt.Errorf("certificate of %q: not a CA", ca.Subject)
	}
	return ca, nil
}

// pemBlocks returns what is in the blocks of a PEM file, all of which must be of one kind. One that
// is cut short is an error: pem.Decode passes it over in silence.
func pemBlocks(data []byte, kind string) (blocks [][]byte, err error) {
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != kind {
			return nil, fmt.Errorf("block %d: %q: must be a %s", len(blocks)+1, clip(block.Type), kind)
		}
		blocks = append(blocks, block.Bytes)
	}
	if bytes.Contains(data, []byte("-----BEGIN")) {
		return nil, fmt.Errorf("block %d: malformed PEM", len(blocks)+1)
	}
	return blocks, nil
}

func poolOf(cas []*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, ca := range cas {
		pool.AddCert(ca)
	}
	return pool
}
