package httpapi_test

import (
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// Frames of HTTP/2 (RFC 9113, section 6) that the tests write or look at.
const (
	h2Data     = 0x0
	h2Headers  = 0x1
	h2Reset    = 0x3
	h2Settings = 0x4
	h2GoAway   = 0x7

	h2EndStream  = 0x1
	h2EndHeaders = 0x4
)

// h2Frame returns a frame as it is on the wire.
func h2Frame(kind, flags byte, stream uint32, payload []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(payload))<<8|uint32(kind))
	b = binary.BigEndian.AppendUint32(append(b, flags), stream)
	return append(b, payload...)
}

// h2Fields returns "name=value" fields as literals without indexing (RFC 7541, section
// 6.2.2), which have no bounds on what is in them.
func h2Fields(fields ...string) (b []byte) {
	for _, field := range fields {
		name, value, _ := strings.Cut(field[1:], "=")
		b = append(b, 0)
		for _, s := range []string{field[:1] + name, value} {
			if len(s) > 126 {
				panic("httpapi_test: a longer string takes more than one byte of length")
			}
			b = append(append(b, byte(len(s))), s...)
		}
	}
	return b
}

// dialH2 opens a connection for frames that the test writes.
func (f *fixture) dialH2(cfg *tls.Config) *tls.Conn {
	f.Helper()
	cfg = cfg.Clone()
	cfg.NextProtos = []string{"h2"}
	conn := f.dial(cfg)
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		f.Fatal(err)
	}
	if _, err := io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"+string(h2Frame(h2Settings, 0, 0, nil))); err != nil {
		f.Fatal(err)
	}
	return conn
}

// readH2 returns the next frame.
func (f *fixture) readH2(conn *tls.Conn) (kind, flags byte, payload []byte) {
	f.Helper()
	var head [9]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		f.Fatal(err)
	}
	payload = make([]byte, binary.BigEndian.Uint32(head[:4])>>8)
	if _, err := io.ReadFull(conn, payload); err != nil {
		f.Fatal(err)
	}
	return head[3], head[4], payload
}

// h2Answer returns what becomes of the only request on conn: "reset 1", "goaway 1", or
// the status and type that its problem names; "" where the body is no problem.
func (f *fixture) h2Answer(conn *tls.Conn) string {
	f.Helper()
	var body []byte
	for {
		kind, flags, payload := f.readH2(conn)
		switch {
		case kind == h2Reset:
			return fmt.Sprint("reset ", binary.BigEndian.Uint32(payload))
		case kind == h2GoAway:
			return fmt.Sprint("goaway ", binary.BigEndian.Uint32(payload[4:]))
		case kind == h2Data:
			body = append(body, payload...)
		}
		if (kind == h2Data || kind == h2Headers) && flags&h2EndStream != 0 {
			var p struct {
				Status int
				Type   string
			}
			if json.Unmarshal(body, &p) != nil || p.Status == 0 {
				return string(body)
			}
			return fmt.Sprint(p.Status, " ", p.Type)
		}
	}
}

// An h2Request is one stream of HTTP/2, and what becomes of it.
type h2Request struct {
	name   string
	fields []string
	data   string // "-" for none: the fields end the stream
	want   string // the beginning of the answer
}

func h2Requests() []h2Request {
	const malformed = "reset 1"
	get := []string{":method=GET", ":scheme=https", ":authority=worker"}
	post := []string{":method=POST", ":scheme=https", ":authority=worker", ":path=/v1/jobs", "content-type=application/json"}
	with := func(base []string, more ...string) []string { return append(append([]string{}, base...), more...) }
	return []h2Request{
		{"nothing odd", with(get, ":path=/livez"), "-", `{"status":"ok"}`},
		{"two slashes", with(get, ":path=//v1/whoami"), "-", "404 not-found"},
		{"dots", with(get, ":path=/v1/jobs/../whoami"), "-", "404 not-found"},
		{"escaped slash", with(get, ":path=/v1%2fwhoami"), "-", "404 not-found"},
		{"no slash", with(get, ":path=v1/whoami"), "-", malformed},
		{"absolute form, another's host", with(get, ":path=https://elsewhere/livez"), "-", `{"status":"ok"}`}, // as in HTTP/1.1
		{"absolute form, another's file", with(get, ":path=file:///etc/passwd"), "-", "404 not-found"},
		{"asterisk", []string{":method=OPTIONS", ":scheme=https", ":authority=worker", ":path=*"}, "-", "404 not-found"},
		{"no path", get, "-", malformed},
		{"empty path", with(get, ":path="), "-", malformed},
		{"two paths", with(get, ":path=/livez", ":path=/v1/whoami"), "-", malformed},
		{"no method", []string{":scheme=https", ":path=/livez"}, "-", malformed},
		{"method that is no token", []string{":method=G T", ":scheme=https", ":path=/livez"}, "-", "405 method-not-allowed"},
		{"method in lower case", []string{":method=get", ":scheme=https", ":authority=worker", ":path=/livez"}, "-", "405 method-not-allowed"},
		{"CONNECT", []string{":method=CONNECT", ":authority=127.0.0.1:22"}, "-", "404 not-found"},
		{"CONNECT with a path", []string{":method=CONNECT", ":scheme=https", ":authority=worker", ":path=/"}, "-", malformed},
		{"extended CONNECT", []string{":method=CONNECT", ":protocol=websocket", ":scheme=https", ":authority=worker", ":path=/livez"}, "-", malformed},
		{"other scheme", []string{":method=GET", ":scheme=file", ":authority=worker", ":path=/etc/passwd"}, "-", malformed},
		{"pseudo-header of an answer", with(get, ":path=/livez", ":status=200"), "-", malformed},
		{"pseudo-header that does not exist", with(get, ":path=/livez", ":user=root"), "-", malformed},
		{"pseudo-header last", with(get, "accept=x", ":path=/livez"), "-", malformed},
		{"name in upper case", with(get, ":path=/livez", "Accept=x"), "-", malformed},
		{"name with a space", with(get, ":path=/livez", "a b=x"), "-", malformed},
		{"line break in a value", with(get, ":path=/livez", "accept=a\r\nx-injected: 1"), "-", malformed},
		{"NUL in a value", with(get, ":path=/livez", "accept=a\x00"), "-", malformed},
		{"connection header", with(get, ":path=/livez", "connection=close"), "-", `request header "Connection" is not valid in HTTP/2`},
		{"transfer encoding", with(post, "transfer-encoding=chunked"), "0\r\n\r\n", `request header "Transfer-Encoding" is not valid in HTTP/2`},
		{"length and nothing", with(post, "content-length=17"), "", "400 bad-request"},
		{"length too long", with(post, "content-length=100"), `{"argv":["true"]}`, "400 bad-request"},
		{"length too short", with(post, "content-length=2"), `{"argv":["true"]}`, malformed},
		{"length negative", with(post, "content-length=-1"), `{}`, malformed},
		{"length of a terabyte", with(post, "content-length=1099511627776"), `{}`, "413 too-large"},
		{"two keys", with(post, "idempotency-key=a", "idempotency-key=b"), `{}`, "400 bad-request"},
		{"two media types", with(post, "content-type=text/plain"), `{}`, "415 unsupported-media-type"},
		{"body where none belongs", with(get, ":path=/v1/whoami"), `{}`, "400 bad-request"},
	}
}

// TestRawH2Requests: over HTTP/2 too, what is odd is refused as what it is: most of it by
// net/http, with PROTOCOL_ERROR (1).
func TestRawH2Requests(t *testing.T) {
	f := newFixture(t, nil)
	cfg := f.identity("bob", 0, operator)
	cases, passed := h2Requests(), 0
	for _, c := range cases {
		if !t.Run(c.name, func(t *testing.T) {
			conn := f.dialH2(cfg)
			flags, frames := byte(h2EndHeaders|h2EndStream), []byte(nil)
			if c.data != "-" {
				flags, frames = h2EndHeaders, h2Frame(h2Data, h2EndStream, 1, []byte(c.data))
			}
			if _, err := conn.Write(append(h2Frame(h2Headers, flags, 1, h2Fields(c.fields...)), frames...)); err != nil {
				t.Fatal(err)
			}
			if got := f.h2Answer(conn); !strings.HasPrefix(got, c.want) {
				t.Errorf("%.300q, want %q", got, c.want)
			}
		}) {
			passed++
		}
	}
	t.Logf("abuse: %d cases, %d passed through", len(cases), passed)
	if used := f.worker.Used("bob"); used.KeptJobs != 0 {
		t.Errorf("%d jobs were started", used.KeptJobs)
	}
}
