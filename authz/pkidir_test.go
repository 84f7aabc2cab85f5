package authz_test

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"jobworker/authz"
)

// tree lists what is below dir, with the permissions of each.
func tree(t *testing.T, dir string) map[string]fs.FileMode {
	t.Helper()
	found := make(map[string]fs.FileMode)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		found[filepath.ToSlash(rel)] = info.Mode()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func initPKI(t testing.TB) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "pki")
	if _, err := authz.InitPKI(authz.InitOptions{Dir: dir, Hosts: []string{"worker1", "127.0.0.1"}, Admin: "alice"}); err != nil {
		t.Fatal(err)
	}
	return dir
}

func set(dir, name string) authz.ClientFiles {
	return authz.ClientFiles{
		CA:   filepath.Join(dir, name, "ca.pem"),
		Cert: filepath.Join(dir, name, "cert.pem"),
		Key:  filepath.Join(dir, name, "key.pem"),
	}
}

// serial returns the serial number of the certificate in a file, in hexadecimal.
func serial(t *testing.T, path string) string {
	t.Helper()
	block, _ := pem.Decode(readFile(t, path))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert.SerialNumber.Text(16)
}

func TestInitPKI(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	paths, err := authz.InitPKI(authz.InitOptions{Dir: dir, Hosts: []string{"worker1", "127.0.0.1"}, Admin: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	const rw, r, d = 0o600, 0o644, fs.ModeDir | 0o700
	want := map[string]fs.FileMode{
		".": d, "ca.pem": r, "ca-key.pem": rw, "server.pem": r, "server-key.pem": rw, "crl.pem": r,
		"alice": d, "alice/ca.pem": r, "alice/cert.pem": r, "alice/key.pem": rw,
		"issued": d, "issued/" + serial(t, set(dir, "alice").Cert) + ".pem": r,
	}
	got := tree(t, dir)
	if !slices.Equal(slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want))) {
		t.Fatalf("made %v", got)
	}
	for name, mode := range want {
		if runtime.GOOS != "windows" && got[name] != mode {
			t.Errorf("%s has mode %v, want %v", name, got[name], mode)
		}
	}
	if len(paths) != 9 || !slices.Contains(paths, filepath.Join(dir, "alice", "key.pem")) {
		t.Errorf("names %v", paths)
	}
}

// TestPKIWorks: the files of each way to make them talk to each other.
func TestPKIWorks(t *testing.T) {
	dir := initPKI(t)
	if _, err := authz.AddClient(dir, "bob", []string{"jobworker:operator"}, time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, err := authz.AddServer(dir, "worker2", []string{"127.0.0.1"}, 0); err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(dir, "ca.pem")
	second := set(dir, "worker2")
	for _, files := range []authz.ServerFiles{
		{Cert: filepath.Join(dir, "server.pem"), Key: filepath.Join(dir, "server-key.pem"), ClientCA: ca},
		{Cert: second.Cert, Key: second.Key, ClientCA: second.CA},
	} {
		server, err := authz.NewServerTLS(files)
		if err != nil {
			t.Fatal(err)
		}
		for name, role := range map[string]authz.Role{"alice": authz.Admin, "bob": authz.Operator} {
			client, err := authz.ClientTLS(set(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			x := request(t, server.Config(), client)
			if x.answer != name {
				t.Fatalf("%s: client %v, server %v", name, x.client, x.server)
			}
			id, err := server.Identify(&x.peer)
			if err != nil || !slices.Equal(authz.Builtin().Rights(id).Roles, []authz.Role{role}) {
				t.Errorf("%+v, %v; want role %s", id, err, role)
			}
		}
	}
}

func TestInitCA(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	paths, err := authz.InitCA(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca-key.pem"), filepath.Join(dir, "crl.pem")}; !slices.Equal(paths, want) {
		t.Errorf("made %v", paths)
	}
	if got := slices.Sorted(maps.Keys(tree(t, dir))); !slices.Equal(got, []string{".", "ca-key.pem", "ca.pem", "crl.pem"}) {
		t.Errorf("made %v", got)
	}
}

// TestNothingIsOverwritten: whichever file is there already, it stays, and nothing else is left.
func TestNothingIsOverwritten(t *testing.T) {
	for _, name := range []string{"ca.pem", "ca-key.pem", "crl.pem", "server.pem", "server-key.pem", "alice/ca.pem", "alice/cert.pem", "alice/key.pem"} {
		dir := t.TempDir()
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, path, []byte("mine"))
		before := tree(t, dir)
		paths, err := authz.InitPKI(authz.InitOptions{Dir: dir, Hosts: []string{"h"}, Admin: "alice"})
		if !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), filepath.Dir(path)) || paths != nil {
			t.Errorf("%s: %v, %v", name, paths, err)
		}
		if after := tree(t, dir); !maps.Equal(before, after) || string(readFile(t, path)) != "mine" {
			t.Errorf("%s: left %v", name, after)
		}
	}
}

func TestInitTwice(t *testing.T) {
	dir := initPKI(t)
	before, key := tree(t, dir), readFile(t, dir, "ca-key.pem")
	for what, again := range map[string]func() ([]string, error){
		"init": func() ([]string, error) {
			return authz.InitPKI(authz.InitOptions{Dir: dir, Hosts: []string{"h"}, Admin: "zoe"})
		},
		"ca":     func() ([]string, error) { return authz.InitCA(dir, 0) },
		"client": func() ([]string, error) { return authz.AddClient(dir, "alice", nil, 0) },
		"server": func() ([]string, error) { return authz.AddServer(dir, "alice", []string{"h"}, 0) },
	} {
		if _, err := again(); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if !maps.Equal(before, tree(t, dir)) || string(key) != string(readFile(t, dir, "ca-key.pem")) {
		t.Errorf("left %v", tree(t, dir))
	}
}

// TestInitIntoDirectories: both directories may be there, empty, as two mounts are.
func TestInitIntoDirectories(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "alice"), 0o755); err != nil {
		t.Fatal(err)
	}
	o := authz.InitOptions{Dir: dir, Hosts: []string{"h"}, Admin: "alice"}
	if _, err := authz.InitPKI(o); err != nil {
		t.Fatal(err)
	}
	if err := authz.CheckPKI(o); err != nil {
		t.Error(err)
	}
}

// TestCheckPKI: what is missing can be made, and anything else is named.
func TestCheckPKI(t *testing.T) {
	good := authz.InitOptions{Hosts: []string{"worker1", "127.0.0.1"}, Admin: "alice"}
	for _, name := range []string{"ca.pem", "ca-key.pem", "server.pem", "server-key.pem", "alice/ca.pem", "alice/cert.pem", "alice/key.pem"} {
		o := good
		o.Dir = initPKI(t)
		if err := authz.CheckPKI(o); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(o.Dir, filepath.FromSlash(name))); err != nil {
			t.Fatal(err)
		}
		if err := authz.CheckPKI(o); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("without %s: %v", name, err)
		}
	}
	for _, tt := range []struct {
		change func(o *authz.InitOptions)
		want   string
	}{
		{func(o *authz.InitOptions) { o.Hosts = append(o.Hosts, "worker2") }, "not worker2"},
		{func(o *authz.InitOptions) { o.Admin = "../alice" }, "../alice"},
		{func(o *authz.InitOptions) { copyFile(t, initPKI(t), o.Dir, "ca.pem", "ca-key.pem") }, "server.pem with"},
		{func(o *authz.InitOptions) { copyFile(t, initPKI(t), o.Dir, "alice/key.pem") }, "does not match"},
		{func(o *authz.InitOptions) { copyFile(t, initPKI(t), o.Dir, "alice/cert.pem", "alice/key.pem") }, "cert.pem with"},
	} {
		o := good
		o.Dir = initPKI(t)
		tt.change(&o)
		if err := authz.CheckPKI(o); err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %q in it", err, tt.want)
		}
	}
}

// copyFile puts files of one directory over those of another.
func copyFile(t *testing.T, from, to string, names ...string) {
	t.Helper()
	for _, name := range names {
		writeFile(t, filepath.Join(to, filepath.FromSlash(name)), readFile(t, from, filepath.FromSlash(name)))
	}
}

func TestDanglingLinkIsNotFollowed(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("links need a privilege on windows")
	}
	dir, elsewhere := t.TempDir(), filepath.Join(t.TempDir(), "key")
	if err := os.Symlink(elsewhere, filepath.Join(dir, "ca-key.pem")); err != nil {
		t.Fatal(err)
	}
	if _, err := authz.InitCA(dir, 0); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Lstat(elsewhere); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the key went through the link")
	}
}

// TestRefusalsLeaveNothing: what is asked for wrongly makes not even a directory.
func TestRefusalsLeaveNothing(t *testing.T) {
	for _, tt := range []struct {
		o    authz.InitOptions
		want string
	}{
		{authz.InitOptions{Hosts: []string{"h"}}, `user: ""`},
		{authz.InitOptions{Hosts: []string{"h"}, Admin: "../x"}, `name: "../x"`},
		{authz.InitOptions{Admin: "alice"}, "hosts: none"},
		{authz.InitOptions{Hosts: []string{"h:1"}, Admin: "alice"}, `host: "h:1"`},
		{authz.InitOptions{Hosts: []string{"h"}, Admin: "alice", Life: -1}, "-1ns"},
		{authz.InitOptions{Hosts: []string{"h"}, Admin: "alice", CALife: -1}, "-1ns"},
		{authz.InitOptions{Hosts: []string{"h"}, Admin: "alice", CALife: time.Hour, Life: 2 * time.Hour}, "longer than the CA"},
	} {
		parent := t.TempDir()
		tt.o.Dir = filepath.Join(parent, "pki")
		_, err := authz.InitPKI(tt.o)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %q in it", err, tt.want)
		}
		if got := tree(t, parent); len(got) != 1 {
			t.Errorf("%s: left %v", tt.want, got)
		}
	}
}

func TestNamesThatAreNoDirectory(t *testing.T) {
	dir := initPKI(t)
	before := tree(t, dir)
	for _, name := range []string{"", ".", "..", "...", ".hidden", "a/b", "/a", "../a", `a\b`, "c:", "issued", "Issued", "a\x00", "a\n", " a", strings.Repeat("x", 65)} {
		if _, err := authz.AddClient(dir, name, nil, 0); err == nil {
			t.Errorf("client %q was made", name)
		}
		if _, err := authz.AddServer(dir, name, []string{"h"}, 0); err == nil {
			t.Errorf("server %q was made", name)
		}
	}
	if !maps.Equal(before, tree(t, dir)) {
		t.Errorf("left %v", tree(t, dir))
	}
	for _, name := range []string{"a.b", "zoë", "a b", "a..b", "alice@example.org"} {
		if _, err := authz.AddClient(dir, name, nil, 0); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestUnusableCA(t *testing.T) {
	dir, other := initPKI(t), initPKI(t)
	caCert, caKey := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "ca-key.pem")
	cert, key := readFile(t, caCert), readFile(t, caKey)
	for _, tt := range []struct {
		name      string
		cert, key []byte
		mode      fs.FileMode
		want      string
	}{
		{"key of another", cert, readFile(t, other, "ca-key.pem"), 0o600, "does not match"},
		{"a leaf", readFile(t, dir, "server.pem"), readFile(t, dir, "server-key.pem"), 0o600, "not a CA"},
		{"empty", nil, key, 0o600, "no CA certificate"},
		{"key open to others", cert, key, 0o644, "mode 0644"},
	} {
		if runtime.GOOS == "windows" && tt.mode != 0o600 {
			continue // no permission bits there
		}
		writeFile(t, caCert, tt.cert)
		writeFile(t, caKey, tt.key)
		if err := os.Chmod(caKey, tt.mode); err != nil {
			t.Fatal(err)
		}
		if _, err := authz.AddClient(dir, "bob", nil, 0); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q in it", tt.name, err, tt.want)
		}
	}
	if _, err := authz.AddClient(t.TempDir(), "bob", nil, 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no CA: %v", err)
	}
}

// TestParallelAdd: of several who add the same client one wins, and its set is whole.
func TestParallelAdd(t *testing.T) {
	dir := initPKI(t)
	var wg sync.WaitGroup
	won := make(chan struct{}, 8)
	for range cap(won) {
		wg.Go(func() {
			if _, err := authz.AddClient(dir, "bob", nil, 0); err == nil {
				won <- struct{}{}
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Fatalf("%d made it", len(won))
	}
	if _, err := authz.ClientTLS(set(dir, "bob")); err != nil {
		t.Error(err)
	}
}
