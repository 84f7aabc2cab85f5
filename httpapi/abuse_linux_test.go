package httpapi_test

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"jobworker/httpapi"
)

// A rawRequest is what a client sends on an HTTP/1.1 connection, byte by byte, and
// what it gets for it: most of them no ordinary client would send. What net/http refuses
// before there is a request is among them, since it is part of what is relied on.
type rawRequest struct {
	name   string
	send   string // ID is the id of a foreign job
	status int    // of the answer
	kind   string // type of its problem; "" where net/http refuses in plain text, or where the status is 200
}

// rawHost ends a request line, and names the host.
const rawHost = " HTTP/1.1\r\nHost: worker\r\n"

func rawGet(target string) string { return "GET " + target + rawHost + "\r\n" }

func rawPost(headers, body string) string {
	return "POST /v1/jobs" + rawHost + "Content-Type: application/json\r\n" + headers + "\r\n\r\n" + body
}

// rawTargets: what is not exactly the path of an endpoint is none.
func rawTargets() []rawRequest {
	return []rawRequest{
		{"two slashes first", rawGet("//v1/whoami"), 404, "not-found"},
		{"two slashes", rawGet("/v1//whoami"), 404, "not-found"},
		{"slash last", rawGet("/v1/whoami/"), 404, "not-found"},
		{"dot", rawGet("/v1/./whoami"), 404, "not-found"},
		{"dots", rawGet("/v1/jobs/../whoami"), 404, "not-found"},
		{"dots beyond the root", rawGet("/../v1/whoami"), 404, "not-found"},
		{"escaped dots", rawGet("/v1/jobs/%2e%2e/whoami"), 404, "not-found"},
		{"escaped slash", rawGet("/v1%2fwhoami"), 404, "not-found"},
		{"escaped twice", rawGet("/v1/%2577hoami"), 404, "not-found"},
		{"backslash", rawGet(`/v1\whoami`), 404, "not-found"},
		{"other case", rawGet("/V1/whoami"), 404, "not-found"},
		{"parameter of a segment", rawGet("/v1/whoami;x=1"), 404, "not-found"},
		{"NUL", rawGet("/v1/whoami%00"), 404, "not-found"},
		{"line break in the path", rawGet("/v1/whoami%0d%0aX-Injected:%201"), 404, "not-found"},
		{"not UTF-8", rawGet("/v1/%ff%fe"), 404, "not-found"},
		{"bad escape", rawGet("/v1/%zz"), 400, ""},
		{"line break in an id", rawGet("/v1/jobs/ID%0d%0aX-Injected:%201"), 404, "not-found"},
		{"endpoint in an id", rawGet("/v1/jobs/ID%2foutput"), 404, "not-found"},
		{"NUL after an id", rawGet("/v1/jobs/ID%00"), 404, "not-found"},
		{"asterisk", "OPTIONS *" + rawHost + "\r\n", 404, "not-found"},
		{"asterisk with GET", rawGet("*"), 404, "not-found"},
		{"no target", "GET " + rawHost + "\r\n", 400, ""},
		{"no slash", rawGet("v1/whoami"), 400, ""},
		{"absolute form, another's host", rawGet("https://elsewhere/v1/whoami"), 200, ""},
		{"absolute form, user and password", rawGet("https://root:x@worker/v1/nothing"), 404, "not-found"},
		{"absolute form, other scheme", rawGet("file:///etc/passwd"), 404, "not-found"},
		{"huge query", rawGet("/v1/whoami?" + strings.Repeat("a", 60<<10)), 400, "bad-request"},
		{"thousands of parameters", rawGet("/v1/jobs?" + strings.Repeat("label=a%3Db&", 5000)), 400, "bad-request"},
		{"unknown parameter twice", rawGet("/v1/jobs?x=1&x=2"), 400, "bad-request"},
		{"parameter in two cases", rawGet("/v1/jobs?limit=1&Limit=2"), 400, "bad-request"},
	}
}

func rawHeaders() []rawRequest {
	with := func(headers string) string { return "GET /v1/whoami" + rawHost + headers + "\r\n\r\n" }
	return []rawRequest{
		// Methods.
		{"lower case", "get /v1/whoami" + rawHost + "\r\n", 405, "method-not-allowed"},
		{"unknown method", "FROBNICATE /v1/whoami" + rawHost + "\r\n", 405, "method-not-allowed"},
		{"TRACE", "TRACE /v1/whoami" + rawHost + "\r\n", 405, "method-not-allowed"},
		{"CONNECT", "CONNECT 127.0.0.1:22" + rawHost + "\r\n", 404, "not-found"},
		{"method of HTTP/2's preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 404, "not-found"},
		{"override of the method", "GET /v1/jobs/ID/stop" + rawHost + "X-HTTP-Method-Override: POST\r\n\r\n", 405, "method-not-allowed"},
		{"not a token", "G\"T /v1/whoami" + rawHost + "\r\n", 400, ""},
		{"HTTP/3.0", "GET /v1/whoami HTTP/3.0\r\nHost: worker\r\n\r\n", 505, ""},
		{"HTTP/0.9", "GET /v1/whoami\r\n\r\n", 400, ""},

		// Headers.
		{"no host", "GET /v1/whoami HTTP/1.1\r\n\r\n", 400, ""},
		{"two hosts", with("Host: other"), 400, ""},
		{"odd host", "GET /v1/whoami HTTP/1.1\r\nHost: a b\r\n\r\n", 400, ""},
		{"space before the colon", with("Accept : x"), 400, ""},
		{"no colon", with("Accept"), 400, ""},
		{"NUL in a value", with("Accept: a\x00b"), 400, ""},
		{"carriage return in a value", with("Accept: a\rb"), 400, ""},
		{"65 KiB in one", with("Accept: " + strings.Repeat("x", 70<<10)), 431, ""},
		{"65 KiB in many", with(strings.TrimSuffix(strings.Repeat("A: b\r\n", 20<<10), "\r\n")), 431, ""},
		{"identity in headers", with("X-Forwarded-User: root\r\nX-Remote-User: root\r\nForwarded: for=root\r\nAuthorization: Basic cm9vdDp4"), 200, ""},
		{"upgrade to a websocket", with("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x"), 200, ""},
		{"upgrade to HTTP/2", with("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"), 200, ""},
		{"expects what is not known", with("Expect: the unexpected"), 417, ""},
		{"range", "GET /v1/jobs" + rawHost + "Range: bytes=0-1\r\n\r\n", 200, ""},
		{"two keys", rawPost("Idempotency-Key: a\r\nIdempotency-Key: b\r\nContent-Length: 2", "{}"), 400, "bad-request"},
		{"two media types", rawPost("Content-Type: text/plain\r\nContent-Length: 2", "{}"), 415, "unsupported-media-type"},
		{"two encodings", rawPost("Content-Encoding: identity\r\nContent-Encoding: gzip\r\nContent-Length: 2", "{}"), 415, "unsupported-media-type"},
		{"media type that goes on", "POST /v1/jobs" + rawHost + "Content-Type: application/json; =\r\nContent-Length: 2\r\n\r\n{}", 415, "unsupported-media-type"},
	}
}

// rawBodies are not what their headers say.
func rawBodies() []rawRequest {
	return []rawRequest{
		{"length negative", rawPost("Content-Length: -1", ""), 400, ""},
		{"length signed", rawPost("Content-Length: +2", "{}"), 400, ""},
		{"length hexadecimal", rawPost("Content-Length: 0x2", "{}"), 400, ""},
		{"length of 20 digits", rawPost("Content-Length: 99999999999999999999", "{}"), 400, ""},
		{"two lengths", rawPost("Content-Length: 2\r\nContent-Length: 3", "{}"), 400, ""},
		{"length of a terabyte", rawPost("Content-Length: 1099511627776", "{}"), 413, "too-large"},
		{"length of a terabyte, expecting to be asked", rawPost("Content-Length: 1099511627776\r\nExpect: 100-continue", ""), 413, "too-large"},
		{"length too short", rawPost("Content-Length: 5", `{"argv":["true"]}`), 400, "invalid-spec"},
		{"no length", rawPost("", `{"argv":["true"]}`), 400, "invalid-spec"},
		{"body where none belongs", "GET /v1/whoami" + rawHost + "Content-Length: 2\r\n\r\n{}", 400, "bad-request"},
		{"chunks where none belong", "GET /v1/whoami" + rawHost + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "bad-request"},
		{"chunk of no size", rawPost("Transfer-Encoding: chunked", "zz\r\n"), 400, "bad-request"},
		{"chunk of a negative size", rawPost("Transfer-Encoding: chunked", "-1\r\n"), 400, "bad-request"},
		{"chunk of a huge size", rawPost("Transfer-Encoding: chunked", "fffffffffffffffff\r\n"), 400, "bad-request"},
		{"chunks without end", rawPost("Transfer-Encoding: chunked", strings.Repeat("1000\r\n"+strings.Repeat(" ", 0x1000)+"\r\n", 300)), 413, "too-large"},
		{"chunk with a huge extension", rawPost("Transfer-Encoding: chunked", "1;"+strings.Repeat("x", 10<<10)+"\r\n \r\n"), 400, "bad-request"},
		{"coding that is not known", rawPost("Transfer-Encoding: gzip", "{}"), 501, ""},
		{"two codings", rawPost("Transfer-Encoding: gzip, chunked", "0\r\n\r\n"), 501, ""},
		{"two headers of coding", rawPost("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n"), 501, ""},
		{"smuggled request", rawPost("Content-Length: 4\r\nTransfer-Encoding: chunked", "2\r\n{}\r\n0\r\n\r\nPOST /v1/worker/terminate HTTP/1.1\r\n"), 400, "invalid-spec"},
	}
}

// TestRawRequests: what is odd is refused as what it is, starts nothing, and leaves the
// worker as it was.
func TestRawRequests(t *testing.T) {
	f := newFixture(t, nil)
	foreign := f.start(f.client("alice", operator), "exec sleep 1000").ID
	cfg := f.identity("bob", 0, operator)
	cases, passed := slices.Concat(rawTargets(), rawHeaders(), rawBodies()), 0
	for _, c := range cases {
		if !t.Run(c.name, func(t *testing.T) {
			resp, body := f.sendRaw(cfg, strings.ReplaceAll(c.send, "ID", foreign))
			if resp.StatusCode != c.status || resp.Header.Get("X-Injected") != "" || strings.Contains(body, `"user":"root"`) {
				t.Fatalf("%s, want %d: %v %.300s", resp.Status, c.status, resp.Header, body)
			}
			if problem := resp.Header.Get("Content-Type") == "application/problem+json"; problem != (c.kind != "") {
				t.Fatalf("%v %.300s", resp.Header, body)
			} else if problem && parseProblem(t, resp, body).Type != c.kind {
				t.Fatalf("want %s: %s", c.kind, body)
			}
		}) {
			passed++
		}
	}
	t.Logf("abuse: %d cases, %d passed through", len(cases), passed)
	if used := f.worker.Used("bob"); used.KeptJobs != 0 {
		t.Errorf("%d jobs were started", used.KeptJobs)
	}
	if err := f.client("bob", operator).Live(t.Context()); err != nil {
		t.Error(err)
	}
}

// A body whose end does not come starts nothing, also when what did come is a whole
// document.
func TestBodyCut(t *testing.T) {
	f := newFixture(t, nil)
	cfg := f.identity("bob", 0, operator)
	for _, request := range []string{
		rawPost("Content-Length: 100", `{"argv":["true"]}`),
		rawPost("Content-Length: 100", `{"argv":["tr`),
		rawPost("Transfer-Encoding: chunked", "11\r\n"+`{"argv":["true"]}`+"\r\n"),
	} {
		conn := f.dial(cfg)
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		if err := conn.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if p := parseProblem(t, resp, string(body)); p.Type != httpapi.TypeBadRequest || !strings.Contains(p.Detail, "cut short") {
			t.Errorf("%q: %s", request, body)
		}
	}
	if used := f.worker.Used("bob"); used.KeptJobs != 0 {
		t.Errorf("%d jobs were started", used.KeptJobs)
	}
}

// The sizes that are accepted of a header and of a body are the configuration's.
func TestSizes(t *testing.T) {
	f := newFixture(t, func(c *httpapi.Config) { c.MaxHeader, c.MaxBody = 8<<10, 1000 })
	for _, proto := range protocols {
		c := f.plain(proto, f.identity("bob", 0, operator))
		for _, tt := range []struct {
			header, body int
			status       int
		}{
			{7 << 10, 1000, 201},
			{100, 1001, 413},
			{100, 1 << 20, 413},
		} {
			body := `{"argv":["true"]}`
			body += strings.Repeat(" ", tt.body-len(body))
			resp, answer := f.call(c, call{"POST", "/v1/jobs", asJSON + "\nX-Padding: " + strings.Repeat("x", tt.header), body}, "")
			if resp.StatusCode != tt.status {
				t.Errorf("%s: header %d, body %d: %s, want %d: %.300s", proto, tt.header, tt.body, resp.Status, tt.status, answer)
			}
		}
	}
	// Over HTTP/2 a client that knows the bound keeps to it, and one that does not yet
	// loses its connection or gets the status.
	for _, proto := range protocols {
		large, err := http.NewRequestWithContext(t.Context(), "GET", f.url()+"/livez", nil)
		if err != nil {
			t.Fatal(err)
		}
		large.Header.Set("X-Padding", strings.Repeat("x", 16<<10))
		resp, err := f.plain(proto, f.identity("bob", 0, operator)).Do(large)
		if err != nil && proto == "HTTP/2.0" {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if resp.Body.Close(); resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("%s, a large header: %s", proto, resp.Status)
		}
	}
}

// sendRaw sends text on a connection of its own and returns the first answer.
func (f *fixture) sendRaw(cfg *tls.Config, text string) (*http.Response, string) {
	f.Helper()
	conn := f.dial(cfg)
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		f.Fatal(err)
	}
	go io.WriteString(conn, text) // what the server does not want to read it need not
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		f.Fatalf("%.80q: %v", text, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		f.Fatalf("%.80q: %v after %q", text, err, body)
	}
	return resp, string(body)
}

// hostileSpecs are jobs that no worker may start, and the field that is to blame.
func hostileSpecs() []struct{ name, body, field string } {
	const nul, bad = `\u0000`, "\xff"
	argv := func(json string) string { return `{"argv":["true",` + json + `]}` }
	limit := func(json string) string { return `{"argv":["true"],"limits":{` + json + `}}` }
	return []struct{ name, body, field string }{
		{"NUL in an argument", argv(`"a` + nul + `b"`), "argv[1]"},
		{"bytes that are not UTF-8 in an argument", argv(`"` + bad + `"`), ""},
		{"half a surrogate in an argument", argv(`"\ud800"`), ""},
		{"argument longer than the kernel takes", argv(`"` + strings.Repeat("x", 128<<10) + `"`), "argv[1]"},
		{"arguments longer together", argv(strings.Repeat(`"`+strings.Repeat("x", 100<<10)+`",`, 10) + `"` + strings.Repeat("x", 30<<10) + `"`), "argv"},
		{"argument that is a number", argv(`1`), "argv[1]"},
		{"arguments in each other", argv(`["x"]`), "argv[1]"},
		{"NUL in a variable's name", `{"argv":["true"],"env":{"a` + nul + `":"x"}}`, "env"},
		{"NUL in a variable", `{"argv":["true"],"env":{"A":"` + nul + `"}}`, "env.A"},
		{"equals sign in a variable's name", `{"argv":["true"],"env":{"LD_PRELOAD=x":""}}`, "env"},
		{"not UTF-8 in a variable", `{"argv":["true"],"env":{"A":"` + bad + `"}}`, ""},
		{"line break in the name", `{"argv":["true"],"name":"a\r\nSet-Cookie: x"}`, "name"},
		{"line break in a label", `{"argv":["true"],"labels":{"k":"a\r\nb"}}`, "labels.k"},
		{"right-to-left override in a label", `{"argv":["true"],"labels":{"k":"a\u202eb"}}`, "labels.k"},
		{"directory with a NUL", `{"argv":["true"],"dir":"/tmp` + nul + `"}`, "dir"},

		{"no CPU", limit(`"cpus":0`), "limits.cpus"},
		{"negative CPUs", limit(`"cpus":-0.5`), "limits.cpus"},
		{"CPUs that are not a number", limit(`"cpus":NaN`), ""},
		{"CPUs without end", limit(`"cpus":1e309`), "limits.cpus"},
		{"hardly any CPU", limit(`"cpus":1e-300`), "limits.cpus"},
		{"CPUs as text", limit(`"cpus":"1"`), "limits.cpus"},
		{"no memory", limit(`"memory_bytes":0`), "limits.memory_bytes"},
		{"negative memory", limit(`"memory_bytes":-1`), "limits.memory_bytes"},
		{"memory beyond 64 bits", limit(`"memory_bytes":18446744073709551616`), "limits.memory_bytes"},
		{"memory that overflows to a little", limit(`"memory_bytes":9223372036854775807`), "limits.memory_bytes"},
		{"memory with a fraction", limit(`"memory_bytes":1048576.5`), "limits.memory_bytes"},
		{"memory with an exponent", limit(`"memory_bytes":1e9`), "limits.memory_bytes"},
		{"no process", limit(`"pids":0`), "limits.pids"},
		{"more processes than there can be", limit(`"pids":4194305`), "limits.pids"},
		{"negative rate", limit(`"io":[{"path":"/","read_bps":-1}]`), "limits.io[0].read_bps"},
		{"negative time", `{"argv":["true"],"timeout":"-1s"}`, "timeout"},
		{"time beyond 64 bits", `{"argv":["true"],"timeout":"9999999999h"}`, "timeout"},
		{"time that is nested deeply", `{"argv":["true"],"timeout":` + strings.Repeat("[", 100<<10), ""},

		{"field with a huge name", `{"` + strings.Repeat("x", 100<<10) + `":1}`, `"` + strings.Repeat("x", 64) + `…"`},
		{"variable with a huge name", `{"argv":["true"],"env":{"` + strings.Repeat("x", 1<<10) + `":1}}`, "env." + strings.Repeat("x", 252) + "…"},
		{"number of a hundred thousand digits", limit(`"pids":` + strings.Repeat("9", 100<<10)), "limits.pids"},
		{"number as a huge time", `{"argv":["true"],"timeout":` + strings.Repeat("9", 100<<10) + `}`, "timeout"},
		{"another's owner", `{"argv":["true"],"owner":"root"}`, `"owner"`},
		{"a field in two cases", `{"argv":["true"],"Argv":["false"]}`, `"Argv"`},
		{"a field twice", `{"argv":["true"],"argv":["false"]}`, "argv"},
		{"a field twice, escaped", `{"argv":["true"],"\u0061rgv":["false"]}`, "argv"},
		{"a label twice", `{"argv":["true"],"labels":{"k":"1","k":"2"}}`, "labels.k"},
		{"null", `null`, ""},
		{"null for a field", `{"argv":["true"],"limits":null}`, "limits"},
		{"brackets only", strings.Repeat("[", 1<<20), ""},
		{"objects only", strings.Repeat(`{"a":`, 100<<10), `"a"`},
		{"two documents", `{"argv":["true"]}{"argv":["true"]}`, ""},
		{"a comment", `{"argv":["true"]}//`, ""},
		{"byte order mark", "\xef\xbb\xbf" + `{"argv":["true"]}`, ""},
		{"UTF-16", "{\x00}\x00", ""},
		{"NUL bytes", strings.Repeat("\x00", 1000), ""},
		{"gzip", "\x1f\x8b\x08\x00", ""},
	}
}

// TestHostileSpecs: none of them starts a job, and each is told what is wrong with it.
func TestHostileSpecs(t *testing.T) {
	f := newFixture(t, nil)
	cases, passed := hostileSpecs(), 0
	c := f.plain("HTTP/2.0", f.identity("bob", 0, operator))
	for _, spec := range cases {
		resp, body := f.do(c, "POST", "/v1/jobs", "application/json", spec.body)
		if p := parseProblem(t, resp, body); p.Type != httpapi.TypeInvalidSpec || p.Field != spec.field {
			passed++
			t.Errorf("%s: want field %q: %.500s", spec.name, spec.field, body)
		}
		if len(body) > 2<<10 {
			t.Errorf("%s: an answer of %d bytes", spec.name, len(body))
		}
	}
	t.Logf("abuse: %d cases, %d passed through", len(cases), passed)
	if used := f.worker.Used("bob"); used.KeptJobs != 0 {
		t.Errorf("%d jobs were started", used.KeptJobs)
	}
}

// Nothing that a job writes, or was asked to run, becomes a header, a trailer or a line
// of its own.
func TestOutputIsNoHeader(t *testing.T) {
	const forged = "HTTP/1.1 200 OK\r\nX-Injected: 1\r\nJob-State: running\r\nJob-Exit-Code: 0\r\n\r\n0\r\nX-Injected: 1\r\n\r\n{\"type\":\"end\",\"next\":0,\"reason\":\"complete\"}\n"
	f := newFixture(t, nil)
	spec := httpapi.Spec{Argv: []string{"sh", "-c", `printf %s "$0"; exit 7`, forged}}
	alice := f.client("alice", operator)
	j, err := alice.Start(t.Context(), spec, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, proto := range protocols {
		c := f.plain(proto, f.identity("alice", 0, operator))
		resp, body := f.call(c, call{"GET", follow + "&format=raw", "", ""}, j.ID)
		if body != forged || resp.Trailer.Get("Job-Exit-Code") != "7" || resp.Trailer.Get("Job-State") != "ended" || len(resp.Trailer) != 2 {
			t.Errorf("%s: %q, trailers %v", proto, body, resp.Trailer)
		}
		if resp.Header.Get("X-Injected")+resp.Trailer.Get("X-Injected") != "" || resp.Header.Get("Content-Type") != "application/octet-stream" || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: headers %v", proto, resp.Header)
		}
		_, lines := f.call(c, call{"GET", follow, "", ""}, j.ID)
		var types []string
		for line := range strings.Lines(lines) {
			var l struct{ Type string }
			if err := json.Unmarshal([]byte(line), &l); err != nil {
				t.Fatalf("%s: %q: %v", proto, line, err)
			}
			if !slices.Contains(types, l.Type) || l.Type == "end" {
				types = append(types, l.Type)
			}
		}
		if got := strings.Join(types, " "); got != "start output exit end" {
			t.Errorf("%s: lines %s:\n%s", proto, got, lines)
		}
	}
}
