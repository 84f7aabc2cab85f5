package httpapi_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"jobworker/httpapi"
	"jobworker/job"
)

// TestCalculateBodies: what a calculate may be, and what the refusal names.
func TestCalculateBodies(t *testing.T) {
	f := newFixture(t, nil)
	c := f.plain("HTTP/2.0", f.identity("alice", 0, operator))
	long := strings.Repeat("x", httpapi.MaxMessage)
	for _, test := range []struct {
		body   string
		status int
		want   string // in the answer
	}{
		{`{"seconds":0,"message":""}`, 201, `"argv":["calculate","0",""],"builtin":true`},
		{`{"seconds":0.0,"message":"m"}`, 201, `"argv":["calculate","0","m"]`},
		{`{"seconds":1e-3,"message":"m"}`, 201, `"argv":["calculate","0.001","m"]`},
		{`{"seconds":36e2,"message":"m"}`, 201, `"argv":["calculate","3600","m"]`},
		{`{"message":"ä\n\u001b[2J\ud83d\ude00","seconds":0}`, 201, `"argv":["calculate","0","ä\n\u001b[2J😀"]`},
		{`{"seconds":0,"message":"` + long + `"}`, 201, `"owner":"alice"`},

		{``, 400, `"detail":"the JSON document ends early"`},
		{`{}`, 400, `"detail":"is missing","field":"seconds"`},
		{`{"message":"m"}`, 400, `"detail":"is missing","field":"seconds"`},
		{`{"seconds":1}`, 400, `is missing: \"\" prints an empty line","field":"message"`},
		{`{"seconds":null,"message":"m"}`, 400, `"field":"seconds","value":"null"`},
		{`{"seconds":"1","message":"m"}`, 400, `"detail":"must be a number that fits in 64 bits","field":"seconds"`},
		{`{"seconds":true,"message":"m"}`, 400, `"field":"seconds","value":"true"`},
		{`{"seconds":[1],"message":"m"}`, 400, `"field":"seconds"`},
		{`{"seconds":-1,"message":"m"}`, 400, `or \"0.5\"","field":"seconds","value":"-1"`},
		{`{"seconds":-0.0,"message":"m"}`, 400, `"field":"seconds","value":"-0"`},
		{`{"seconds":1e309,"message":"m"}`, 400, `"detail":"must be a number that fits in 64 bits","field":"seconds","value":"1e309"`},
		{`{"seconds":1e308,"message":"m"}`, 400, `must be at most 3600 here: 1h0m0s","field":"seconds"`},
		{`{"seconds":3600.001,"message":"m"}`, 400, `must be at most 3600 here: 1h0m0s","field":"seconds","value":"3600.001"`},
		{`{"seconds":NaN,"message":"m"}`, 400, `not JSON`},
		{`{"seconds":Infinity,"message":"m"}`, 400, `not JSON`},
		{`{"seconds":0x10,"message":"m"}`, 400, `not JSON`},
		{`{"seconds":1,"message":null}`, 400, `"field":"message","value":"null"`},
		{`{"seconds":1,"message":1}`, 400, `"field":"message","value":"1"`},
		{`{"seconds":1,"message":"a\u0000b"}`, 400, `contains a NUL byte","field":"message"`},
		{"{\"seconds\":1,\"message\":\"a\xffb\"}", 400, `not valid UTF-8`},
		{`{"seconds":1,"message":"` + long + `x"}`, 400, `is longer than 4096 bytes","field":"message"`},
		{`{"seconds":1,"seconds":2,"message":"m"}`, 400, `is given twice","field":"seconds"`},
		{`{"seconds":1,"Message":"m","message":"m"}`, 400, `unknown field`},
		{`{"seconds":1,"message":"m","x":1}`, 400, `unknown field`},
		{`{"seconds":1,"message":"m"} {}`, 400, `goes on after its end`},
		{`[1,"m"]`, 400, `must be an object`},
	} {
		resp, body := f.do(c, "POST", "/v1/calculate", "application/json", test.body)
		if resp.StatusCode != test.status || !strings.Contains(body, test.want) {
			t.Errorf("%.100s: %d %.300s; want %d with %s", test.body, resp.StatusCode, body, test.status, test.want)
		}
		if located := strings.HasPrefix(resp.Header.Get("Location"), "/v1/jobs/"); located != (test.status == 201) {
			t.Errorf("%.100s: Location %q", test.body, resp.Header.Get("Location"))
		}
	}
}

// TestCalculateKey: asking again with the key starts nothing, with another body it
// is refused.
func TestCalculateKey(t *testing.T) {
	f := newFixture(t, nil)
	c := f.client("alice", operator)
	r := httpapi.CalculateRequest{Seconds: 0, Message: "once"}
	first, err := c.Calculate(t.Context(), r, "k")
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.Calculate(t.Context(), r, "k")
	if err != nil || again.ID != first.ID {
		t.Errorf("again: %s, %v, want job %s", again.ID, err, first.ID)
	}
	r.Message = "twice"
	_, err = c.Calculate(t.Context(), r, "k")
	problem(t, err, httpapi.TypeKeyReused)
	spec := httpapi.Spec{Builtin: true, Argv: []string{"calculate", "0", "once"}}
	if same, err := c.Start(t.Context(), spec, "k"); err != nil || same.ID != first.ID {
		t.Errorf("the same as a job: %s, %v, want job %s", same.ID, err, first.ID)
	}
}

// TestCalculatesAtOnce: a hundred run at once while everything else is answered; one
// beyond the bound is told to come back, whichever way it comes.
func TestCalculatesAtOnce(t *testing.T) {
	const n = 100
	f := newChangedFixture(t, func(c *job.Config) { c.MaxCalculates = n })
	c := f.client("alice", operator)
	events, err := c.Events(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	var wg sync.WaitGroup
	ids := make([]string, n)
	for i := range n {
		wg.Go(func() {
			// The last to start is there before the first ends.
			j, err := c.Calculate(t.Context(), httpapi.CalculateRequest{Seconds: 1000, Message: fmt.Sprint("m", i)}, "")
			if err != nil {
				t.Error(err)
			}
			ids[i] = j.ID
		})
	}
	wg.Wait()
	if w, err := c.Worker(t.Context()); err != nil || w.Calculating != n || w.Jobs != n {
		t.Errorf("worker %+v, %v; want %d calculating", w, err, n)
	}
	if _, err := c.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	_, err = c.Calculate(t.Context(), httpapi.CalculateRequest{}, "")
	problem(t, err, httpapi.TypeBusy)
	plain := f.plain("HTTP/2.0", f.identity("alice", 0, operator))
	resp, body := f.do(plain, "POST", "/v1/jobs", "application/json", `{"builtin":true,"argv":["calculate","0","x"]}`)
	if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") != "1" {
		t.Errorf("one more as a job: %s, Retry-After %q: %s", resp.Status, resp.Header.Get("Retry-After"), body)
	}
	for _, id := range ids {
		wg.Go(func() {
			zero := httpapi.Duration(0)
			if j, err := c.Stop(t.Context(), id, httpapi.StopRequest{Grace: &zero}); err != nil || j.Verdict == nil || j.Verdict.Reason != httpapi.Stopped {
				t.Errorf("stop: %+v, %v", j.Verdict, err)
			}
		})
	}
	wg.Wait()
	j, err := c.Calculate(t.Context(), httpapi.CalculateRequest{Message: "done"}, "")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(map[string]bool)
	for !ended[j.ID] {
		e, err := events.Next()
		if err != nil {
			t.Fatal(err)
		}
		if e.Type != httpapi.JobEnded {
			continue
		}
		ended[e.Job] = true
		if printed := e.Message != nil && *e.Message == "done"; printed != (e.Job == j.ID) {
			t.Errorf("%+v", e)
		}
	}
	if len(ended) != n+1 {
		t.Errorf("%d ends, want %d", len(ended), n+1)
	}
}
