package httpapi_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"jobworker/authz"
	"jobworker/httpapi"
)

// TestGrants: a job gets of the host what the policy grants its owner, and what is
// not granted is forbidden by field and value, and logged.
func TestGrants(t *testing.T) {
	f := newFixture(t, nil)
	dir, err := os.MkdirTemp("/var/tmp", "httpapi-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(dir+"/f", []byte("granted\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	policy := fmt.Sprintf(`{"roles":{"operator":{"users":["alice"]},"admin":{"users":["root"]}},"grants":[
		{"users":["alice","eve"],"net":["host"],"run_as":["4321"],"binds":[{"path":%q}]}]}`, dir)
	p, err := authz.ParsePolicy(strings.NewReader(policy))
	if err != nil {
		t.Fatal(err)
	}
	f.server.SetPolicy(p)
	for _, tt := range []struct {
		user   string
		change func(*httpapi.Spec)
		field  string // that is forbidden, "" for none
		value  string
	}{
		{"alice", func(s *httpapi.Spec) {
			s.Net, s.User, s.Binds = "host", "4321", []httpapi.Bind{{Source: dir + "/f", Target: "/f"}}
		}, "", ""},
		{"alice", func(s *httpapi.Spec) { s.Binds = []httpapi.Bind{{Source: dir + "2", Target: "/f"}} }, "binds[0].source", `"` + dir + `2"`},
		{"alice", func(s *httpapi.Spec) { s.Profile, s.User = "host", "4321" }, "profile", `"host"`},
		{"alice", func(s *httpapi.Spec) { s.User = "1" }, "user", `"1"`},
		{"alice", func(s *httpapi.Spec) { s.Rootfs = dir }, "rootfs", `"` + dir + `"`},
		{"alice", func(s *httpapi.Spec) { s.Userns = true }, "userns", "true"},
		{"root", func(s *httpapi.Spec) { s.Net = "host" }, "net", `"host"`}, // an admin has no more
		{"eve", func(s *httpapi.Spec) { s.Net = "host" }, "", ""},           // a grant is no role
	} {
		c := f.client(tt.user)
		s := shell("cat /f; id -u")
		tt.change(&s)
		j, err := c.Start(t.Context(), s, "")
		p, forbidden := errors.AsType[*httpapi.Problem](err)
		switch {
		case tt.user == "eve":
			got(t, "a start without a role", err, httpapi.TypeForbidden)
		case tt.field != "":
			if !forbidden || p.Type != httpapi.TypeForbidden || p.Status != 403 || p.Field != tt.field || p.Value != tt.value {
				t.Errorf("%s: %+v, want %s %s forbidden", tt.user, err, tt.field, tt.value)
			}
			if !strings.Contains(f.logs.String(), "deny") || !strings.Contains(f.logs.String(), tt.field) {
				t.Errorf("the audit log does not say that %s was denied", tt.field)
			}
		case err != nil:
			t.Errorf("%s: %v", tt.user, err)
		default:
			f.ended(c, j.ID)
			if out := f.rawOutput(c, j.ID); out != "granted\n4321\n" {
				t.Errorf("output %q", out)
			}
		}
	}
	w, err := f.client("alice").WhoAmI(t.Context())
	if g := w.Grants; err != nil || len(g.Binds) != 1 || g.Binds[0].Path != dir || len(g.Net) != 1 || g.Userns {
		t.Errorf("whoami: %+v, %v", g, err)
	}
	if jobs := f.list(f.client("root"), httpapi.ListOptions{}); len(jobs) != 1 {
		t.Errorf("jobs %v, want the one that was granted", jobs)
	}
}
