package httpapi_test

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"jobworker/httpapi"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// A call is one request of a golden file. JOB in it stands for the id of the
// last job that an answer named in its header Location.
type call struct {
	method, path string
	headers      string // "Name: value" lines
	body         string
}

const asJSON = "Content-Type: application/json"

// goldens pin the wire format: every request below and its answer, with what
// differs from run to run replaced by a word.
var goldens = map[string][]call{
	"job": {
		{"POST", "/v1/jobs", asJSON, `{"argv":["sh","-c","sleep 1; echo hello; exit 3"],"name":"nightly","labels":{"k":"v"},"env":{"A":"1"},"dir":"/tmp","timeout":"1h","stop_signal":"INT","grace":"1m30s","merge":true}`},
		{"GET", "/v1/jobs/JOB?wait=60s", "", ""},
		{"GET", "/v1/jobs/JOB/output", "", ""},
		{"GET", "/v1/jobs/JOB/output?offset=2", "Accept: application/x-ndjson", ""},
		{"GET", "/v1/jobs/JOB/output?limit=3", "", ""},
		{"GET", "/v1/jobs/JOB/output?format=raw&follow=true", "", ""},
		{"GET", "/v1/jobs?state=ended&label=k%3Dv&limit=1", "", ""},
		{"POST", "/v1/jobs/JOB/stop", "", ""},
		{"POST", "/v1/jobs/JOB/signal", asJSON, `{"signal":"TERM"}`},
		{"DELETE", "/v1/jobs/JOB", "", ""},
		{"GET", "/v1/jobs/JOB", "", ""},
	},
	"run": {
		{"POST", "/v1/jobs?follow=true", asJSON + "\nIdempotency-Key: nightly-1", `{"argv":["echo","hi"]}`},
		{"POST", "/v1/jobs?follow=true", asJSON + "\nIdempotency-Key: nightly-1", `{"argv":["echo","hi"]}`},
		{"POST", "/v1/jobs", asJSON + "\nIdempotency-Key: nightly-1", `{"argv":["echo","ho"]}`},
		{"POST", "/v1/jobs", asJSON, `{"argv":["no-such-program"]}`},
		{"POST", "/v1/jobs", asJSON, `{"argv":["true"],"limits":{"cpus":-1}}`},
		{"POST", "/v1/jobs", asJSON, `{"argv":["true"],"Argv":["false"]}`},
	},
	"live": {
		{"POST", "/v1/jobs", asJSON, `{"argv":["sleep","1000"],"limits":{}}`},
		{"GET", "/v1/jobs/JOB", "", ""},
		{"DELETE", "/v1/jobs/JOB", "", ""},
		{"GET", "/v1/jobs/JOB/output", "", ""},
		{"GET", "/v1/jobs/JOB/output?offset=1", "", ""},
		{"POST", "/v1/jobs/JOB/signal", asJSON, `{"signal":"WINCH"}`},
		{"POST", "/v1/jobs/JOB/stop", asJSON, `{"signal":"KILL","grace":"0s"}`},
		{"GET", "/v1/jobs/JOB/output?format=raw&follow=true", "", ""},
	},
	"stdin": {
		{"POST", "/v1/jobs", asJSON, `{"argv":["cat"],"stdin":true}`},
		{"PUT", "/v1/jobs/JOB/stdin?close=false", "Content-Type: application/octet-stream", "hello "},
		{"PUT", "/v1/jobs/JOB/stdin", "", "hello world"},
		{"PUT", "/v1/jobs/JOB/stdin?offset=6", "", "world"},
		{"GET", "/v1/jobs/JOB/output?format=raw&follow=true", "", ""},
		{"GET", "/v1/jobs/JOB", "", ""},
		{"PUT", "/v1/jobs/JOB/stdin?offset=11", "", ""},
		{"GET", "/v1/jobs/JOB/stdin", "", ""},
	},
	"other": {
		{"GET", "/v1/whoami", "", ""},
		{"GET", "/livez", "", ""},
		{"GET", "/readyz", "", ""},
		{"HEAD", "/livez", "", ""},
		{"GET", "/v1/jobs", "", ""},
		{"GET", "/v1/jobs?owner=bob", "", ""},
		{"GET", "/v1/jobs?limit=0", "", ""},
		{"GET", "/v1/nothing", "", ""},
		{"PUT", "/v1/jobs", "", ""},
		{"PATCH", "/v1/jobs/aaaaaaaaaaaaaaaaaaaaaaaaaa", "", ""},
		{"GET", "/v1/jobs/aaaaaaaaaaaaaaaaaaaaaaaaaa", "", ""},
		{"POST", "/v1/jobs", "Content-Type: text/plain", "hello"},
	},
	"worker": {
		{"GET", "/v1/worker", "", ""},
		{"POST", "/v1/ping", "", ""},
		{"POST", "/v1/calculate", asJSON + "\nIdempotency-Key: sum-1", `{"seconds":1.5,"message":"a < b"}`},
		{"GET", "/v1/jobs/JOB?wait=60s", "", ""},
		{"POST", "/v1/calculate", asJSON + "\nIdempotency-Key: sum-1", `{"seconds":1.5,"message":"a < b"}`},
		{"GET", "/v1/jobs/JOB/output", "", ""},
		{"POST", "/v1/calculate", asJSON, `{"message":"x"}`},
		{"POST", "/v1/calculate", asJSON, `{"seconds":3600.5,"message":"x"}`},
		{"POST", "/v1/worker/stop", "", ""},
		{"POST", "/v1/worker/stop", "", ""},
		{"GET", "/v1/worker", "", ""},
		{"POST", "/v1/ping", "", ""},
		{"POST", "/v1/jobs", asJSON, `{"argv":["true"]}`},
		{"GET", "/readyz", "", ""},
		{"POST", "/v1/worker/start", "", ""},
		{"POST", "/v1/worker/start", "", ""},
		{"POST", "/v1/worker/terminate", "", ""},
		{"GET", "/v1/events?since=7", "", ""},
	},
}

func TestGolden(t *testing.T) {
	for name, calls := range goldens {
		for _, proto := range protocols {
			t.Run(name+"/"+proto, func(t *testing.T) {
				f := newFixture(t, nil)
				group := operator
				if name == "worker" {
					group = admin
				}
				c := f.plain(proto, f.identity("alice", 0, group))
				compare(t, filepath.Join("testdata", name+".http"), f.transcript(c, calls))
			})
		}
	}
}

func (f *fixture) transcript(c *http.Client, calls []call) string {
	var b strings.Builder
	job := ""
	for _, call := range calls {
		resp, body := f.call(c, call, job)
		if l := resp.Header.Get("Location"); l != "" {
			job = strings.TrimPrefix(l, "/v1/jobs/")
		}
		fmt.Fprintf(&b, ">>> %s %s\n", call.method, call.path)
		if call.headers != "" {
			fmt.Fprintln(&b, call.headers)
		}
		if call.body != "" {
			fmt.Fprintf(&b, "\n%s\n", call.body)
		}
		fmt.Fprintf(&b, "<<< %d\n%s\n%s%s\n", resp.StatusCode, headers(resp.Header), body, headers(resp.Trailer))
	}
	return stable(b.String(), job)
}

func (f *fixture) call(c *http.Client, call call, job string) (*http.Response, string) {
	f.Helper()
	req, err := http.NewRequestWithContext(f.Context(), call.method, f.url()+strings.ReplaceAll(call.path, "JOB", job), strings.NewReader(call.body))
	if err != nil {
		f.Fatal(err)
	}
	for line := range strings.Lines(call.headers) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		req.Header.Set(name, value)
	}
	resp, err := c.Do(req)
	if err != nil {
		f.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		f.Fatalf("%s %s: %v after %q", call.method, call.path, err, body)
	}
	return resp, string(body)
}

// headers are those that the API defines, sorted. Content-Length and Date are
// HTTP's own.
func headers(h http.Header) string {
	var lines []string
	for name, values := range h {
		switch {
		case name == "Date", name == "Content-Length", values == nil: // announced, but never came
		case name == "Request-Id":
			lines = append(lines, name+": REQUEST\n")
		default:
			lines = append(lines, name+": "+strings.Join(values, ", ")+"\n")
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// unstable is what differs from run to run. The expressions are not compiled
// once for all: each job's PID 1 is this binary, and would wait for it.
var unstable = [][2]string{
	{`"request_id":"[A-Z2-7]{26}"`, `"request_id":"REQUEST"`},
	{`"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"`, `"TIME"`},
	{`"uid":\d+,"gid":\d+`, `"uid":UID,"gid":GID`},
	{`"fingerprint":"[0-9a-f]{64}"`, `"fingerprint":"SHA256"`},
	{`"(time|seq|event|next)":\d{10,}`, `"$1":NUMBER`},
	{`"usage":\{([^{}]|\{([^{}]|\{[^{}]*\})*\})*\}`, `"usage":USAGE`},
	{`"limits":\{("cpu_weight":100,)?("memory_bytes":1073741824,)?("pids":512,)?"output`, `"limits":{"output`}, // in force only where the controllers are there
}

func stable(s, job string) string {
	for _, u := range unstable {
		s = regexp.MustCompile(u[0]).ReplaceAllString(s, u[1])
	}
	if job != "" {
		s = strings.ReplaceAll(s, job, "JOB")
	}
	return s
}

// TestGoldenEvents pins the lines of events.
func TestGoldenEvents(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) {
			f := newFixture(t, nil)
			resp := f.open(t.Context(), f.plain(proto, f.identity("alice", 0, admin)), "/v1/events", "")
			c := f.client("alice", admin)
			spec := shell("echo ready; exec sleep 1000")
			spec.Name = "nightly"
			j := f.startReady(c, spec)
			if _, err := c.StopWorker(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := c.StartWorker(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := c.Signal(t.Context(), j.ID, "WINCH"); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Stop(t.Context(), j.ID, httpapi.StopRequest{}); err != nil {
				t.Fatal(err)
			}
			if err := c.Remove(t.Context(), j.ID); err != nil {
				t.Fatal(err)
			}
			sum, err := c.Calculate(t.Context(), httpapi.CalculateRequest{Seconds: 0.01, Message: "a < b\n"}, "")
			if err != nil {
				t.Fatal(err)
			}
			f.ended(c, sum.ID)
			f.worker.Terminate("alice")
			if err := f.server.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			b, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Error(err)
			}
			lines := strings.ReplaceAll(stable(string(b), j.ID), sum.ID, "SUM")
			compare(t, filepath.Join("testdata", "events.jsonl"), lines)
		})
	}
}

func compare(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (go test ./httpapi -run Golden -update writes it); now:\n%s", path, got)
	}
}
