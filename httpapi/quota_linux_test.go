package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jobworker/authz"
	"jobworker/httpapi"
	"jobworker/job"
)

// quotas makes the policy of f one with quotas, a JSON object.
func (f *fixture) quotas(text string) {
	f.Helper()
	p, err := authz.ParsePolicy(strings.NewReader(`{"roles":{"operator":{"groups":["` + operator + `"]}},"quotas":` + text + `}`))
	if err != nil {
		f.Fatal(err)
	}
	f.server.SetPolicy(p)
}

// What is too much is told with what is in use, and with when to ask again, if that
// can help; and it is in the audit log.
func TestQuotaAnswers(t *testing.T) {
	f := newFixture(t, nil)
	f.quotas(`{"default":{"jobs":1},"users":{"bob":{"kept_jobs":1},"carol":{"spec_bytes":100},"dave":{"starts_per_minute":1}}}`)
	for _, tt := range []struct {
		user, bound string
		ends        bool // the first job does
		second      string
		retry       string // of the header, "" for none; "~" for a number of seconds up to a minute
	}{
		{"alice", "jobs", false, "exit 0", "1"},
		{"bob", "kept_jobs", true, "exit 0", "60"},
		{"carol", "spec_bytes", true, strings.Repeat("x", 100), ""},
		{"dave", "starts_per_minute", true, "exit 0", "~"},
	} {
		client := f.client(tt.user, operator)
		script := "exec sleep 1000"
		if tt.ends {
			script = "exit 0"
		}
		if j := f.start(client, script); tt.ends {
			f.ended(client, j.ID)
		}
		body, err := json.Marshal(shell(tt.second))
		if err != nil {
			t.Fatal(err)
		}
		resp, answer := f.call(f.plain("HTTP/2.0", f.identity(tt.user, 0, operator)), call{"POST", "/v1/jobs", asJSON, string(body)}, "")
		p := parseProblem(t, resp, answer)
		if p.Type != httpapi.TypeQuota || resp.StatusCode != 429 || p.Quota == nil || p.Quota.Bound != tt.bound || p.Quota.Limit == 0 || p.Quota.Asked == 0 {
			t.Errorf("%s: %s", tt.user, answer)
		}
		if tt.bound != "spec_bytes" && p.Quota.Used != 1 {
			t.Errorf("%s: used %v", tt.user, p.Quota.Used)
		}
		retry := resp.Header.Get("Retry-After")
		if d, err := time.ParseDuration(retry + "s"); retry != tt.retry && (tt.retry != "~" || err != nil || d <= 0 || d > time.Minute) {
			t.Errorf("%s: Retry-After %q, want %q", tt.user, retry, tt.retry)
		}
		f.logs.await(t, `"audit"`, `"user":"`+tt.user+`"`, `"job.start"`, `"deny"`, "quota on "+tt.bound)
	}
}

// Many requests of one user at once get no more than the quota allows, calculates
// among them, while another user is served.
func TestQuotaParallel(t *testing.T) {
	f := newFixture(t, nil)
	f.quotas(`{"default":{"jobs":4}}`)
	alice, bob := f.client("alice", operator), f.client("bob", operator)
	var started atomic.Int64
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			var err error
			if i%2 == 0 {
				_, err = alice.Start(t.Context(), shell("exec sleep 1000"), "")
			} else {
				_, err = alice.Calculate(t.Context(), httpapi.CalculateRequest{Seconds: 1000}, "")
			}
			if p, ok := errors.AsType[*httpapi.Problem](err); ok && p.Type == httpapi.TypeQuota {
				return
			}
			if err != nil {
				t.Error(err)
			}
			started.Add(1)
		})
	}
	f.ended(bob, f.start(bob, "exit 0").ID)
	all.Wait()
	if n := started.Load(); n != 4 {
		t.Errorf("%d jobs were started, want 4", n)
	}
	who, err := alice.WhoAmI(t.Context())
	if err != nil || who.Quota != (authz.Quota{Jobs: 4}) || who.Used.Jobs != 4 || who.Used.KeptJobs != 4 {
		t.Errorf("whoami: %+v, used %+v, %v", who.Quota, who.Used, err)
	}
	if who, err := bob.WhoAmI(t.Context()); err != nil || who.Used.Jobs != 0 || who.Used.KeptJobs != 1 {
		t.Errorf("bob: %+v, %v", who.Used, err)
	}
}

// Another policy is another quota, for the next start.
func TestQuotaFollowsPolicy(t *testing.T) {
	f := newFixture(t, nil)
	c := f.client("alice", operator)
	f.start(c, "exec sleep 1000")
	f.quotas(`{"default":{"jobs":1}}`)
	_, err := c.Start(t.Context(), shell("exit 0"), "")
	problem(t, err, httpapi.TypeQuota)
	f.quotas(`{}`)
	f.start(c, "exit 0")
	if used := f.worker.Used("alice"); used.KeptJobs != 2 {
		t.Errorf("in use: %+v", used)
	}
	if f.worker.Used("nobody") != (job.Quota{}) {
		t.Error("who has no jobs uses something")
	}
}

// Who is refused all the time keeps nobody else from being served: a start of bob's takes
// some times as long while alice floods the worker, not for as long as she goes on.
func TestFloodServesOthers(t *testing.T) {
	f := newFixture(t, nil)
	f.quotas(`{"users":{"alice":{"jobs":1}}}`)
	alice, bob := f.client("alice", operator), f.client("bob", operator)
	f.start(alice, "exec sleep 1000")
	usual := f.medianRun(bob)

	var flood sync.WaitGroup
	var refused atomic.Int64
	ctx, stop := context.WithCancel(t.Context())
	for kind, spec := range map[string]httpapi.Spec{
		httpapi.TypeQuota:       {Argv: []string{"true"}},
		httpapi.TypeInvalidSpec: {Argv: slices.Repeat([]string{"true"}, 70<<10)},
		httpapi.TypeTooLarge:    {Argv: []string{"true", strings.Repeat("x", httpapi.MaxBody)}},
	} {
		flood.Go(func() {
			for ctx.Err() == nil {
				_, err := alice.Start(ctx, spec, "")
				if p, ok := errors.AsType[*httpapi.Problem](err); (!ok || p.Type != kind) && ctx.Err() == nil {
					t.Errorf("%v, want %s", err, kind)
					return
				}
				refused.Add(1)
			}
		})
	}
	flooded := f.medianRun(bob)
	stop()
	flood.Wait()
	t.Logf("a job took %v, and %v beside %d refusals", usual, flooded, refused.Load())
	if flooded > 30*usual {
		t.Errorf("a job takes %v instead of %v", flooded, usual)
	}
}

// medianRun returns how long a short job usually takes, from its start to its end.
func (f *fixture) medianRun(c *httpapi.Client) time.Duration {
	f.Helper()
	var times []time.Duration
	for range 5 {
		begin := time.Now()
		f.ended(c, f.start(c, "exit 0").ID)
		times = append(times, time.Since(begin))
	}
	slices.Sort(times)
	return times[len(times)/2]
}
