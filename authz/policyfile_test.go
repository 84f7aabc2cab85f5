package authz_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"jobworker/authz"
)

const policyText = `{"roles": {
  "admin":    {"users": ["alice"]},
  "operator": {"users": ["bob"], "groups": ["build", "jobworker:operator"]},
  "viewer":   {"groups": ["audit"], "users": []}
}}`

func TestPolicyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "policy.json")
	writeFile(t, path, []byte(policyText))
	p, err := authz.LoadPolicy(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		id   authz.Identity
		want string
	}{
		{user("alice"), "[admin]"},
		{user("bob"), "[operator]"},
		{user("carol", "audit", "build"), "[operator viewer]"},
		{user("dave", "jobworker:operator"), "[operator]"},
		{user("eve", "alice", "jobworker:admin"), "[]"}, // a group is no user; the file replaces Builtin
		{user("build"), "[]"},
		{user("Alice"), "[]"},
	} {
		roles, _ := json.Marshal(p.Rights(tt.id).Roles)
		if got := strings.NewReplacer(`"`, "", ",", " ").Replace(string(roles)); got != tt.want {
			t.Errorf("%s has %s, want %s", tt.id.User, got, tt.want)
		}
	}
}

func TestPolicyRefused(t *testing.T) {
	for _, tt := range []struct {
		text string
		want string // the field and the value, in the error
	}{
		{``, "unexpected end"},
		{`{"roles":{"admin":{"users":["a"]}}`, "unexpected end"},
		{`{"roles":{"admin":{"users":["a"]}}} {}`, "after top-level value"},
		{`{"roles":{"admin":{"users":["a",]}}}`, "invalid character"},
		{"\xef\xbb\xbf{}", "invalid character"},
		{"{\"roles\":{\"admin\":{\"users\":[\"\xff\"]}}}", "not UTF-8"},
		{`null`, "null: must be an object"},
		{`[]`, "[…]: must be an object"},
		{`{}`, "roles: is missing"},
		{`{"roles":null}`, "roles: null: must be an object"},
		{`{"roles":[]}`, "roles: […]: must be an object"},
		{`{"roles":{}}`, "roles: {}"},
		{`{"roles":{"admin":{"users":["a"]}},"rules":{}}`, "rules: unknown field"},
		{`{"Roles":{"admin":{"users":["a"]}}}`, "Roles: unknown field"},
		{`{"roles":{"admin":{"users":["a"]}},"ROLES":{"admin":{"users":["b"]}}}`, "ROLES: unknown field"},
		{`{"roles":{"admin":{"users":["a"]}},"roles":{"admin":{"users":["b"]}}}`, "roles: is there twice"},
		{`{"roles":{"admin":{"users":["a"],"users":["b"]}}}`, "roles.admin.users: is there twice"},
		{`{"roles":{"admin":{"users":["a"],"Users":["b"]}}}`, "roles.admin.Users: unknown field"},
		{`{"roles":{"admin":{"users":["a"]},"admin":{"users":["b"]}}}`, "roles.admin: is there twice"},
		{`{"roles":{"admin":{"users":["a"]},"\u0061dmin":{"users":["b"]}}}`, "roles.admin: is there twice"},
		{`{"roles":{"Admin":{"users":["a"]}}}`, `roles: "Admin": unknown role`},
		{`{"roles":{"root":{"users":["a"]}}}`, `roles: "root": unknown role`},
		{`{"roles":{"admin":{}}}`, "roles.admin: neither users nor groups"},
		{`{"roles":{"admin":{"users":[],"groups":[]}}}`, "roles.admin: neither users nor groups"},
		{`{"roles":{"admin":["a"]}}`, "roles.admin: […]: must be an object"},
		{`{"roles":{"admin":{"user":["a"]}}}`, "roles.admin.user: unknown field"},
		{`{"roles":{"admin":{"a\nb":1}}}`, `roles.admin."a\nb": unknown field`},
		{`{"roles":{"admin":{"users":"a"}}}`, `roles.admin.users: "a": must be an array`},
		{`{"roles":{"admin":{"users":null}}}`, "roles.admin.users: null: must be an array"},
		{`{"roles":{"admin":{"users":["a",1e3]}}}`, "roles.admin.users[1]: 1e3: must be a name"},
		{`{"roles":{"admin":{"users":[null]}}}`, "roles.admin.users[0]: null: must be a name"},
		{`{"roles":{"admin":{"users":[true]}}}`, "roles.admin.users[0]: true: must be a name"},
		{`{"roles":{"admin":{"users":[{}]}}}`, "roles.admin.users[0]: {…}: must be a name"},
		{`{"roles":{"admin":{"users":["a",""]}}}`, `roles.admin.users[1]: "": must not be empty`},
		{`{"roles":{"admin":{"groups":["a\u0000"]}}}`, `roles.admin.groups[0]: "a\x00": must be printable`},
		{`{"roles":{"admin":{"groups":["\ud800"]}}}`, `roles.admin.groups[0]: "\ufffd": must be printable`},
		{`{"roles":{"admin":{"groups":["` + strings.Repeat("x", 65) + `"]}}}`, "longer than 64"},
		{`{"roles":{"admin":{"users":["a","b","a"]}}}`, `roles.admin.users[2]: "a": is there twice`},
		{`{"roles":{"admin":{"users":["a"],"quotas":{"jobs":1}}}}`, "roles.admin.quotas: unknown field"},
		{strings.Repeat("[", 20_000), "depth"},
		{strings.Repeat(" ", 2<<20), "larger than 1048576 bytes"},
	} {
		p, err := authz.ParsePolicy(strings.NewReader(tt.text))
		if err == nil || p != nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.80s: %v, want %q in it", tt.text, err, tt.want)
		}
	}
}

func TestPolicyReadErrors(t *testing.T) {
	if _, err := authz.ParsePolicy(iotest.ErrReader(io.ErrClosedPipe)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("broken reader: %v", err)
	}
	path := filepath.Join(t.TempDir(), "none.json")
	if _, err := authz.LoadPolicy(path); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("no file: %v", err)
	}
	writeFile(t, path, []byte(`{"roles":{}}`))
	if _, err := authz.LoadPolicy(path); err == nil || !strings.Contains(err.Error(), path+": roles") {
		t.Errorf("bad file: %v", err)
	}
}

// FuzzParsePolicy: what parses encodes back to the same policy, and grants something.
func FuzzParsePolicy(f *testing.F) {
	f.Add([]byte(policyText))
	f.Add([]byte(grantsText))
	f.Add([]byte(`{"roles":{"admin":{"users":["a","b"],"groups":["<&>\u00e9"]}}}`))
	f.Add([]byte(quotaText))
	f.Add([]byte(`{"roles":{"admin":{"users":["a"]}},"quotas":{}}`))
	f.Add([]byte(`{"roles":{"admin":{"users":["a"]}},"quotas":{"default":{"cpus":0.015},"users":{},"groups":{"g":{"jobs":4294967296}}}}`))
	f.Add([]byte(`{"roles":{"admin":{"users":["a"]},"admin":{"users":["b"]}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := authz.ParsePolicy(bytes.NewReader(data))
		if err != nil {
			return
		}
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		again, err := authz.ParsePolicy(bytes.NewReader(text))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if !reflect.DeepEqual(p, again) {
			t.Fatalf("%q became %s", data, text)
		}
	})
}
