package httpapi_test

import (
	"encoding/json"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"jobworker/authz"
	"jobworker/httpapi"
)

// Everything that can be asked about alice's job, by role of who asks: "" is
// done, else it is the type of the problem.
func TestRoles(t *testing.T) {
	f := newFixture(t, nil)
	alice := f.client("alice", operator)
	users := map[string]*httpapi.Client{
		"other":  f.client("bob", operator),
		"viewer": f.client("eve", viewer),
		"nobody": f.client("mallory"),
		"admin":  f.client("root", admin),
	}
	actions := []struct {
		name                         string
		do                           func(c *httpapi.Client, id string) error
		other, viewer, nobody, admin string
	}{
		{"start", func(c *httpapi.Client, _ string) error {
			_, err := c.Start(t.Context(), shell("exit 0"), "")
			return err
		}, "", "forbidden", "forbidden", ""},
		{"start of nothing valid", func(c *httpapi.Client, _ string) error {
			_, err := c.Start(t.Context(), httpapi.Spec{}, "")
			return err
		}, "invalid-spec", "forbidden", "forbidden", "invalid-spec"},
		{"list", func(c *httpapi.Client, _ string) error {
			_, err := c.List(t.Context(), httpapi.ListOptions{})
			return err
		}, "", "", "forbidden", ""},
		{"status", func(c *httpapi.Client, id string) error {
			_, err := c.Status(t.Context(), id)
			return err
		}, "not-found", "", "not-found", ""},
		{"output", func(c *httpapi.Client, id string) error {
			s, err := c.Output(t.Context(), id, httpapi.OutputOptions{})
			if err == nil {
				s.Close()
			}
			return err
		}, "not-found", "", "not-found", ""},
		{"signal", func(c *httpapi.Client, id string) error { return c.Signal(t.Context(), id, "WINCH") },
			"not-found", "forbidden", "not-found", ""},
		{"stdin", func(c *httpapi.Client, id string) error {
			_, err := c.Stdin(t.Context(), id, 0, strings.NewReader("x"))
			return err
		}, "not-found", "forbidden", "not-found", "no-stdin"},
		{"stop", func(c *httpapi.Client, id string) error {
			_, err := c.Stop(t.Context(), id, httpapi.StopRequest{})
			return err
		}, "not-found", "forbidden", "not-found", ""},
		{"remove", func(c *httpapi.Client, id string) error { return c.Remove(t.Context(), id) },
			"not-found", "forbidden", "not-found", ""},
		{"live", func(c *httpapi.Client, _ string) error { return c.Live(t.Context()) }, "", "", "", ""},
		{"whoami", func(c *httpapi.Client, _ string) error {
			_, err := c.WhoAmI(t.Context())
			return err
		}, "", "", "", ""},
	}
	id := f.start(alice, "sleep 1000").ID
	for _, a := range actions {
		for who, want := range map[string]string{"other": a.other, "viewer": a.viewer, "nobody": a.nobody} {
			got(t, a.name+" by "+who, a.do(users[who], id), want)
		}
		got(t, a.name+" by admin", a.do(users["admin"], id), a.admin)
	}
	f.auditOf(id)
}

func got(t *testing.T, what string, err error, want string) {
	t.Helper()
	kind := ""
	if p, ok := errors.AsType[*httpapi.Problem](err); ok {
		kind = p.Type
	} else if err != nil {
		kind = err.Error()
	}
	if kind != want {
		t.Errorf("%s: %q, want %q", what, kind, want)
	}
}

// auditOf checks that each decision about a job is in the log, with all it needs.
func (f *fixture) auditOf(id string) {
	f.Helper()
	var decisions []string
	for line := range strings.Lines(f.logs.String()) {
		var a struct {
			Msg, User, Fingerprint, Action, Job, Owner, Remote, Decision, Reason string
			RequestID                                                            string `json:"request_id"`
		}
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			f.Fatal(err)
		}
		if a.Msg != "audit" {
			continue
		}
		if a.User == "" || len(a.Fingerprint) != 64 || a.RequestID == "" || !strings.HasPrefix(a.Remote, "127.0.0.1:") || a.Reason == "" {
			f.Errorf("incomplete: %s", line)
		}
		if a.Job == id {
			decisions = append(decisions, a.User+" "+a.Action+" "+a.Decision)
		}
	}
	for _, want := range []string{
		"bob job.read deny", "mallory job.stop deny", "eve job.read allow", "eve job.output allow", "eve job.signal deny",
		"eve job.stdin deny", "root job.stdin allow", "root job.signal allow", "root job.stop allow", "root job.remove allow",
	} {
		if !slices.Contains(decisions, want) {
			f.Errorf("no %q among the decisions %q", want, decisions)
		}
	}
}

// A list holds what a look at each job would show.
func TestListShowsOwn(t *testing.T) {
	f := newFixture(t, nil)
	mine := f.start(f.client("alice", operator), "sleep 1000").ID
	theirs := f.start(f.client("bob", operator), "sleep 1000").ID
	for _, test := range []struct {
		user, group, owner string
		want               []string
	}{
		{"alice", operator, "", []string{mine}},
		{"alice", operator, "bob", nil},
		{"carol", operator, "", nil},
		{"carol", viewer, "", []string{theirs, mine}},
		{"carol", viewer, "alice", []string{mine}},
		{"carol", admin, "nobody", nil},
	} {
		if ids := f.list(f.client(test.user, test.group), httpapi.ListOptions{Owner: test.owner}); !slices.Equal(ids, test.want) {
			t.Errorf("%s, %s, owner %q: %v, want %v", test.user, test.group, test.owner, ids, test.want)
		}
	}
}

func TestWhoAmI(t *testing.T) {
	f := newFixture(t, nil)
	w, err := f.client("alice", operator, "staff").WhoAmI(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(w.Groups) // their order in a certificate is that of its encoding
	if w.User != "alice" || !slices.Equal(w.Groups, []string{operator, "staff"}) || !slices.Equal(w.Roles, []authz.Role{authz.Operator}) ||
		w.Sees != authz.Own || w.Actions[authz.JobStart] == "" || len(w.Fingerprint) != 64 || time.Until(w.NotAfter) < time.Hour {
		t.Errorf("%+v", w)
	}
}

// Without a certificate of the worker's CA nothing is answered.
func TestStrangers(t *testing.T) {
	f := newFixture(t, nil)
	known := f.identity("alice", 0, operator)
	other := newFixture(t, nil)
	for name, c := range map[string]*httpapi.Client{
		"no certificate": func() *httpapi.Client {
			cfg := known.Clone()
			cfg.GetClientCertificate = nil
			return newClient(t, f.url(), cfg)
		}(),
		"other CA": func() *httpapi.Client {
			cfg := other.identity("alice", 0, admin)
			cfg.RootCAs = known.RootCAs
			return newClient(t, f.url(), cfg)
		}(),
		"does not trust the worker": newClient(t, f.url(), other.identity("alice", 0, admin)),
	} {
		err := c.Live(t.Context())
		if _, ok := errors.AsType[*httpapi.Problem](err); err == nil || ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Who is refused always hears that it is, whatever of the connection broke first.
func TestRefusalIsTold(t *testing.T) {
	f := newFixture(t, nil)
	other := newFixture(t, nil)
	cfg := other.identity("alice", 0, admin)
	cfg.RootCAs = f.identity("alice", 0, admin).RootCAs
	tries := 100 // without that one in fourteen hears something else
	if os.Getenv("KERNELTEST") == "vm" {
		tries = 10
	}
	for i := range tries {
		c := newClient(t, f.url(), cfg)
		err := c.Live(t.Context())
		if op, ok := errors.AsType[*net.OpError](err); !ok || op.Op != "remote error" {
			t.Errorf("%d: %v, want the alert", i, err)
		}
	}
}
