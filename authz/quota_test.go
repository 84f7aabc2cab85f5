package authz_test

import (
	"encoding/json"
	"strings"
	"testing"

	"jobworker/authz"
)

const quotaText = `{"roles": {"operator": {"groups": ["staff", "build", "ci"]}},
 "quotas": {
  "default": {"jobs": 20, "cpus": 4, "memory_bytes": 8589934592, "kept_jobs": 1000},
  "groups":  {"build": {"jobs": 100, "pids": 5000}, "ci": {"jobs": 50, "cpus": 2.00001}},
  "users":   {"bob": {"jobs": 3, "spec_bytes": 1, "starts_per_minute": 600}}
 }}`

// A user's own bound counts before those of groups, of which the largest counts, and these before
// the default: each bound by itself.
func TestQuota(t *testing.T) {
	p := parsePolicy(t, quotaText)
	for _, tt := range []struct {
		id   authz.Identity
		want authz.Quota
	}{
		{user("alice", "staff"), authz.Quota{Jobs: 20, CPUs: 4, MemoryBytes: 8 << 30, KeptJobs: 1000}},
		{user("alice", "build"), authz.Quota{Jobs: 100, CPUs: 4, MemoryBytes: 8 << 30, KeptJobs: 1000, Pids: 5000}},
		{user("alice", "ci"), authz.Quota{Jobs: 50, CPUs: 2.00001, MemoryBytes: 8 << 30, KeptJobs: 1000}},
		{user("alice", "ci", "build"), authz.Quota{Jobs: 100, CPUs: 2.00001, MemoryBytes: 8 << 30, KeptJobs: 1000, Pids: 5000}},
		{user("bob", "build"), authz.Quota{Jobs: 3, CPUs: 4, MemoryBytes: 8 << 30, KeptJobs: 1000, Pids: 5000, SpecBytes: 1, StartsPerMinute: 600}},
		{user("build", "bob"), authz.Quota{Jobs: 20, CPUs: 4, MemoryBytes: 8 << 30, KeptJobs: 1000}}, // a group is no user
	} {
		if got := p.Quota(tt.id); got != tt.want {
			t.Errorf("%s of %v: %+v, want %+v", tt.id.User, tt.id.Groups, got, tt.want)
		}
	}
}

// What a file does not speak of it does not lift.
func TestBuiltinQuota(t *testing.T) {
	builtin := authz.Builtin().Quota(user("alice"))
	if builtin.Jobs == 0 || builtin.KeptJobs == 0 || builtin.SpecBytes == 0 {
		t.Errorf("built-in %+v", builtin)
	}
	if got := parsePolicy(t, policyText).Quota(user("alice")); got != builtin {
		t.Errorf("a file without quotas: %+v, want %+v", got, builtin)
	}
	if got := parsePolicy(t, `{"roles":{"admin":{"users":["alice"]}},"quotas":{}}`).Quota(user("alice")); got != (authz.Quota{}) {
		t.Errorf("a file with none: %+v", got)
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

func TestQuotasRefused(t *testing.T) {
	for _, tt := range []struct{ quotas, want string }{
		{`null`, "quotas: null: must be an object"},
		{`[]`, "quotas: […]: must be an object"},
		{`{"everyone":{"jobs":1}}`, "quotas.everyone: unknown field"},
		{`{"default":null}`, "quotas.default: null: must be an object"},
		{`{"default":{}}`, "quotas.default: {}: bounds nothing"},
		{`{"default":{"job":1}}`, "quotas.default.job: unknown field"},
		{`{"default":{"Jobs":1}}`, "quotas.default.Jobs: unknown field"},
		{`{"default":{"jobs":1,"jobs":2}}`, "quotas.default.jobs: is there twice"},
		{`{"default":{"jobs":null}}`, "quotas.default.jobs: null: must be a whole number from 1"},
		{`{"default":{"jobs":"1"}}`, `quotas.default.jobs: "1": must be a whole number`},
		{`{"default":{"jobs":0}}`, "quotas.default.jobs: 0: must be a whole number from 1"},
		{`{"default":{"jobs":-1}}`, "quotas.default.jobs: -1: must be"},
		{`{"default":{"jobs":1.5}}`, "quotas.default.jobs: 1.5: must be"},
		{`{"default":{"jobs":1e3}}`, "quotas.default.jobs: 1e3: must be"},
		{`{"default":{"jobs":9223372036854775808}}`, "quotas.default.jobs: 9223372036854775808: must be"},
		{`{"default":{"memory_bytes":70368744177665}}`, "quotas.default.memory_bytes: 70368744177665: must be a whole number from 1 to 70368744177664"},
		{`{"default":{"cpus":0}}`, "quotas.default.cpus: 0: must be a number from 0.01"},
		{`{"default":{"cpus":-1}}`, "quotas.default.cpus: -1: must be"},
		{`{"default":{"cpus":1e-300}}`, "quotas.default.cpus: 1e-300: must be"},
		{`{"default":{"cpus":1e999}}`, "quotas.default.cpus: 1e999: must be"},
		{`{"default":{"cpus":"1"}}`, `quotas.default.cpus: "1": must be`},
		{`{"users":[]}`, "quotas.users: […]: must be an object"},
		{`{"users":{"":{"jobs":1}}}`, `quotas.users: "": must not be empty`},
		{`{"users":{"a\u202e":{"jobs":1}}}`, `quotas.users: "a\u202e": must be printable`},
		{`{"users":{"a":{}}}`, "quotas.users.a: {}: bounds nothing"},
		{`{"users":{"a":{"jobs":1},"a":{"jobs":2}}}`, "quotas.users.a: is there twice"},
		{`{"groups":{"a b":{"pids":0}}}`, "quotas.groups.a b.pids: 0: must be"},
	} {
		_, err := authz.ParsePolicy(strings.NewReader(`{"roles":{"admin":{"users":["a"]}},"quotas":` + tt.quotas + `}`))
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q in it", tt.quotas, err, tt.want)
		}
	}
}

// The policy is written as it is read.
func TestQuotasEncode(t *testing.T) {
	const text = `{"roles":{"admin":{"users":["a"]}},"quotas":{"default":{"jobs":1,"cpus":0.5},"groups":{"g":{"pids":2}},"users":{"u":{"kept_jobs":3}}}}`
	got, err := json.Marshal(parsePolicy(t, text))
	if err != nil || string(got) != text {
		t.Errorf("%s, %v\nwant %s", got, err, text)
	}
}
