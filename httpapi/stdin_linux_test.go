package httpapi_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"jobworker/authz"
	"jobworker/httpapi"
	"jobworker/job"
	"jobworker/stream"
)

// reading is the spec of a shell command with a standard input.
func reading(script string) httpapi.Spec {
	s := shell(script)
	s.Stdin = true
	return s
}

func (f *fixture) startReading(c *httpapi.Client, script string) httpapi.Job {
	f.Helper()
	j, err := c.Start(f.Context(), reading(script), "")
	if err != nil {
		f.Fatal(err)
	}
	return j
}

// put sends body to a job's input and returns the answer. It fails the test when
// there is none.
func (f *fixture) put(c *http.Client, id, query string, body io.Reader) (*http.Response, string) {
	f.Helper()
	resp, b, err := f.tryPut(f.Context(), c, id, query, body)
	if err != nil {
		f.Fatal(err)
	}
	return resp, b
}

func (f *fixture) tryPut(ctx context.Context, c *http.Client, id, query string, body io.Reader) (*http.Response, string, error) {
	if closer, ok := body.(io.Closer); ok { // what HTTP/1.1 waits for, and leaves behind otherwise
		defer closer.Close()
		defer context.AfterFunc(ctx, func() { closer.Close() })()
	}
	req, err := http.NewRequestWithContext(ctx, "PUT", f.url()+"/v1/jobs/"+id+"/stdin"+query, body)
	if err != nil {
		return nil, "", err
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp, string(b), err
}

// putProblem sends body to a job's input and returns the problem that is the answer.
// It may be called from any goroutine.
func (f *fixture) putProblem(c *http.Client, id string, body io.Reader) *httpapi.Problem {
	p := new(httpapi.Problem)
	_, answer, err := f.tryPut(f.Context(), c, id, "", body)
	if err == nil {
		err = json.Unmarshal([]byte(answer), p)
	}
	if err != nil {
		p.Type = err.Error()
	}
	return p
}

// refused asserts that an answer is a problem of a type with a count; -1 is none.
func refused(t testing.TB, resp *http.Response, body, kind string, accepted int64) {
	t.Helper()
	p, got := parseProblem(t, resp, body), int64(-1)
	if p.Accepted != nil {
		got = *p.Accepted
	}
	if p.Type != kind || got != accepted {
		t.Errorf("answer %s, want %s after %d bytes", body, kind, accepted)
	}
}

// noise is n bytes that are the same every time.
func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{3}).Read(b)
	return b
}

// rawOutput returns all that a job has written, when it is over.
func (f *fixture) rawOutput(c *httpapi.Client, id string) string {
	f.Helper()
	f.ended(c, id)
	s, err := c.Output(f.Context(), id, httpapi.OutputOptions{})
	if err != nil {
		f.Fatal(err)
	}
	defer s.Close()
	return receive(f, s).out[stream.Stdout]
}

// Every byte arrives, of a body with or without a length, and then the end.
func TestStdin(t *testing.T) {
	f := newFixture(t, nil)
	alice := f.client("alice", operator)
	for _, proto := range protocols {
		c := f.plain(proto, f.identity("alice", 0, operator))
		for _, size := range []int{0, 1, 3 << 20} {
			for name, body := range map[string]io.Reader{"length": bytes.NewReader(noise(size)), "chunked": io.MultiReader(bytes.NewReader(noise(size)))} {
				j := f.startReading(alice, "sha256sum; cat; echo over")
				resp, answer := f.put(c, j.ID, "", body)
				if want := fmt.Sprintf(`{"accepted":%d,"closed":true}`+"\n", size); resp.StatusCode != 200 || answer != want {
					t.Errorf("%s, %s: %s: %s, want %s", proto, name, resp.Status, answer, want)
				}
				want := fmt.Sprintf("%x  -\nover\n", sha256.Sum256(noise(size)))
				if out := f.rawOutput(alice, j.ID); out != want {
					t.Errorf("%s, %s: the job says %q, want %q", proto, name, out, want)
				}
				if j, err := alice.Status(t.Context(), j.ID); err != nil || j.StdinBytes != int64(size) {
					t.Errorf("%s, %s: stdin_bytes %d, %v, want %d", proto, name, j.StdinBytes, err, size)
				}
			}
		}
	}
}

// An input may come in several requests, each at the offset where the last one was.
func TestStdinInParts(t *testing.T) {
	f := newFixture(t, nil)
	alice := f.client("alice", operator)
	for _, proto := range protocols {
		c := f.plain(proto, f.identity("alice", 0, operator))
		j := f.startReading(alice, "cat")
		if _, answer := f.put(c, j.ID, "?close=false", strings.NewReader("one ")); answer != `{"accepted":4,"closed":false}`+"\n" {
			t.Errorf("%s: %s", proto, answer)
		}
		for _, query := range []string{"", "?offset=3", "?offset=5&close=false"} {
			resp, answer := f.put(c, j.ID, query, strings.NewReader("wrong"))
			refused(t, resp, answer, httpapi.TypeStdinOffset, 4)
		}
		a, err := alice.Stdin(t.Context(), j.ID, 4, strings.NewReader("two"))
		if err != nil || a != (httpapi.StdinAnswer{Accepted: 7, Closed: true}) {
			t.Errorf("%s: %+v, %v", proto, a, err)
		}
		if out := f.rawOutput(alice, j.ID); out != "one two" {
			t.Errorf("%s: the job got %q", proto, out)
		}
		resp, answer := f.put(c, j.ID, "?offset=7", strings.NewReader("more"))
		refused(t, resp, answer, httpapi.TypeJobEnded, 7)
	}
}

// An endless body whose Read blocks when the first bytes are gone, until Close.
type held struct {
	first  io.Reader
	closed chan struct{}
	once   sync.Once
}

func hold(first string) *held {
	return &held{first: strings.NewReader(first), closed: make(chan struct{})}
}

func (h *held) Read(p []byte) (int, error) {
	if n, err := h.first.Read(p); err == nil {
		return n, nil
	}
	<-h.closed
	return 0, io.ErrClosedPipe
}

func (h *held) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

// awaitStdin returns when a job has been given n bytes.
func (f *fixture) awaitStdin(c *httpapi.Client, id string, n int64) {
	f.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		j, err := c.Status(f.Context(), id)
		if err != nil {
			f.Fatal(err)
		}
		if j.StdinBytes >= n {
			return
		}
	}
	f.Fatalf("the job has not been given %d bytes", n)
}

// What cannot be is refused at once, although the body goes on.
func TestStdinRefused(t *testing.T) {
	f := newFixture(t, nil)
	alice := f.client("alice", operator)
	open, deaf := f.startReading(alice, "exec sleep 1000").ID, f.start(alice, "exec sleep 1000").ID
	closed := f.startReading(alice, "exec < /dev/null; exec sleep 1000").ID
	over := f.startReading(alice, "exit 0").ID
	f.ended(alice, over)
	for _, proto := range protocols {
		c := f.plain(proto, f.identity("alice", 0, operator))
		bob, eve := f.plain(proto, f.identity("bob", 0, operator)), f.plain(proto, f.identity("eve", 0, viewer))
		for _, test := range []struct {
			client    *http.Client
			id, query string
			kind      string
			accepted  int64
		}{
			{c, open, "?offset=7", httpapi.TypeStdinOffset, 0},
			{c, open, "?offset=-1", httpapi.TypeBadRequest, -1},
			{c, open, "?close=no", httpapi.TypeBadRequest, -1},
			{c, deaf, "", httpapi.TypeNoStdin, -1},
			{c, closed, "", httpapi.TypeStdinClosed, 0},
			{c, over, "", httpapi.TypeJobEnded, 0},
			{c, "aaaaaaaaaaaaaaaaaaaaaaaaaa", "", httpapi.TypeNotFound, -1},
			{bob, open, "", httpapi.TypeNotFound, -1},
			{eve, open, "", httpapi.TypeForbidden, -1},
		} {
			resp, answer := f.put(test.client, test.id, test.query, hold(""))
			refused(t, resp, answer, test.kind, test.accepted)
		}
		for _, header := range []string{"Content-Type: application/json", "Content-Type: application/x-www-form-urlencoded", "Content-Encoding: gzip"} {
			resp, answer := f.call(c, call{"PUT", "/v1/jobs/JOB/stdin", header, "x"}, open)
			refused(t, resp, answer, httpapi.TypeMediaType, -1)
		}
		for _, method := range []string{"GET", "POST", "DELETE"} {
			resp, answer := f.call(c, call{method, "/v1/jobs/JOB/stdin", "", ""}, open)
			if refused(t, resp, answer, httpapi.TypeMethodNotAllowed, -1); resp.Header.Get("Allow") != "PUT" {
				t.Errorf("%s: Allow: %q", method, resp.Header.Get("Allow"))
			}
		}
		if resp, _ := f.call(c, call{"HEAD", "/v1/jobs/JOB/stdin", "", ""}, open); resp.StatusCode != 405 {
			t.Errorf("HEAD: %s", resp.Status)
		}
	}
	if j, err := alice.Status(t.Context(), open); err != nil || j.StdinBytes != 0 {
		t.Errorf("the job was given %d bytes, %v", j.StdinBytes, err)
	}
	for _, decision := range []string{"alice", "bob", "eve"} {
		f.logs.await(t, `"audit"`, "job.stdin", decision, open)
	}
}

// One request at a time.
func TestStdinBusy(t *testing.T) {
	f := newFixture(t, nil)
	alice := f.client("alice", operator)
	for _, proto := range protocols {
		c := f.plain(proto, f.identity("alice", 0, operator))
		j := f.startReading(alice, "cat")
		r, w := io.Pipe()
		first := make(chan error, 1)
		go func() {
			_, err := alice.Stdin(t.Context(), j.ID, 0, r)
			first <- err
		}()
		io.WriteString(w, "one") // received, or the test fails below
		f.awaitStdin(alice, j.ID, 3)
		resp, answer := f.put(c, j.ID, "?offset=3", hold("two"))
		refused(t, resp, answer, httpapi.TypeStdinBusy, 3)
		w.Close()
		if err := <-first; err != nil {
			t.Error(proto, err)
		}
		if out := f.rawOutput(alice, j.ID); out != "one" {
			t.Errorf("%s: the job got %q", proto, out)
		}
	}
}

// A client that vanishes in the middle leaves the input open; another request goes
// on where it was, and the job notices nothing.
func TestStdinCut(t *testing.T) {
	f := newFixture(t, nil)
	alice := f.client("alice", operator)
	all := noise(5 << 20)
	for _, proto := range protocols {
		j := f.startReading(alice, "sha256sum")
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			f.awaitStdin(alice, j.ID, 1<<20)
			cancel()
		}()
		body := &held{first: bytes.NewReader(all[:2<<20]), closed: make(chan struct{})}
		_, answer, err := f.tryPut(ctx, f.plain(proto, f.identity("alice", 0, operator)), j.ID, "", body)
		if err == nil {
			t.Fatalf("%s: a request that was cut is answered: %s", proto, answer)
		}
		f.logs.await(t, "input cut", j.ID)
		now, err := alice.Status(t.Context(), j.ID)
		if err != nil || now.State != httpapi.Running || now.StdinBytes < 1<<20 {
			t.Fatalf("%s: %s, %d bytes, %v, want it running", proto, now.State, now.StdinBytes, err)
		}
		// What the first handler has not given back yet is busy.
		for err = errors.New("not tried"); err != nil; {
			_, err = alice.Stdin(t.Context(), j.ID, now.StdinBytes, bytes.NewReader(all[now.StdinBytes:]))
			if err != nil {
				problem(t, err, httpapi.TypeStdinBusy)
			}
		}
		if out, want := f.rawOutput(alice, j.ID), fmt.Sprintf("%x  -\n", sha256.Sum256(all)); out != want {
			t.Errorf("%s: the job says %q, want %q", proto, out, want)
		}
	}
}

// Bodies that break off without their end do not end the input: a request with a
// length and one of chunks, written by hand.
func TestStdinTruncated(t *testing.T) {
	f := newFixture(t, nil)
	alice := f.client("alice", operator)
	for _, header := range []string{"Content-Length: 10\r\n\r\n12345", "Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n", "Transfer-Encoding: chunked\r\n\r\na\r\n12345"} {
		j := f.startReading(alice, "cat")
		conn := f.dial(f.identity("alice", 0, operator))
		if _, err := io.WriteString(conn, "PUT /v1/jobs/"+j.ID+"/stdin HTTP/1.1\r\nHost: worker\r\n"+header); err != nil {
			t.Fatal(err)
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		f.logs.await(t, "input cut", j.ID)
		// How much of it was accepted before the end was noticed, the next
		// writer is told: one that begins where nobody can have been.
		c := f.plain("HTTP/2.0", f.identity("alice", 0, operator))
		resp, answer := f.put(c, j.ID, "?offset=6", strings.NewReader(""))
		for parseProblem(t, resp, answer).Type == httpapi.TypeStdinBusy {
			resp, answer = f.put(c, j.ID, "?offset=6", strings.NewReader(""))
		}
		p := parseProblem(t, resp, answer)
		if p.Type != httpapi.TypeStdinOffset || p.Accepted == nil || *p.Accepted > 5 {
			t.Fatalf("%q: %s", header, answer)
		}
		if _, err := alice.Stdin(t.Context(), j.ID, *p.Accepted, strings.NewReader("123456"[*p.Accepted:])); err != nil {
			t.Fatal(err)
		}
		if out := f.rawOutput(alice, j.ID); out != "123456" {
			t.Errorf("%q: the job got %q", header, out)
		}
	}
}

// A job that has enough, or is over, answers its writer, who has more and may say
// nothing at all.
func TestStdinNotWanted(t *testing.T) {
	f := newFixture(t, nil)
	alice := f.client("alice", operator)
	for _, proto := range protocols {
		c := f.plain(proto, f.identity("alice", 0, operator))
		for script, body := range map[string]io.Reader{
			"head -c 10 > /dev/null":                                    zeros{},
			"head -c 10 > /dev/null; exec < /dev/null; exec sleep 1000": zeros{},
			"read line; exit 3":                                         hold("line\n"),
		} {
			j := f.startReading(alice, script)
			resp, answer := f.put(c, j.ID, "", body)
			p := parseProblem(t, resp, answer)
			if p.Type != httpapi.TypeStdinClosed && p.Type != httpapi.TypeJobEnded || p.Accepted == nil || *p.Accepted < 5 {
				t.Errorf("%s, %s: %s", proto, script, answer)
			}
		}
	}
}

// zeros is a body without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// Neither a client that pauses nor a job that does falls under the deadlines that
// other bodies and answers have.
func TestStdinSlow(t *testing.T) {
	const timeout = 100 * time.Millisecond
	f := newFixture(t, func(c *httpapi.Config) { c.BodyTimeout, c.WriteTimeout = timeout, timeout })
	for _, proto := range protocols {
		j, _, err := f.worker.Start(t.Context(), job.StartOptions{Owner: "alice", Spec: reading("sleep 0.4; sha256sum")})
		if err != nil {
			t.Fatal(err)
		}
		body := io.MultiReader(bytes.NewReader(noise(4<<20)), pause(3*timeout), strings.NewReader("more"))
		if resp, answer := f.put(f.plain(proto, f.identity("alice", 0, operator)), j.ID, "", body); resp.StatusCode != 200 {
			t.Errorf("%s: %s", proto, answer)
		}
		want := fmt.Sprintf("%x  -\n", sha256.Sum256(append(noise(4<<20), "more"...)))
		if out := f.rawOutput(f.client("alice", operator), j.ID); out != want {
			t.Errorf("%s: the job says %q, want %q", proto, out, want)
		}
	}
}

// A pause is an empty part of a body that takes some time.
type pause time.Duration

func (p pause) Read([]byte) (int, error) {
	time.Sleep(time.Duration(p)) // what is tested is that nothing happens meanwhile
	return 0, io.EOF
}

// A job that never reads holds its writers at a bounded amount, and
// nobody else on their connection. The end of the job ends them.
func TestStdinHeld(t *testing.T) {
	f := newFixture(t, nil)
	alice := f.client("alice", operator)
	for _, proto := range protocols {
		c := f.plain(proto, f.identity("alice", 0, operator))
		ids, ends := make([]string, 8), make(chan *httpapi.Problem, 8)
		for i := range ids {
			ids[i] = f.startReading(alice, "exec sleep 1000").ID
			go func() { ends <- f.putProblem(c, ids[i], zeros{}) }()
		}
		for _, id := range ids {
			f.awaitStdin(alice, id, 64<<10)
		}
		for _, id := range ids {
			// This body comes through, on the same connection in HTTP/2.
			if resp, answer := f.call(c, call{"POST", "/v1/jobs/JOB/stop", asJSON, `{"grace":"1s"}`}, id); resp.StatusCode != 200 {
				t.Errorf("%s: stop: %s", proto, answer)
			}
			if j, err := alice.Status(t.Context(), id); err != nil || j.StdinBytes > 3<<20 {
				t.Errorf("%s: %d bytes, %v, want a few", proto, j.StdinBytes, err)
			}
			if p := <-ends; p.Type != httpapi.TypeStdinClosed && p.Type != httpapi.TypeJobEnded {
				t.Errorf("%s: %+v", proto, p)
			}
		}
	}
}

// Rights that are taken away end an input at its next byte.
func TestStdinEndsWithRights(t *testing.T) {
	f := newFixture(t, nil)
	alice := f.client("alice", operator)
	j := f.startReading(alice, "cat")
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := alice.Stdin(t.Context(), j.ID, 0, r)
		done <- err
	}()
	io.WriteString(w, "one")
	f.awaitStdin(alice, j.ID, 3)
	p, err := authz.ParsePolicy(strings.NewReader(`{"roles":{"admin":{"users":["root"]}}}`))
	if err != nil {
		t.Fatal(err)
	}
	f.server.SetPolicy(p)
	io.WriteString(w, "two")
	if p := problem(t, <-done, httpapi.TypeForbidden); p.Accepted == nil || *p.Accepted != 3 {
		t.Errorf("%+v", p)
	}
	f.logs.await(t, `"audit"`, `"deny"`, "job.stdin")
}

// Shutdown ends who writes, whether the job or the client keeps it waiting, with the
// count; the input stays open.
func TestStdinShutdown(t *testing.T) {
	f := newFixture(t, nil)
	alice := f.client("alice", operator)
	quiet, deaf := f.startReading(alice, "cat").ID, f.startReading(alice, "exec sleep 1000").ID
	done := make(chan error, 3)
	for id, body := range map[string]io.Reader{quiet: hold("one"), deaf: zeros{}} {
		go func() {
			_, err := alice.Stdin(t.Context(), id, 0, body)
			done <- err
		}()
		f.awaitStdin(alice, id, 3)
	}
	second := f.startReading(alice, "cat").ID
	c := f.plain("HTTP/1.1", f.identity("alice", 0, operator))
	go func() { done <- f.putProblem(c, second, hold("one")) }()
	f.awaitStdin(alice, second, 3)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := f.server.Shutdown(ctx); err != nil {
		t.Errorf("shut down: %v", err)
	}
	for range 3 {
		if p := problem(t, <-done, httpapi.TypeShuttingDown); p.Accepted == nil || *p.Accepted < 3 {
			t.Errorf("%+v", p)
		}
	}
	for _, id := range []string{quiet, second} {
		in, err := f.worker.Stdin(t.Context(), id, 3)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.WriteString(in, " two")
		if err := errors.Join(err, in.End(), in.Close()); err != nil {
			t.Fatal(err)
		}
		j, err := f.worker.Wait(t.Context(), id)
		if err != nil || j.OutputBytes != int64(len("one two")) {
			t.Errorf("the job wrote %d bytes, %v", j.OutputBytes, err)
		}
	}
}
