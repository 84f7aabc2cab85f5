package httpapi_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"jobworker/httpapi"
)

// dialFrom connects to the server from a loopback address.
func (f *fixture) dialFrom(ip string) net.Conn {
	f.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	c, err := d.DialContext(f.Context(), "tcp", f.addr)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { c.Close() })
	return c
}

// A caller makes HTTP/1.1 requests over one connection.
type caller struct {
	*tls.Conn
	answers *bufio.Reader
}

func (f *fixture) callFrom(ip string, cfg *tls.Config) *caller {
	cfg = cfg.Clone()
	cfg.ServerName = "127.0.0.1"
	c := tls.Client(f.dialFrom(ip), cfg)
	return &caller{c, bufio.NewReader(c)}
}

// get returns the status and the body of the answer, and its headers.
func (c *caller) get(path string) (*http.Response, string, error) {
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path); err != nil {
		return nil, "", err
	}
	resp, err := http.ReadResponse(c.answers, nil)
	if err != nil {
		return nil, "", err
	}
	b, err := io.ReadAll(resp.Body)
	return resp, string(b), err
}

// live asserts that a request over a new connection is answered, and returns after how long.
func (f *fixture) live(ip string, cfg *tls.Config) time.Duration {
	f.Helper()
	begin := time.Now()
	c := f.callFrom(ip, cfg)
	defer c.Close()
	if resp, body, err := c.get("/livez"); err != nil || resp.StatusCode != http.StatusOK {
		f.Errorf("from %s: %q, %v", ip, body, err)
	}
	return time.Since(begin)
}

// median is that of a few times of live.
func (f *fixture) median(ip string, cfg *tls.Config) time.Duration {
	f.Helper()
	var times []time.Duration
	for range 5 {
		times = append(times, f.live(ip, cfg))
	}
	slices.Sort(times)
	return times[len(times)/2]
}

// unharmed asserts that somebody else, and from elsewhere, is served while it lasts, not much later than
// without that.
func (f *fixture) unharmed(during string, quiet time.Duration, cfg *tls.Config) {
	f.Helper()
	if loaded := f.median("127.0.0.99", cfg); loaded > 10*quiet+200*time.Millisecond {
		f.Errorf("%s: another user is answered after %s, without it after %s", during, loaded, quiet)
	}
}

// closed reports whether the server has closed c, and else waits for it.
func closed(c net.Conn, wait time.Duration) bool {
	c.SetReadDeadline(time.Now().Add(wait))
	_, err := c.Read(make([]byte, 1))
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}

// Silent handshakes cost nobody else, not even from the same address: the oldest are closed for
// those that come, the rest after HeaderTimeout, also when they are not quite silent; and the log
// stays short.
func TestSilentHandshakes(t *testing.T) {
	const perAddress, flood = 8, 40
	f := newFixture(t, func(c *httpapi.Config) {
		c.HeaderTimeout = 3 * time.Second
		c.Limits.ConnectionsPerAddress = perAddress
	})
	bob := f.identity("bob", 0, operator)
	quiet := f.median("127.0.0.99", bob)
	var conns []net.Conn
	for range flood {
		conns = append(conns, f.dialFrom("127.0.0.2"))
	}
	f.unharmed("silent handshakes", quiet, bob)
	f.live("127.0.0.2", bob)
	for i, c := range conns[:flood-perAddress] {
		if !closed(c, 10*time.Second) {
			t.Fatalf("connection %d of %d is open", i, flood)
		}
	}
	drip := f.dialFrom("127.0.0.3")
	begin := time.Now()
	hello := append([]byte{22, 3, 1, 1, 0}, make([]byte, 256)...) // of a ClientHello, so far
	for i := 0; !closed(drip, 200*time.Millisecond); i++ {
		if _, err := drip.Write(hello[i : i+1]); err != nil {
			break
		}
		if time.Since(begin) > 20*time.Second {
			t.Fatal("a handshake of one byte every 200 ms goes on and on")
		}
	}
	for i, c := range conns[flood-perAddress:] {
		if !closed(c, 10*time.Second) {
			t.Errorf("the last connections but %d is open", perAddress-i)
		}
	}
	f.logs.await(t, "too many", `"limit":"connections of an address"`, `"remote":"127.0.0.2:`)
	if n := strings.Count(f.logs.String(), "too many"); n > 20 {
		t.Errorf("%d lines about it", n)
	}
	if n := strings.Count(f.logs.String(), "TLS handshake error"); n > 20 {
		t.Errorf("%d lines about failed handshakes", n)
	}
}

// All connections together are bounded. Strangers make room; who is known does not.
func TestConnectionsInAll(t *testing.T) {
	const most = 12
	f := newFixture(t, func(c *httpapi.Config) { c.Limits.Connections = most })
	bob := f.identity("bob", 0, operator)
	quiet := f.median("127.0.0.99", bob)
	var silent []net.Conn
	for i := range 3 * most {
		silent = append(silent, f.dialFrom(fmt.Sprintf("127.0.0.%d", 2+i)))
	}
	f.unharmed("silent connections from many addresses", quiet, bob)
	var known []*caller
	for range most {
		c := f.callFrom("127.0.0.1", bob)
		known = append(known, c)
		if resp, body, err := c.get("/livez"); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("known connection %d: %q, %v", len(known), body, err)
		}
	}
	for i, c := range silent {
		if !closed(c, 10*time.Second) {
			t.Errorf("silent connection %d is open", i)
		}
	}
	if _, body, err := f.callFrom("127.0.0.1", bob).get("/livez"); err == nil {
		t.Errorf("one more than %d: %q", most, body)
	}
	f.logs.await(t, "too many", `"limit":"connections"`)
	for i, c := range known {
		if resp, body, err := c.get("/livez"); err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("known connection %d: %q, %v", i, body, err)
		}
	}
	known[0].Close()
	f.eventually("a connection after one has gone", func() bool {
		_, _, err := f.callFrom("127.0.0.1", bob).get("/livez")
		return err == nil
	})
}

// eventually asks until it is ok, of what nothing tells when it is.
func (f *fixture) eventually(what string, ok func() bool) {
	f.Helper()
	again := time.NewTicker(10 * time.Millisecond)
	defer again.Stop()
	for deadline := time.Now().Add(20 * time.Second); !ok(); <-again.C {
		if time.Now().After(deadline) {
			f.Fatalf("%s: never", what)
		}
	}
}

// tooMany asserts that an answer is that.
func (f *fixture) tooMany(what string, resp *http.Response, body string, err error) {
	f.Helper()
	if err != nil || resp.StatusCode != http.StatusTooManyRequests || !strings.Contains(body, `"too-many"`) || resp.Header.Get("Retry-After") == "" {
		f.Errorf("%s: %v, %q, %v; want too-many", what, resp, body, err)
	}
}

func TestConnectionsPerUser(t *testing.T) {
	const most = 4
	f := newFixture(t, func(c *httpapi.Config) { c.Limits.ConnectionsPerUser = most })
	alice, bob := f.identity("alice", 0, operator), f.identity("bob", 0, operator)
	quiet := f.median("127.0.0.99", bob)
	var conns []*caller
	for i := range most {
		c := f.callFrom(fmt.Sprintf("127.0.0.%d", 2+i), alice)
		if resp, body, err := c.get("/livez"); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("connection %d: %q, %v", i, body, err)
		}
		conns = append(conns, c)
	}
	again := f.identity("alice", 0, viewer) // with another certificate
	over := f.callFrom("127.0.0.77", again)
	resp, body, err := over.get("/livez")
	f.tooMany("one connection more", resp, body, err)
	if _, _, err := over.get("/livez"); err == nil {
		t.Error("the connection goes on")
	}
	resp, body = f.do(f.plain("HTTP/2.0", again), "GET", "/livez", "", "")
	f.tooMany("one over HTTP/2", resp, body, nil)
	f.unharmed("a user's last connection", quiet, bob)
	if resp, _, err := conns[0].get("/livez"); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("the first connection: %v", err)
	}
	conns[0].Close()
	f.eventually("another connection", func() bool {
		resp, _, err := f.callFrom("127.0.0.2", alice).get("/livez")
		return err == nil && resp.StatusCode == http.StatusOK
	})
}

func TestRequestsAtOnce(t *testing.T) {
	const each, all = 4, 7
	f := newFixture(t, func(c *httpapi.Config) { c.Limits.RequestsPerUser, c.Limits.Requests = each, all })
	alice, bob := f.identity("alice", 0, admin), f.identity("bob", 0, operator)
	quiet := f.median("127.0.0.99", bob)
	streams := func(cfg *tls.Config, n int) (end func()) {
		ctx, cancel := context.WithCancel(t.Context())
		c := f.plain("HTTP/2.0", cfg)
		for range n {
			f.open(ctx, c, "/v1/events", "")
		}
		return cancel
	}
	end := streams(alice, each)
	resp, body := f.do(f.plain("HTTP/2.0", alice), "GET", "/v1/whoami", "", "")
	f.tooMany("one request more", resp, body, nil)
	if !strings.Contains(body, "of one user") {
		t.Errorf("says %q", body)
	}
	f.unharmed("a user's last request", quiet, bob)
	streams(f.identity("carol", 0, viewer), all-each)
	resp, body = f.do(f.plain("HTTP/1.1", bob), "GET", "/v1/whoami", "", "")
	f.tooMany("one more in all", resp, body, nil)
	end()
	f.eventually("a request after the streams", func() bool {
		resp, _ := f.do(f.plain("HTTP/1.1", alice), "GET", "/v1/whoami", "", "")
		return resp.StatusCode == http.StatusOK
	})
}

// Inputs that no job reads hold a bounded part of their connection, and its other requests go on.
func TestInputsAtOnce(t *testing.T) {
	const perConnection, perUser = 3, 4
	f := newFixture(t, func(c *httpapi.Config) {
		c.Limits.InputsPerConnection, c.Limits.InputsPerUser = perConnection, perUser
	})
	bob := f.identity("bob", 0, operator)
	quiet := f.median("127.0.0.99", bob)
	c, elsewhere := f.client("alice", operator), f.client("alice", operator)
	spec := shell("exec sleep 1000")
	spec.Stdin = true
	var ids []string
	for range perUser + 1 {
		j, err := c.Start(t.Context(), spec, "")
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, j.ID)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, len(ids))
	piece := make([]byte, 64<<10)
	put := func(c *httpapi.Client, id string) {
		go func() { _, err := c.Stdin(ctx, id, 0, &endless{piece: piece}); ended <- err }()
	}
	for _, id := range ids[:perConnection] {
		put(c, id)
	}
	for _, id := range ids[:perConnection] {
		f.eventually("an input that is stuck", func() bool { // when the pipe and the FIFO are full
			j, err := f.worker.Status(id)
			return err == nil && j.StdinBytes > 64<<10
		})
	}
	_, err := c.Stdin(t.Context(), ids[perConnection], 0, strings.NewReader("x"))
	if p := problem(t, err, httpapi.TypeTooMany); !strings.Contains(p.Detail, "one connection") {
		t.Errorf("one more over the connection: %s", p.Detail)
	}
	put(elsewhere, ids[perConnection])
	f.eventually("the last input that a user may have", func() bool {
		j, err := f.worker.Status(ids[perConnection])
		return err == nil && j.StdinBytes > 0
	})
	_, err = elsewhere.Stdin(t.Context(), ids[perUser], 0, strings.NewReader("x"))
	if p := problem(t, err, httpapi.TypeTooMany); !strings.Contains(p.Detail, "of one user") {
		t.Errorf("one more over another connection: %s", p.Detail)
	}
	f.unharmed("inputs that nobody reads", quiet, bob)
	large := shell("exit 0")
	large.Env = map[string]string{"A": strings.Repeat("x", 100<<10)}
	if _, err := c.Start(t.Context(), large, ""); err != nil {
		t.Errorf("another request over the connection: %v", err)
	}
	select {
	case err := <-ended:
		t.Errorf("an input ended: %v", err)
	default:
	}
	cancel()
	for range perUser {
		<-ended
	}
	f.eventually("an input after the others", func() bool {
		_, err := c.Stdin(t.Context(), ids[perUser], 0, strings.NewReader("x"))
		return err == nil
	})
}
