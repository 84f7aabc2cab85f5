package httpapi_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"jobworker/httpapi"
	"jobworker/job"
	"jobworker/stream"
)

// connOf is the key of the connection in the context of a request to a fake.
type connOf struct{}

// fake returns a client of a server that is no worker.
func fake(t *testing.T, h http.HandlerFunc) *httpapi.Client {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = true
	s.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connOf{}, c) }
	s.StartTLS()
	t.Cleanup(s.Close)
	cfg := s.Client().Transport.(*http.Transport).TLSClientConfig
	c, err := httpapi.NewClient(s.URL, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestNewClientRefuses(t *testing.T) {
	for _, url := range []string{
		"", "127.0.0.1:8443", "http://127.0.0.1:8443", "https://", "https:///v1", "https://host/path", "https://u:p@host", "https://host?x=1", "https://host#x", "https://host:port", "\x00",
	} {
		if _, err := httpapi.NewClient(url, new(tls.Config)); err == nil {
			t.Errorf("%q was accepted", url)
		}
	}
	if _, err := httpapi.NewClient("https://host", nil); err == nil {
		t.Error("a client without TLS was accepted")
	}
	c, err := httpapi.NewClient("https://host:8443/", new(tls.Config))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// Answers that are not of the API are errors, and none of them is a *Problem.
func TestUnexpectedAnswers(t *testing.T) {
	answers := map[string]func(w http.ResponseWriter){
		"text":                 func(w http.ResponseWriter) { reply(w, 200, "text/plain", "ok") },
		"html error":           func(w http.ResponseWriter) { reply(w, 502, "text/html", "<h1>bad gateway</h1>") },
		"json error":           func(w http.ResponseWriter) { reply(w, 500, "application/json", "{}") },
		"wrong status":         func(w http.ResponseWriter) { reply(w, 202, "application/json", "{}") },
		"no content":           func(w http.ResponseWriter) { w.WriteHeader(204) },
		"redirect":             func(w http.ResponseWriter) { w.Header().Set("Location", "/livez"); w.WriteHeader(307) },
		"not JSON":             func(w http.ResponseWriter) { reply(w, 200, "application/json", "nonsense") },
		"cut":                  func(w http.ResponseWriter) { reply(w, 200, "application/json", "{"); panic(http.ErrAbortHandler) },
		"problem, not JSON":    func(w http.ResponseWriter) { reply(w, 404, "application/problem+json", "nonsense") },
		"problem without type": func(w http.ResponseWriter) { reply(w, 404, "application/problem+json", `{"status":404}`) },
		"problem that lies": func(w http.ResponseWriter) {
			reply(w, 404, "application/problem+json", `{"type":"forbidden","status":403}`)
		},
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			c := fake(t, func(w http.ResponseWriter, _ *http.Request) { answer(w) })
			_, status := c.Status(t.Context(), "aaaaaaaaaaaaaaaaaaaaaaaaaa")
			_, output := c.Output(t.Context(), "aaaaaaaaaaaaaaaaaaaaaaaaaa", httpapi.OutputOptions{})
			for _, err := range []error{status, output} {
				if _, ok := errors.AsType[*httpapi.Problem](err); err == nil || ok {
					t.Errorf("%T %v", err, err)
				}
			}
		})
	}
}

func reply(w http.ResponseWriter, status int, contentType, body string) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	io.WriteString(w, body)
	w.(http.Flusher).Flush()
}

func TestProblem(t *testing.T) {
	c := fake(t, func(w http.ResponseWriter, _ *http.Request) {
		reply(w, 422, "application/problem+json; charset=utf-8", `{"type":"start-failed","title":"t","status":422,"detail":"exec: \"foo\": not found","stage":"exec","errno":2,"request_id":"R","new":1}`)
	})
	_, err := c.Start(t.Context(), httpapi.Spec{Argv: []string{"foo"}}, "")
	want := httpapi.Problem{Type: httpapi.TypeStartFailed, Title: "t", Status: 422, Detail: `exec: "foo": not found`, Stage: "exec", Errno: 2, RequestID: "R"}
	if p := problem(t, err, httpapi.TypeStartFailed); *p != want {
		t.Errorf("%+v, want %+v", *p, want)
	}
	for want, p := range map[string]httpapi.Problem{
		"no such job":                           {Title: "not found", Detail: "no such job", Status: 404, RequestID: "R"},
		"not found":                             {Title: "not found"},
		"limits.cpus: -1: must be from 0.01 up": {Detail: "must be from 0.01 up", Field: "limits.cpus", Value: "-1"},
		"see the worker's log (request R)":      {Detail: "see the worker's log", Status: 500, RequestID: "R"},
	} {
		if got := p.Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

const (
	startLine  = `{"type":"start","v":1,"job":"aaaaaaaaaaaaaaaaaaaaaaaaaa","time":"2026-11-21T20:33:28.290000000Z","argv":["x"]}` + "\n"
	outputLine = `{"type":"output","stream":"stdout","offset":0,"time":"2026-11-21T20:33:28.290000000Z","text":"hello"}` + "\n"
	gapLine    = `{"type":"gap","offset":5,"bytes":10,"reason":"no_space"}` + "\n"
	pingLine   = `{"type":"ping"}` + "\n"
	endLine    = `{"type":"end","next":15,"reason":"complete"}` + "\n"
)

// An answer whose connection is reset half way was cut off, as a stream is: asking
// again may help.
func TestAnswerReset(t *testing.T) {
	for _, media := range []string{"application/json", "application/problem+json"} {
		c := fake(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", media)
			w.WriteHeader(200)
			w.Write([]byte(`{"type":`))
			http.NewResponseController(w).Flush()
			tcp := r.Context().Value(connOf{}).(*tls.Conn).NetConn().(*net.TCPConn)
			tcp.SetLinger(0)
			tcp.Close()
		})
		if _, err := c.Status(t.Context(), strings.Repeat("a", 26)); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v, want io.ErrUnexpectedEOF", media, err)
		}
	}
}

// Only an end frame ends a stream well.
func TestStreamEnds(t *testing.T) {
	tests := map[string]struct {
		body   string
		abort  bool
		cut    bool // io.ErrUnexpectedEOF is wanted, else io.EOF or another error
		eof    bool
		offset int64
	}{
		"complete":      {startLine + pingLine + outputLine + gapLine + endLine, false, false, true, 15},
		"empty":         {"", false, true, false, 0},
		"no end":        {startLine + outputLine, false, true, false, 5},
		"gap, no end":   {startLine + outputLine + gapLine, false, true, false, 15},
		"torn line":     {startLine + outputLine[:40], false, true, false, 0},
		"aborted":       {startLine + outputLine, true, true, false, 5},
		"after the end": {startLine + endLine + outputLine, false, false, false, 15},
		"no frame":      {startLine + "{\"type\":\"other\"}\n", false, false, false, 0},
		"long line":     {startLine + strings.Repeat("x", stream.MaxLine+1) + "\n", false, false, false, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := fake(t, func(w http.ResponseWriter, _ *http.Request) {
				reply(w, 200, "application/jsonl", test.body)
				if test.abort {
					panic(http.ErrAbortHandler)
				}
			})
			s, err := c.Output(t.Context(), "aaaaaaaaaaaaaaaaaaaaaaaaaa", httpapi.OutputOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			for err == nil {
				var fr stream.Frame
				if fr, err = s.Next(); fr.Type == stream.TypePing {
					t.Error("a ping came through")
				}
			}
			if errors.Is(err, io.ErrUnexpectedEOF) != test.cut || (err == io.EOF) != test.eof || s.Offset() != test.offset {
				t.Errorf("error %v, offset %d; want cut %v, EOF %v, %d", err, s.Offset(), test.cut, test.eof, test.offset)
			}
			if _, again := s.Next(); again != err {
				t.Errorf("once more: %v", again)
			}
			if _, ok := s.End(); ok != strings.Contains(test.body, endLine) {
				t.Errorf("end frame seen: %v", ok)
			}
		})
	}
}

// A worker that falls silent is noticed, before and after its header.
func TestSilentWorker(t *testing.T) {
	for name, body := range map[string]string{"before the header": "", "after some lines": startLine + outputLine} {
		t.Run(name, func(t *testing.T) {
			c := fake(t, func(w http.ResponseWriter, r *http.Request) {
				if body != "" {
					reply(w, 200, "application/jsonl", body)
				}
				<-r.Context().Done()
			})
			c.IdleTimeout = 50 * time.Millisecond
			s, err := c.Output(t.Context(), "aaaaaaaaaaaaaaaaaaaaaaaaaa", httpapi.OutputOptions{Follow: true})
			if s != nil {
				defer s.Close()
			}
			for err == nil {
				_, err = s.Next()
			}
			if !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "no sign of life for 50ms") {
				t.Errorf("error %v", err)
			}
		})
	}
}

// A stream that is read slowly is not taken for a silent worker.
func TestSlowCaller(t *testing.T) {
	c := fake(t, func(w http.ResponseWriter, _ *http.Request) {
		reply(w, 200, "application/jsonl", startLine+outputLine+gapLine+endLine)
	})
	c.IdleTimeout = time.Second
	s, err := c.Output(t.Context(), "aaaaaaaaaaaaaaaaaaaaaaaaaa", httpapi.OutputOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	time.Sleep(1500 * time.Millisecond) // the caller's own time, which is what is tested
	if r := receive(t, s); r.end.Next != 15 {
		t.Errorf("end %+v", r.end)
	}
}

// Proxies of the environment are not used.
func TestNoProxy(t *testing.T) {
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
	t.Setenv("https_proxy", "http://127.0.0.1:1")
	c := fake(t, func(w http.ResponseWriter, _ *http.Request) { reply(w, 200, "application/json", `{"status":"ok"}`) })
	if err := c.Live(t.Context()); err != nil {
		t.Error(err)
	}
}

// Requests are retried by nobody behind the caller's back, and carry what they say.
func TestRequests(t *testing.T) {
	var got []string
	c := fake(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got = append(got, strings.TrimSpace(r.Method+" "+r.URL.RequestURI()+" "+r.Header.Get("Idempotency-Key")+" "+string(b)))
		reply(w, 404, "application/problem+json", `{"type":"not-found","title":"not found","status":404}`)
	})
	id, zero := "aaaaaaaaaaaaaaaaaaaaaaaaaa", job.Duration(0)
	ctx := t.Context()
	c.Start(ctx, httpapi.Spec{Argv: []string{"a"}}, "k")
	c.Run(ctx, httpapi.Spec{Argv: []string{"a"}}, "")
	c.Wait(ctx, id, time.Hour)
	c.List(ctx, httpapi.ListOptions{State: httpapi.Ended, Owner: "o", Labels: map[string]string{"a": "b c"}, Limit: 3, PageToken: "t"})
	c.Stop(ctx, id, httpapi.StopRequest{Signal: "INT", Grace: &zero})
	c.Signal(ctx, id, "HUP")
	c.Output(ctx, id, httpapi.OutputOptions{Offset: 1, TailLines: 2, Since: time.Unix(0, 5).UTC(), Source: stream.Stderr, Limit: 4, Follow: true})
	c.Remove(ctx, id)
	c.Status(ctx, "../x")
	c.Worker(ctx)
	c.StartWorker(ctx)
	c.StopWorker(ctx)
	c.TerminateWorker(ctx)
	c.Ping(ctx)
	c.Calculate(ctx, httpapi.CalculateRequest{Seconds: 0, Message: ""}, "k")
	c.Events(ctx, 0)
	c.Events(ctx, 5)
	want := []string{
		`POST /v1/jobs k {"argv":["a"]}`,
		`POST /v1/jobs?follow=true  {"argv":["a"]}`,
		`GET /v1/jobs/` + id + `?wait=1m0s`,
		`GET /v1/jobs?label=a%3Db+c&limit=3&owner=o&page_token=t&state=ended`,
		`POST /v1/jobs/` + id + `/stop  {"signal":"INT","grace":"0s"}`,
		`POST /v1/jobs/` + id + `/signal  {"signal":"HUP"}`,
		`GET /v1/jobs/` + id + `/output?follow=true&limit=4&offset=1&since=1970-01-01T00%3A00%3A00.000000005Z&stream=stderr&tail_lines=2`,
		`DELETE /v1/jobs/` + id,
		`GET /v1/jobs/-..%2Fx`,
		`GET /v1/worker`,
		`POST /v1/worker/start`,
		`POST /v1/worker/stop`,
		`POST /v1/worker/terminate`,
		`POST /v1/ping`,
		`POST /v1/calculate k {"seconds":0,"message":""}`,
		`GET /v1/events`,
		`GET /v1/events?since=5`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("requests:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
