package authz

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"time"
)

// ClientFiles names the PEM files of a client.
type ClientFiles struct {
	CA         string // the CAs that sign servers; the system's are not asked
	Cert       string // the client's certificate, with intermediates if there are any
	Key        string // its private key; refused when group or others may read it
	ServerName string // the name to find in the server's certificate; "" is the host dialled
}

// ClientPEM is what is in ClientFiles, for a client whose certificates are on no disk.
type ClientPEM struct {
	KeyPair
	CA         []byte
	ServerName string
}

// ClientTLS reads the files and returns the configuration of a client. It fails as NewServerTLS
// does. The configuration names no application protocols: the HTTP transport adds its own.
func ClientTLS(files ClientFiles) (*tls.Config, error) {
	p, err := files.read()
	if err != nil {
		return nil, fmt.Errorf("load client certificates: %w", err)
	}
	return newClientTLS(files, p)
}

func (f ClientFiles) read() (p ClientPEM, err error) {
	p.ServerName = f.ServerName
	if p.Cert, err = readPEM(f.Cert); err != nil {
		return p, err
	}
	if p.Key, err = readKey(f.Key); err != nil {
		return p, err
	}
	p.CA, err = readPEM(f.CA)
	return p, err
}

// ClientTLSFromPEM is ClientTLS for certificates in memory.
func ClientTLSFromPEM(p ClientPEM) (*tls.Config, error) {
	return newClientTLS(ClientFiles{CA: "CA", Cert: "certificate", Key: "key"}, p)
}

func newClientTLS(names ClientFiles, p ClientPEM) (*tls.Config, error) {
	cert, err := parsePair(p.KeyPair, x509.ExtKeyUsageClientAuth, time.Now())
	if err != nil {
		return nil, fmt.Errorf("load client certificates: %s with %s: %w", names.Cert, names.Key, err)
	}
	cas, err := parseCAs(p.CA)
	if err != nil {
		return nil, fmt.Errorf("load client certificates: %s: %w", names.CA, err)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		RootCAs:    poolOf(cas), // the server's usage serverAuth is checked with it
		ServerName: p.ServerName,
		// Not Certificates: crypto/tls would keep back one that the server's CAs did not sign, and
		// the user would read "certificate required" where "unknown authority" is the truth.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &cert, nil
		},
	}, nil
}
