package main

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"jobworker/authz"
	"jobworker/internal/kerneltest"
	"jobworker/job"
)

// TestNewcomer: what goes wrong first says what happened and what to type next, in a
// command and in a console.
func TestNewcomer(t *testing.T) {
	s, unready := newSite(t), newSiteWith(t, job.Config{Unready: true})
	full, noDisk := newSiteWith(t, job.Config{MaxCalculates: 1}), newSiteWith(t, job.Config{ReserveBytes: 1 << 60})
	bounded := newSite(t)
	bounded.policy = parsePolicy(t, `{"roles":{"admin":{"users":["alice"]}},"quotas":{"users":{"alice":{"spec_bytes":1}}}}`)
	bounded.addr = bounded.serve(t, "127.0.0.1:0")
	stranger := filepath.Join(t.TempDir(), "pki")
	if _, err := authz.InitPKI(authz.InitOptions{Dir: stranger, Hosts: []string{"127.0.0.1"}, Admin: "alice"}); err != nil {
		t.Fatal(err)
	}
	expired := expiredClient(t, s.pki)
	certs := func(dir string) []string { return []string{"-cert-dir", dir} }
	for _, test := range []struct {
		name    string
		site    *site
		user    string
		flags   []string
		command []string // empty: there is no such command
		status  int
		line    string
		says    string
		hint    string // of the command
		typed   string // of the console; empty: the same
	}{
		{"no worker there", s, "alice", []string{"-addr", "https://127.0.0.1:1"}, []string{"ps"}, 5, "ping",
			"dial tcp 127.0.0.1:1: connect: connection refused", "is jobworker running there? -addr URL or JOBCLI_ADDR names another", ""},
		{"wrong CA", s, "alice", certs(filepath.Join(stranger, "alice")), []string{"ps"}, 5, "ping",
			"certificate signed by unknown authority", "-ca FILE names the right one", ""},
		{"unknown certificate", s, "alice", append(certs(filepath.Join(stranger, "alice")), "-ca", filepath.Join(s.pki, "ca.pem")), []string{"ps"}, 5, "ping",
			"remote error: tls: ", "the worker does not accept your certificate: it has to be signed by a CA that the worker trusts (-client-ca)", ""},
		{"no certificate", s, "", nil, []string{"ps"}, 1, "ping",
			"no client certificate: nothing says -ca, -cert, -key", "jobcli tls init makes them", ""},
		{"no certificate there", s, "nobody", nil, []string{"ps"}, 1, "ping",
			"no such file or directory", "jobcli tls init makes them", ""},
		{"expired", s, "alice", certs(expired), []string{"ps"}, 1, "ping",
			"expired on ", "jobcli tls cert -dir PKI -name NAME -group GROUP makes a new certificate", ""},
		{"wrong host name", s, "alice", []string{"-server-name", "elsewhere"}, []string{"ps"}, 5, "ping",
			"certificate is valid for worker1, not elsewhere", "jobcli tls cert -host NAME makes the worker one with another", ""},
		{"wrong role", s, "eve", nil, []string{"start", "true"}, 4, "run true",
			"job.start: not among the rights of viewer", "jobcli whoami shows your roles", ""},
		{"no role", s, "mallory", nil, []string{"ps"}, 4, "stop",
			"the policy gives you no role", "jobcli whoami shows your roles", ""},
		{"command not found", s, "alice", nil, []string{"start", "nosuchprogram"}, 1, "run nosuchprogram",
			`exec: "nosuchprogram": not found`, "a job sees the programs of the worker's machine: give the full path of one", ""},
		{"unready", unready, "alice", nil, []string{"start", "true"}, 1, "ping",
			"the worker is unready", "echo start | jobcli console makes it ready", "start makes it ready"},
		{"too much", full, "alice", nil, nil, 1, "@all calculate 1000 x\n@all calculate 1000 x",
			"", "", "cancel ID ends a job"},
		{"quota", bounded, "alice", nil, []string{"start", "true"}, 1, "run true",
			"quota on spec_bytes: ", "jobcli whoami shows your quota; jobcli stop ends a job, rm and prune forget what is over", "cancel ID ends a job; jobcli rm and prune forget what is over"},
		{"no room on the disk", noDisk, "alice", nil, []string{"start", "true"}, 1, "run true", "it is full, or nearly so", "jobcli prune forgets your ended jobs", ""},
		{"no such job", s, "alice", nil, []string{"status", "abc"}, 3, "status abc", "no such job", "jobcli ps -a lists", "jobs all lists"},
	} {
		t.Run(test.name, func(t *testing.T) {
			vars := test.site.terminal(test.user).vars
			if test.user == "" {
				delete(vars, "JOBCLI_CERT_DIR")
			}
			check := func(name string, c *terminal, got, status int, hint string) {
				if got != status || !strings.Contains(c.err.String(), test.says) || !strings.Contains(c.err.String(), "hint: ") || !strings.Contains(c.err.String(), hint) {
					t.Errorf("%s: status %d, want %d, %q and %q:\n%s", name, got, status, test.says, hint, c.err)
				}
			}
			if len(test.command) > 0 {
				c := &terminal{out: newScreen(), err: newScreen(), vars: vars}
				args := append([]string{test.command[0]}, test.flags...)
				check(strings.Join(args, " "), c, c.run(t.Context(), append(args, test.command[1:]...)...), test.status, test.hint)
			}
			c := &terminal{out: newScreen(), err: newScreen(), vars: vars}
			status := 1
			if test.status == 5 {
				status = 5
			}
			check("console", c, c.script(t, append([]string{"-e"}, test.flags...), test.line), status, cmp.Or(test.typed, test.hint))
		})
	}
}

func parsePolicy(t *testing.T, text string) *authz.Policy {
	t.Helper()
	p, err := authz.ParsePolicy(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestNewcomerLocal: the same of the try-out that needs no worker.
func TestNewcomerLocal(t *testing.T) {
	kerneltest.Root(t)
	cmd, stderr := local(t, []string{"true"})
	cmd.Path = installProgram(t) // where others may execute it
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if code := exitCode(t, cmd.Run()); code != 125 || !strings.Contains(stderr.String(), "must be root (try sudo)") {
		t.Errorf("not root: status %d\n%s", code, stderr)
	}
	cmd, stderr = local(t, []string{"true"}, "-memory", "64M")
	if code := exitCode(t, cmd.Run()); code == 125 { // no controllers
		for _, want := range []string{"limits that cannot be enforced here: ", "memory (", "hint: start it without that limit, or on a worker that can enforce it"} {
			if !strings.Contains(stderr.String(), want) {
				t.Errorf("no controllers: does not say %q:\n%s", want, stderr)
			}
		}
	} else if code != 0 {
		t.Errorf("status %d\n%s", code, stderr)
	}
}

// expiredClient makes a directory with an administrator's certificate whose time is
// over, signed by the CA of pki.
func expiredClient(t *testing.T, pki string) string {
	t.Helper()
	ca, err := tls.LoadX509KeyPair(filepath.Join(pki, "ca.pem"), filepath.Join(pki, "ca-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "alice", Organization: []string{"jobworker:admin"}},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(-time.Minute),
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Leaf, key.Public(), ca.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("cert.pem", "CERTIFICATE", der)
	write("key.pem", "PRIVATE KEY", keyDER)
	write("ca.pem", "CERTIFICATE", ca.Certificate[0])
	return dir
}
