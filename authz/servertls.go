package authz

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ServerFiles names the PEM files of a server.
type ServerFiles struct {
	Cert     string // the server's certificate, with intermediates if there are any
	Key      string // its private key; refused when group or others may read it
	ClientCA string // the CAs that sign clients: several while one replaces the other
}

// ServerPEM is what is in ServerFiles, for a server whose certificates are on no disk.
type ServerPEM struct {
	KeyPair
	ClientCA []byte
}

// ServerTLS is the TLS side of a server. It is safe for concurrent use.
type ServerTLS struct {
	names   ServerFiles // for errors
	read    func() (ServerPEM, error)
	loading sync.Mutex // held by Reload from reading to publishing: a slow one must not undo a later one
	current atomic.Pointer[snapshot]
}

// snapshot is one state of the certificates. It is never changed, because connections may share it.
type snapshot struct {
	config *tls.Config
	cas    []*x509.Certificate
}

// NewServerTLS reads the files. It fails when one of them is missing, malformed or empty, when
// the key does not belong to the certificate or is open to others, when the certificate is not
// valid now or not one for servers, and when something else than a CA is among the CAs.
func NewServerTLS(files ServerFiles) (*ServerTLS, error) {
	return newServerTLS(files, files.read)
}

// NewServerTLSFromPEM is NewServerTLS for certificates in memory. Its Reload finds nothing new.
func NewServerTLSFromPEM(p ServerPEM) (*ServerTLS, error) {
	names := ServerFiles{Cert: "certificate", Key: "key", ClientCA: "client CA"}
	return newServerTLS(names, func() (ServerPEM, error) { return p, nil })
}

func newServerTLS(names ServerFiles, read func() (ServerPEM, error)) (*ServerTLS, error) {
	s := &ServerTLS{names: names, read: read}
	if err := s.Reload(); err != nil {
		return nil, err
	}
	return s, nil
}

func (f ServerFiles) read() (p ServerPEM, err error) {
	if p.Cert, err = readPEM(f.Cert); err != nil {
		return p, err
	}
	if p.Key, err = readKey(f.Key); err != nil {
		return p, err
	}
	p.ClientCA, err = readPEM(f.ClientCA)
	return p, err
}

// Reload reads the files again. New connections use what is in them; on an error everything stays
// as it was. Connections that are open go on: see Identify.
func (s *ServerTLS) Reload() error {
	s.loading.Lock()
	defer s.loading.Unlock()
	p, err := s.read()
	if err != nil {
		return fmt.Errorf("load server certificates: %w", err)
	}
	next, err := newSnapshot(s.names, p)
	if err != nil {
		return fmt.Errorf("load server certificates: %w", err)
	}
	s.current.Store(next)
	return nil
}

func newSnapshot(names ServerFiles, p ServerPEM) (*snapshot, error) {
	cert, err := parsePair(p.KeyPair, x509.ExtKeyUsageServerAuth, time.Now())
	if err != nil {
		return nil, fmt.Errorf("%s with %s: %w", names.Cert, names.Key, err)
	}
	cas, err := parseCAs(p.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", names.ClientCA, err)
	}
	return &snapshot{cas: cas, config: &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		ClientAuth:   tls.RequireAndVerifyClientCert, // with the usage clientAuth
		ClientCAs:    poolOf(cas),
		// A resumed session is not verified again: it would outlive its CA.
		SessionTicketsDisabled: true,
		NextProtos:             []string{"h2", "http/1.1"},
		// CurvePreferences stays nil: Go's default begins with X25519MLKEM768.
	}}, nil
}

// Config returns a configuration for a listener or an http.Server, which follows every Reload.
// The caller may change it.
func (s *ServerTLS) Config() *tls.Config {
	config := s.current.Load().config.Clone()
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return s.current.Load().config, nil
	}
	return config
}

// Identify returns who is at the other end of a connection, as the function Identify does, when
// that still holds: the certificate and its CA have not run out since the handshake, and the CA
// is still one of those loaded. It is cheap enough to be asked at every request and every write.
func (s *ServerTLS) Identify(cs *tls.ConnectionState) (Identity, error) {
	id, err := Identify(cs)
	if err != nil {
		return Identity{}, err
	}
	trusted := s.current.Load().trusted(cs.VerifiedChains)
	if len(trusted) == 0 {
		return Identity{}, errors.New("identify client: the CA of the certificate is no longer trusted")
	}
	id.NotAfter = validUntil(trusted)
	if id.Expired(time.Now()) {
		return Identity{}, fmt.Errorf("identify client: certificate of %q: expired on %s", id.User, id.NotAfter.Format(time.RFC3339))
	}
	return id, nil
}

// trusted returns the chains that end in one of the CAs.
func (s *snapshot) trusted(chains [][]*x509.Certificate) (trusted [][]*x509.Certificate) {
	for _, chain := range chains {
		if len(chain) > 0 && slices.ContainsFunc(s.cas, chain[len(chain)-1].Equal) {
			trusted = append(trusted, chain)
		}
	}
	return trusted
}
