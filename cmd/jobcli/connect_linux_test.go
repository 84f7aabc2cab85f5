package main

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"jobworker/authz"
	"jobworker/httpapi"
)

// A worker that wants a post-quantum key exchange refuses a client without one by an alert that
// says no more than "handshake failure"; what it means is told.
func TestPostQuantumHint(t *testing.T) {
	pki := filepath.Join(t.TempDir(), "pki")
	makeCertificates(t, pki)
	server, err := authz.NewServerTLS(authz.ServerFiles{
		Cert: filepath.Join(pki, "server.pem"), Key: filepath.Join(pki, "server-key.pem"), ClientCA: filepath.Join(pki, "ca.pem"), PostQuantum: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	worker := httptest.NewUnstartedServer(http.NotFoundHandler())
	worker.TLS = server.Config()
	worker.StartTLS()
	defer worker.Close()
	alice := filepath.Join(pki, "alice")
	cfg, err := authz.ClientTLS(authz.ClientFiles{CA: filepath.Join(alice, "ca.pem"), Cert: filepath.Join(alice, "cert.pem"), Key: filepath.Join(alice, "key.pem")})
	if err != nil {
		t.Fatal(err)
	}
	cfg.CurvePreferences = []tls.CurveID{tls.X25519} // as GODEBUG=tlsmlkem=0 does
	c, err := httpapi.NewClient(worker.URL, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	err = c.Live(t.Context())
	if d := diagnose(err); d.status != unreachable || !strings.Contains(d.hint, "post-quantum") {
		t.Errorf("%v: %+v", err, d)
	}
}
