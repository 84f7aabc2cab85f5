package httpapi_test

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"jobworker/httpapi"
	"jobworker/job"
)

// A badRequest is refused with a type, which names the field and value that is
// to blame.
type badRequest struct {
	method, path, headers, body string
	kind, field, value          string
}

// badRequests is no variable: each job's PID 1 is this binary, and would wait for
// the long strings.
func badRequests() []badRequest {
	return []badRequest{
		// Query parameters.
		{"GET", "/v1/jobs?colour=red", "", "", "bad-request", "colour", "red"},
		{"GET", "/v1/jobs?limit=1&limit=2", "", "", "bad-request", "limit", "2"},
		{"GET", "/v1/jobs?limit=", "", "", "bad-request", "limit", ""},
		{"GET", "/v1/jobs?limit=0", "", "", "bad-request", "limit", "0"},
		{"GET", "/v1/jobs?limit=+1", "", "", "bad-request", "limit", " 1"},
		{"GET", "/v1/jobs?limit=%2B1", "", "", "bad-request", "limit", "+1"},
		{"GET", "/v1/jobs?limit=1001", "", "", "bad-request", "limit", "1001"},
		{"GET", "/v1/jobs?limit=99999999999999999999", "", "", "bad-request", "limit", "99999999999999999999"},
		{"GET", "/v1/jobs?state=done", "", "", "bad-request", "state", "done"},
		{"GET", "/v1/jobs?label=k", "", "", "bad-request", "label", "k"},
		{"GET", "/v1/jobs?label=k=1&label=k=2", "", "", "bad-request", "label", "k=2"},
		{"GET", "/v1/jobs?page_token=nonsense", "", "", "bad-request", "page_token", "nonsense"},
		{"GET", "/v1/jobs?a;b", "", "", "bad-request", "", "a;b"},
		{"GET", "/v1/jobs?%zz", "", "", "bad-request", "", "%zz"},
		{"GET", "/livez?verbose", "", "", "bad-request", "verbose", ""},
		{"POST", "/v1/jobs?follow=1", asJSON, `{"argv":["true"]}`, "bad-request", "follow", "1"},
		{"GET", "/v1/jobs/JOB?wait=soon", "", "", "bad-request", "wait", "soon"},
		{"GET", "/v1/jobs/JOB?wait=-1s", "", "", "bad-request", "wait", "-1s"},
		{"GET", "/v1/jobs/JOB?wait=61s", "", "", "bad-request", "wait", "61s"},
		{"GET", "/v1/jobs/JOB/output?offset=-1", "", "", "bad-request", "offset", "-1"},
		{"GET", "/v1/jobs/JOB/output?offset=1e3", "", "", "bad-request", "offset", "1e3"},
		{"GET", "/v1/jobs/JOB/output?tail_lines=0", "", "", "bad-request", "tail_lines", "0"},
		{"GET", "/v1/jobs/JOB/output?stream=stdin", "", "", "bad-request", "stream", "stdin"},
		{"GET", "/v1/jobs/JOB/output?since=yesterday", "", "", "bad-request", "since", "yesterday"},
		{"GET", "/v1/jobs/JOB/output?limit=0", "", "", "bad-request", "limit", "0"},
		{"GET", "/v1/jobs/JOB/output?format=xml", "", "", "bad-request", "format", "xml"},
		{"GET", "/v1/jobs/JOB/output?offset=7", "", "", "offset-out-of-range", "offset", "7"},
		{"POST", "/v1/jobs/JOB/stop?force=true", "", "", "bad-request", "force", "true"},

		// Bodies.
		{"GET", "/v1/jobs", asJSON, "{}", "bad-request", "", ""},
		{"DELETE", "/v1/jobs/JOB", asJSON, "{}", "bad-request", "", ""},
		{"POST", "/v1/jobs", "", "", "unsupported-media-type", "Content-Type", ""},
		{"POST", "/v1/jobs", "Content-Type: application/x-www-form-urlencoded", "{}", "unsupported-media-type", "Content-Type", "application/x-www-form-urlencoded"},
		{"POST", "/v1/jobs", asJSON + "\nContent-Encoding: gzip", "{}", "unsupported-media-type", "Content-Encoding", "gzip"},
		{"POST", "/v1/jobs", asJSON, "", "invalid-spec", "", ""},
		{"POST", "/v1/jobs", asJSON, "{", "invalid-spec", "", ""},
		{"POST", "/v1/jobs", asJSON, "nonsense", "invalid-spec", "", ""},
		{"POST", "/v1/jobs", asJSON, "[]", "invalid-spec", "", "[…"},
		{"POST", "/v1/jobs", asJSON, "{}", "invalid-spec", "argv", ""},
		{"POST", "/v1/jobs", asJSON, `{"argv":["true"]} x`, "invalid-spec", "", ""},
		{"POST", "/v1/jobs", asJSON, `{"argv":["true"],"shell":true}`, "invalid-spec", `"shell"`, ""},
		{"POST", "/v1/jobs", asJSON, `{"argv":["true"],"argv":["false"]}`, "invalid-spec", "argv", ""},
		{"POST", "/v1/jobs", asJSON, `{"argv":"true"}`, "invalid-spec", "argv", `"true"`},
		{"POST", "/v1/jobs", asJSON, `{"argv":["a\u0000b"]}`, "invalid-spec", "argv[0]", `"a\x00b"`},
		{"POST", "/v1/jobs", asJSON, `{"argv":["true"],"limits":{"cpus":-1}}`, "invalid-spec", "limits.cpus", "-1"},
		{"POST", "/v1/jobs", asJSON, `{"argv":["true"],"limits":{"memory_bytes":0}}`, "invalid-spec", "limits.memory_bytes", "0"},
		{"POST", "/v1/jobs", asJSON, `{"argv":["true"],"timeout":"soon"}`, "invalid-spec", "timeout", ""},
		{"POST", "/v1/jobs", asJSON, `{"argv":["true"],"stop_signal":"SIGFOO"}`, "invalid-spec", "stop_signal", `"SIGFOO"`},
		{"POST", "/v1/jobs", asJSON, `{"argv":["true"],"net":"bridge"}`, "invalid-spec", "net", `"bridge"`},
		{"POST", "/v1/jobs", asJSON, `{"argv":["true"],"user":"root"}`, "invalid-spec", "user", `"root"`},
		{"POST", "/v1/jobs", asJSON, `{"argv":["true"],"binds":[{"source":"/srv","target":"/proc/x"}]}`, "invalid-spec", "binds[0].target", `"/proc/x"`},
		{"POST", "/v1/jobs", asJSON + "\nIdempotency-Key: a b", `{"argv":["true"]}`, "bad-request", "Idempotency-Key", "a b"},
		{"POST", "/v1/jobs", asJSON + "\nIdempotency-Key: " + strings.Repeat("k", 256), `{"argv":["true"]}`, "bad-request", "Idempotency-Key", strings.Repeat("k", 256)},
		{"POST", "/v1/jobs", asJSON, `{"argv":["true","` + strings.Repeat("x", httpapi.MaxBody) + `"]}`, "too-large", "", ""},
		{"POST", "/v1/jobs", asJSON, `{"argv":["/nothing/here"]}`, "start-failed", "", ""},
		{"POST", "/v1/jobs", asJSON, `{"argv":["true"],"dir":"/nothing"}`, "start-failed", "", ""},
		{"POST", "/v1/jobs/JOB/stop", asJSON, `{"signal":"SIGFOO"}`, "bad-request", "signal", "SIGFOO"},
		{"POST", "/v1/jobs/JOB/stop", asJSON, `{"grace":"-1s"}`, "bad-request", "grace", "-1s"},
		{"POST", "/v1/jobs/JOB/stop", asJSON, `{"grace":10}`, "bad-request", "grace", ""},
		{"POST", "/v1/jobs/JOB/stop", asJSON, `{"Signal":"KILL"}`, "bad-request", `"Signal"`, ""},
		{"POST", "/v1/jobs/JOB/signal", asJSON, `{}`, "bad-request", "signal", ""},
		{"POST", "/v1/jobs/JOB/signal", asJSON, `{"signal":"0"}`, "bad-request", "signal", "0"},
		{"POST", "/v1/jobs/JOB/signal", "", "", "unsupported-media-type", "Content-Type", ""},

		// Paths and methods.
		{"GET", "/", "", "", "not-found", "", ""},
		{"GET", "/v1", "", "", "not-found", "", ""},
		{"GET", "/v1/jobs/", "", "", "not-found", "", ""},
		{"GET", "/v2/jobs", "", "", "not-found", "", ""},
		{"GET", "//v1/jobs", "", "", "not-found", "", ""},
		{"POST", "/v1/whoami", "", "", "method-not-allowed", "", "POST"},
		{"GET", "/v1/jobs/JOB/stop", "", "", "method-not-allowed", "", "GET"},
		{"DELETE", "/livez", "", "", "method-not-allowed", "", "DELETE"},
		{"OPTIONS", "/v1/jobs", "", "", "method-not-allowed", "", "OPTIONS"},
	}
}

func TestBadRequests(t *testing.T) {
	f := newFixture(t, nil)
	j := f.start(f.client("alice", operator), "sleep 1000")
	cases, passed := badRequests(), 0
	for _, proto := range protocols {
		c := f.plain(proto, f.identity("alice", 0, operator))
		for i, bad := range cases {
			if !t.Run(fmt.Sprintf("%s/%d", proto, i), func(t *testing.T) {
				resp, body := f.call(c, call{bad.method, bad.path, bad.headers, bad.body}, j.ID)
				p := parseProblem(t, resp, body)
				got := [3]string{p.Type, p.Field, p.Value}
				if want := [3]string{bad.kind, bad.field, bad.value}; got != want {
					t.Errorf("%s %s %s %.80s: %q, want %q (%s)", bad.method, bad.path, bad.headers, bad.body, got, want, body)
				}
				if (resp.StatusCode == 405) != (resp.Header.Get("Allow") != "") {
					t.Errorf("status %d, Allow %q", resp.StatusCode, resp.Header.Get("Allow"))
				}
			}) {
				passed++
			}
		}
	}
	t.Logf("abuse: %d cases, %d passed through", len(protocols)*len(cases), passed)
	l, err := f.client("alice", operator).List(t.Context(), httpapi.ListOptions{})
	if err != nil || len(l.Jobs) != 1 || l.Jobs[0].State != httpapi.Running {
		t.Errorf("jobs left: %v, %v; want the one that runs", l.Jobs, err)
	}
}

func parseProblem(t testing.TB, resp *http.Response, body string) httpapi.Problem {
	t.Helper()
	if ct := resp.Header.Get("Content-Type"); ct != "application/problem+json" {
		t.Fatalf("status %d of content type %q: %s", resp.StatusCode, ct, body)
	}
	var p httpapi.Problem
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	if p.Status != resp.StatusCode || p.Title == "" || p.RequestID == "" || p.RequestID != resp.Header.Get("Request-Id") {
		t.Fatalf("status %d, request id %q: %s", resp.StatusCode, resp.Header.Get("Request-Id"), body)
	}
	return p
}

// Nobody can tell from an answer whether somebody else's job exists.
func TestNotFound(t *testing.T) {
	f := newFixture(t, nil)
	foreign := f.start(f.client("alice", operator), "sleep 1000").ID
	ids := []string{
		foreign, "aaaaaaaaaaaaaaaaaaaaaaaaaa", "AAAAAAAAAAAAAAAAAAAAAAAAAA", "a", "..", "%2e%2e", ".", "a%2f..%2fb", "%00", "%ff", "a%0ab",
		strings.ToUpper(foreign), foreign + "a", "*", "{id}", strings.Repeat("a", 4096),
	}
	requests := []call{
		{"GET", "/v1/jobs/JOB", "", ""},
		{"GET", "/v1/jobs/JOB?wait=60s", "", ""},
		{"DELETE", "/v1/jobs/JOB", "", ""},
		{"POST", "/v1/jobs/JOB/stop", "", ""},
		{"POST", "/v1/jobs/JOB/signal", asJSON, `{"signal":"KILL"}`},
		{"GET", "/v1/jobs/JOB/output", "", ""},
		{"GET", "/v1/jobs/JOB/output?offset=1000000", "", ""},
	}
	for _, proto := range protocols {
		c := f.plain(proto, f.identity("bob", 0, operator))
		want := ""
		for _, request := range requests {
			for _, id := range ids {
				resp, body := f.call(c, request, id)
				got := fmt.Sprint(resp.StatusCode, headers(resp.Header), stable(body, ""))
				if want == "" {
					want = got
				}
				if got != want || resp.StatusCode != 404 {
					t.Errorf("%s %s of %.40q:\n%swant:\n%s", request.method, request.path, id, got, want)
				}
			}
		}
	}
	if j, err := f.client("alice", operator).Status(t.Context(), foreign); err != nil || j.State != httpapi.Running {
		t.Errorf("the job: %v, %v", j.State, err)
	}
	for _, id := range []string{"", ".", "..", "../jobs", "a/b", "a?b", "\x00", foreign} {
		_, err := f.client("bob", operator).Status(t.Context(), id)
		if p := problem(t, err, httpapi.TypeNotFound); p.Detail != "no such job" {
			t.Errorf("id %q: %q", id, p.Detail)
		}
	}
}

// A body that does not come in time costs a request, not a worker.
func TestBodyTimeout(t *testing.T) {
	f := newFixture(t, func(c *httpapi.Config) { c.BodyTimeout = 100 * time.Millisecond })
	t.Run("HTTP/1.1", func(t *testing.T) {
		conn := f.dial(f.identity("alice", 0, operator))
		if _, err := io.WriteString(conn, "POST /v1/jobs HTTP/1.1\r\nHost: worker\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusRequestTimeout {
			t.Error(resp.Status)
		}
	})
	t.Run("HTTP/2.0", func(t *testing.T) {
		body, w := io.Pipe() // never has anything
		t.Cleanup(func() { w.Close() })
		req, err := http.NewRequestWithContext(t.Context(), "POST", f.url()+"/v1/jobs", body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := f.plain("HTTP/2.0", f.identity("alice", 0, operator)).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusRequestTimeout {
			t.Error(resp.Status)
		}
	})
}

// dial opens a TLS connection for HTTP/1.1 by hand.
func (f *fixture) dial(cfg *tls.Config) *tls.Conn {
	f.Helper()
	conn, err := tls.Dial("tcp", f.addr, cfg)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { conn.Close() })
	return conn
}

// A disk that takes no more jobs is told to the client, and in figures to who runs the
// worker.
func TestNoSpace(t *testing.T) {
	f := newFixture(t, func(c *httpapi.Config) {
		c.Worker = newWorker(t, c.Log, func(c *job.Config) { c.ReserveBytes = 1 << 60 })
	})
	_, err := f.client("alice", operator).Start(t.Context(), shell("true"), "")
	if p := problem(t, err, httpapi.TypeNoSpace); p.Status != http.StatusInsufficientStorage || strings.Contains(p.Detail, "reserve") {
		t.Errorf("problem %+v", p)
	}
	f.logs.await(t, "the worker's disk takes no more jobs", "1152921504606846976 in reserve")
}
