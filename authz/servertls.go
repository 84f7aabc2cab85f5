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

// ServerFiles names the files of a server, PEM but for a revocation list in DER.
type ServerFiles struct {
	Cert      string // the server's certificate, with intermediates if there are any
	Key       string // its private key; refused when group or others may read it
	ClientCA  string // the CAs that sign clients: several while one replaces the other
	ClientCRL string // what these CAs have revoked, see the package comment; "" is nothing

	// PostQuantum refuses clients that offer no post-quantum key exchange, X25519MLKEM768: what
	// is recorded of the others today can be read once there is a quantum computer. Without it
	// that key exchange is used with all who offer it.
	PostQuantum bool
}

// ServerPEM is what is in ServerFiles, for a server whose certificates are on no disk.
type ServerPEM struct {
	KeyPair
	ClientCA    []byte
	ClientCRL   []byte // PEM or DER; nil is nothing
	PostQuantum bool
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
	config  *tls.Config
	cas     []*x509.Certificate
	revoked revocations
}

// NewServerTLS reads the files. It fails when one of them is missing, malformed or empty, when
// the key does not belong to the certificate or is open to others, when the certificate is not
// valid now or not one for servers, when something else than a CA is among the CAs, and when a
// revocation list is of none of them or not in force now.
func NewServerTLS(files ServerFiles) (*ServerTLS, error) {
	return newServerTLS(files, files.read)
}

// NewServerTLSFromPEM is NewServerTLS for certificates in memory. Its Reload finds nothing new.
func NewServerTLSFromPEM(p ServerPEM) (*ServerTLS, error) {
	names := ServerFiles{Cert: "certificate", Key: "key", ClientCA: "client CA", ClientCRL: "client CRL"}
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
	p.PostQuantum = f.PostQuantum
	if p.Cert, err = readPEM(f.Cert); err != nil {
		return p, err
	}
	if p.Key, err = readKey(f.Key); err != nil {
		return p, err
	}
	if p.ClientCA, err = readPEM(f.ClientCA); err != nil || f.ClientCRL == "" {
		return p, err
	}
	p.ClientCRL, err = readCRL(f.ClientCRL)
	return p, err
}

// Reload reads the files again. New connections use what is in them; on an error everything stays
// as it was. It is one, too, when a CA that stays has an older revocation list than before, or has
// it no more. Connections that are open go on: see Identify.
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
	if prev := s.current.Load(); prev != nil {
		if err := next.revoked.follow(prev.revoked, next.cas); err != nil {
			return fmt.Errorf("load server certificates: %s: %w", s.names.ClientCRL, err)
		}
	}
	s.current.Store(next)
	return nil
}

func newSnapshot(names ServerFiles, p ServerPEM) (*snapshot, error) {
	cert, err := parsePair(p.KeyPair, x509.ExtKeyUsageServerAuth, time.Now())
	if err != nil {
		return nil, fmt.Errorf("%s with %s: %w", names.Cert, names.Key, err)
	}
	s := new(snapshot)
	if s.cas, err = parseCAs(p.ClientCA); err != nil {
		return nil, fmt.Errorf("%s: %w", names.ClientCA, err)
	}
	if p.ClientCRL != nil {
		if s.revoked, err = parseRevocations(p.ClientCRL, s.cas, time.Now()); err != nil {
			return nil, fmt.Errorf("%s: %w", names.ClientCRL, err)
		}
	}
	s.config = &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{cert},
		ClientAuth:   tls.RequireAndVerifyClientCert, // with the usage clientAuth
		ClientCAs:    poolOf(s.cas),
		VerifyConnection: func(cs tls.ConnectionState) error {
			_, err := s.provenUntil(cs.VerifiedChains, time.Now())
			return err
		},
		// A resumed session is not verified again: it would outlive its CA.
		SessionTicketsDisabled: true,
		NextProtos:             []string{"h2", "http/1.1"},
	}
	// Otherwise CurvePreferences stays nil: Go's default begins with X25519MLKEM768.
	if p.PostQuantum {
		s.config.CurvePreferences = []tls.CurveID{tls.X25519MLKEM768}
	}
	return s, nil
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
// that still holds: the certificate and its CA have not run out since the handshake, the CA is
// still one of those loaded, and has not revoked the certificate. The identity's NotAfter is no
// later than the end of the CA's revocation list. It is cheap enough to be asked at every request.
func (s *ServerTLS) Identify(cs *tls.ConnectionState) (Identity, error) {
	id, err := Identify(cs)
	if err != nil {
		return Identity{}, err
	}
	now := time.Now()
	if id.NotAfter, err = s.current.Load().provenUntil(cs.VerifiedChains, now); err != nil {
		return Identity{}, fmt.Errorf("identify client: %w", err)
	}
	if id.Expired(now) {
		return Identity{}, fmt.Errorf("identify client: certificate of %q: expired on %s", id.User, id.NotAfter.Format(time.RFC3339))
	}
	return id, nil
}

// provenUntil returns until when the best of chains is good, or why none of them is. The caller
// compares the time.
func (s *snapshot) provenUntil(chains [][]*x509.Certificate, now time.Time) (until time.Time, err error) {
	err = errors.New("the CA of the certificate is no longer trusted")
	for _, chain := range chains {
		if len(chain) == 0 || !slices.ContainsFunc(s.cas, chain[len(chain)-1].Equal) {
			continue
		}
		listed, e := s.revoked.check(chain, now)
		if e != nil {
			err = e
			continue
		}
		end := validUntil([][]*x509.Certificate{chain})
		if !listed.IsZero() && listed.Before(end) {
			end = listed
		}
		if end.After(until) {
			until = end
		}
	}
	if until.IsZero() {
		return until, err
	}
	return until, nil
}
