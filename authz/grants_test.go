package authz_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"jobworker/authz"
)

const grantsText = `{"roles":{"admin":{"users":["alice"]}},"grants":[
  {"users":["bob"],"groups":["build"],"run_as":["www-data","1000"],"binds":[{"path":"/srv/data","write":true},{"path":"/srv/a"}]},
  {"groups":["ops","build"],"profiles":["host"],"net":["host"],"run_as":["www-data","*"],"rootfs":[{"path":"/srv/roots","write":false}],"userns":true}
]}`

func TestGrants(t *testing.T) {
	p := parsePolicy(t, grantsText)
	first := authz.Grants{RunAs: []string{"1000", "www-data"}, Binds: []authz.PathGrant{{Path: "/srv/a"}, {Path: "/srv/data", Write: true}}}
	second := authz.Grants{Profiles: []string{"host"}, Net: []string{"host"}, RunAs: []string{"*", "www-data"}, Rootfs: []authz.PathGrant{{Path: "/srv/roots"}}, Userns: true}
	both := second
	both.RunAs, both.Binds = []string{"*", "1000", "www-data"}, first.Binds
	for _, tt := range []struct {
		who  authz.Identity
		want authz.Grants
	}{
		{user("bob"), first},
		{user("carol", "ops"), second},
		{user("dave", "build"), both},
		{user("alice", "jobworker:admin"), authz.Grants{}}, // a role is no grant
		{user("build"), authz.Grants{}},
		{authz.Identity{Groups: []string{"build"}}, authz.Grants{}},
	} {
		if got := p.Grants(tt.who); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s %v has %+v, want %+v", tt.who.User, tt.who.Groups, got, tt.want)
		}
	}
	if got := authz.Builtin().Grants(user("alice", "jobworker:admin")); !reflect.DeepEqual(got, authz.Grants{}) {
		t.Errorf("without a policy file: %+v, want nothing", got)
	}
}

func TestGrantsRefused(t *testing.T) {
	for _, tt := range []struct{ grants, want string }{
		{`null`, "grants: null: must be an array"},
		{`{}`, "grants: {…}: must be an array"},
		{`[1]`, "grants[0]: 1: must be an object"},
		{`[{}]`, "grants[0]: neither users nor groups"},
		{`[{"userns":true}]`, "grants[0]: neither users nor groups"},
		{`[{"users":["a"]}]`, "grants[0]: grants nothing"},
		{`[{"users":["a"],"userns":false,"binds":[],"net":[]}]`, "grants[0]: grants nothing"},
		{`[{"users":["a"],"userns":true},{"users":["a"],"Userns":true}]`, "grants[1].Userns: unknown field"},
		{`[{"users":["a"],"userns":true,"userns":true}]`, "grants[0].userns: is there twice"},
		{`[{"users":["a"],"userns":1}]`, "grants[0].userns: 1: must be true or false"},
		{`[{"users":["a"],"userns":null}]`, "grants[0].userns: null: must be true or false"},
		{`[{"users":["a"],"profiles":["sandbox"]}]`, `grants[0].profiles: "sandbox": must be "host"`},
		{`[{"users":["a"],"profiles":"host"}]`, `grants[0].profiles: "host": must be an array`},
		{`[{"users":["a"],"net":["none"]}]`, `grants[0].net: "none": must be "host"`},
		{`[{"users":["a"],"net":["host","host"]}]`, `grants[0].net[1]: "host": is there twice`},
		{`[{"users":["a"],"run_as":["root"]}]`, `grants[0].run_as: "root": no job runs as root`},
		{`[{"users":["a"],"run_as":["0"]}]`, `grants[0].run_as: "0": no job runs as root`},
		{`[{"users":["a"],"run_as":[0]}]`, "grants[0].run_as[0]: 0: must be a name"},
		{`[{"users":["a"],"run_as":[""]}]`, `grants[0].run_as[0]: "": must not be empty`},
		{`[{"users":["a"],"binds":["/srv"]}]`, `grants[0].binds[0]: "/srv": must be an object`},
		{`[{"users":["a"],"binds":{"path":"/srv"}}]`, "grants[0].binds: {…}: must be an array of objects"},
		{`[{"users":["a"],"binds":[{}]}]`, "grants[0].binds[0].path: must be a string"},
		{`[{"users":["a"],"binds":[{"path":"srv"}]}]`, `grants[0].binds[0].path: "srv": must be an absolute path`},
		{`[{"users":["a"],"binds":[{"path":"/srv/"}]}]`, `grants[0].binds[0].path: "/srv/": must be`},
		{`[{"users":["a"],"binds":[{"path":"/srv/../etc"}]}]`, `grants[0].binds[0].path: "/srv/../etc": must be`},
		{`[{"users":["a"],"binds":[{"path":"//"}]}]`, `grants[0].binds[0].path: "//": must be`},
		{`[{"users":["a"],"binds":[{"path":"/a\u0000"}]}]`, `grants[0].binds[0].path: "/a\x00": must be`},
		{`[{"users":["a"],"binds":[{"path":"/a","write":"yes"}]}]`, `grants[0].binds[0].write: "yes": must be true or false`},
		{`[{"users":["a"],"binds":[{"path":"/a","mode":1}]}]`, "grants[0].binds[0].mode: unknown field"},
		{`[{"users":["a"],"rootfs":[{"path":"/a"},{"path":"/a","write":true}]}]`, `grants[0].rootfs[1].path: "/a": is there twice`},
	} {
		text := `{"roles":{"admin":{"users":["a"]}},"grants":` + tt.grants + `}`
		p, err := authz.ParsePolicy(strings.NewReader(text))
		if err == nil || p != nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q in it", tt.grants, err, tt.want)
		}
	}
}

// The policy is written as it is read, but sorted, and without what is the default.
func TestGrantsEncode(t *testing.T) {
	const want = `{"roles":{"admin":{"users":["alice"]}},"grants":[` +
		`{"users":["bob"],"groups":["build"],"run_as":["1000","www-data"],"binds":[{"path":"/srv/a"},{"path":"/srv/data","write":true}]},` +
		`{"groups":["build","ops"],"profiles":["host"],"net":["host"],"run_as":["*","www-data"],"rootfs":[{"path":"/srv/roots"}],"userns":true}],"quotas":{}}`
	got, err := json.Marshal(parsePolicy(t, strings.TrimSuffix(grantsText, "}")+`,"quotas":{}}`))
	if err != nil || string(got) != want {
		t.Errorf("%s, %v\nwant %s", got, err, want)
	}
}
