package authz_test

import (
	"maps"
	"slices"
	"testing"

	"jobworker/authz"
)

func user(name string, groups ...string) authz.Identity {
	return authz.Identity{User: name, Groups: groups}
}

var (
	admin    = user("alice", "jobworker:admin")
	operator = user("bob", "jobworker:operator")
	viewer   = user("carol", "jobworker:viewer")
	both     = user("dave", "jobworker:viewer", "jobworker:operator")
	nobody   = user("eve", "jobworker", "admin", "operator", "Jobworker:Admin", "jobworker:admin ")
)

// TestBuiltin is the whole of the built-in policy: who (a admin, o operator, v viewer, b viewer
// and operator) may do what, to a job of their own, to somebody else's, and without a job.
func TestBuiltin(t *testing.T) {
	p := authz.Builtin()
	table := map[authz.Action]struct{ own, others, none string }{
		authz.JobStart:        {"aob", "a", "aob"},
		authz.JobList:         {"aovb", "avb", "aovb"},
		authz.JobRead:         {"aovb", "avb", "avb"},
		authz.JobOutput:       {"aovb", "avb", "avb"},
		authz.JobStats:        {"aovb", "avb", "avb"},
		authz.JobStop:         {"aob", "a", "a"},
		authz.JobSignal:       {"aob", "a", "a"},
		authz.JobStdin:        {"aob", "a", "a"},
		authz.JobRemove:       {"aob", "a", "a"},
		authz.EventsRead:      {"aovb", "avb", "aovb"},
		authz.WorkerRead:      {"aovb", "aovb", "aovb"},
		authz.WorkerPing:      {"aob", "aob", "aob"},
		authz.WorkerStart:     {"a", "a", "a"},
		authz.WorkerStop:      {"a", "a", "a"},
		authz.WorkerTerminate: {"a", "a", "a"},
		"job.stopp":           {},
		"":                    {},
	}
	for a := range p.Rights(admin).Actions {
		if _, ok := table[a]; !ok {
			t.Errorf("%s is not in the table", a)
		}
	}
	who := map[byte]authz.Identity{'a': admin, 'o': operator, 'v': viewer, 'b': both, 'n': nobody, '0': {}}
	for a, want := range table {
		for letter, id := range who {
			for owner, allowed := range map[string]string{id.User: want.own, "mallory": want.others, "": want.none} {
				if id.User == "" {
					allowed = ""
				}
				ok, reason := p.Allow(id, a, owner)
				if ok != slices.Contains([]byte(allowed), letter) || reason == "" {
					t.Errorf("%s %q to a job of %q: %v (%s)", id.User, a, owner, ok, reason)
				}
			}
		}
	}
}

func TestReasons(t *testing.T) {
	for _, tt := range []struct {
		id    authz.Identity
		a     authz.Action
		owner string
		want  string
	}{
		{admin, authz.JobStop, "bob", "role admin"},
		{operator, authz.JobStop, "bob", "role operator, own job"},
		{operator, authz.JobStart, "", "role operator"},
		{operator, authz.JobStop, "alice", "not the owner"},
		{viewer, authz.JobStop, "alice", "not among the rights of viewer"},
		{both, authz.JobRead, "alice", "role viewer"},
		{nobody, authz.JobStop, "eve", "the policy gives you no role"},
		{admin, "x", "", "unknown action"},
	} {
		if _, got := authz.Builtin().Allow(tt.id, tt.a, tt.owner); got != tt.want {
			t.Errorf("%s %s: %q, want %q", tt.id.User, tt.a, got, tt.want)
		}
	}
}

// TestOneFilter: what is in a list and what exists when asked for are the same.
func TestOneFilter(t *testing.T) {
	p := authz.Builtin()
	for _, tt := range []struct {
		id   authz.Identity
		sees authz.Scope
	}{
		{admin, authz.All}, {viewer, authz.All}, {both, authz.All},
		{operator, authz.Own}, {nobody, authz.None}, {authz.Identity{}, authz.None},
		{user("", "jobworker:admin"), authz.None},
	} {
		if got := p.Rights(tt.id).Sees; got != tt.sees {
			t.Errorf("%q sees %s, want %s", tt.id.User, got, tt.sees)
		}
		if got := p.SeesAll(tt.id); got != (tt.sees == authz.All) {
			t.Errorf("%q: SeesAll %v", tt.id.User, got)
		}
		if got := p.Sees(tt.id, "mallory"); got != (tt.sees == authz.All) {
			t.Errorf("%q: Sees another's job: %v", tt.id.User, got)
		}
		if got := p.Sees(tt.id, tt.id.User); got != (tt.sees != authz.None) {
			t.Errorf("%q: Sees their own job: %v", tt.id.User, got)
		}
	}
}

func TestRights(t *testing.T) {
	got := authz.Builtin().Rights(both)
	want := map[authz.Action]authz.Scope{
		authz.JobStart: authz.Own, authz.JobList: authz.All, authz.JobRead: authz.All,
		authz.JobOutput: authz.All, authz.JobStats: authz.All, authz.JobStop: authz.Own,
		authz.JobSignal: authz.Own, authz.JobStdin: authz.Own, authz.JobRemove: authz.Own,
		authz.EventsRead: authz.All, authz.WorkerRead: authz.All, authz.WorkerPing: authz.All,
	}
	if !maps.Equal(got.Actions, want) {
		t.Errorf("actions %v, want %v", got.Actions, want)
	}
	if !slices.Equal(got.Roles, []authz.Role{authz.Operator, authz.Viewer}) {
		t.Errorf("roles %v", got.Roles)
	}
	if got := authz.Builtin().Rights(nobody); got.Roles == nil || len(got.Roles)+len(got.Actions) != 0 {
		t.Errorf("nobody has %+v", got)
	}
}

func TestZeroPolicyAllowsNothing(t *testing.T) {
	var p authz.Policy
	for a := range authz.Builtin().Rights(admin).Actions {
		if ok, _ := p.Allow(admin, a, admin.User); ok {
			t.Errorf("%s is allowed", a)
		}
	}
}

func BenchmarkAllow(b *testing.B) {
	p := authz.Builtin()
	for b.Loop() {
		if ok, _ := p.Allow(operator, authz.JobOutput, "bob"); !ok {
			b.Fatal("denied")
		}
	}
}
