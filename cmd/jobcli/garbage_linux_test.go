package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"jobworker/stream"
)

// A badWorker answers as a worker does, but for its events and its state.
type badWorker struct{ state, events, media string }

func (b badWorker) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := map[string]string{
		"/v1/worker": `{"state":"` + b.state + `","jobs":0,"calculating":0,"event":7,"started_at":"2026-11-25T00:00:00Z"}`,
		"/v1/ping":   `{"time":42}`,
	}[r.URL.Path]
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path == "/v1/events" {
		w.Header().Set("Content-Type", b.media)
		answer = b.events
	}
	fmt.Fprint(w, answer)
}

// serveTLS serves h with the certificates in pki and returns its address.
func serveTLS(t *testing.T, pki string, h http.Handler) string {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(filepath.Join(pki, "server.pem"), filepath.Join(pki, "server-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h, TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}}
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(l, "", "") }() // ends with the test
	t.Cleanup(func() {
		server.Close()
		<-served
	})
	return l.Addr().String()
}

// TestConsoleGarbage: a worker that sends rubbish does not harm the console or its
// terminal, and the next command works.
func TestConsoleGarbage(t *testing.T) {
	pki := filepath.Join(t.TempDir(), "pki")
	makeCertificates(t, pki)
	const lines = "application/jsonl"
	for _, test := range []struct {
		name string
		bad  badWorker
		want string // of the message; empty: none
	}{
		{"binary", badWorker{"ready", "\x00\xff\xfe\x1b[2J\n", lines}, "events: invalid character"},
		{"too long a line", badWorker{"ready", `{"type":"` + strings.Repeat("x", stream.MaxLine) + "\"}\n", lines}, "a line is longer than"},
		{"cut off", badWorker{"ready", `{"type":"job.en`, lines}, "cut off"},
		{"no events", badWorker{"ready", "hello", "text/plain"}, "not a worker's answer"},
		{"of another type", badWorker{"ready", `{"seq":"8","type":7}` + "\n", lines}, "events: json: cannot unmarshal"},
		{"without what it tells of", badWorker{`\u001b[31mready\n`, `{"seq":8,"type":"job.ended","job":"\u001b[2J"}` + "\n" + `{"seq":9,"type":"nonsense"}` + "\n", lines}, "cut off"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newTerminal()
			c.vars["JOBCLI_ADDR"] = "https://" + serveTLS(t, pki, test.bad)
			c.vars["JOBCLI_CERT_DIR"] = filepath.Join(pki, "alice")
			p := startConsole(t, c)
			c.err.await(t, ", trying again: ")
			p.say(t, "ping", "frobnicate", "ping")
			c.out.await(t, "[3] worker: pong 42\n")
			p.quit(t)
			if !strings.Contains(c.err.String(), test.want) || !printableLines(c.err.String()+c.out.String()) {
				t.Errorf("does not say %q, or more:\n%q\n%q", test.want, c.err, c.out)
			}
		})
	}
}

// TestTerminalFull: a worker that answers nothing does not keep anybody from typing.
func TestTerminalFull(t *testing.T) {
	pki := filepath.Join(t.TempDir(), "pki")
	makeCertificates(t, pki)
	release := make(chan struct{})
	good := badWorker{"ready", `{"type":"ping","next":8}` + "\n", "application/jsonl"}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/ping" {
			<-release
		}
		good.ServeHTTP(w, r)
	})
	p := newPTY(t, 100)
	c := newTerminal()
	c.tty = p.slave
	c.vars["JOBCLI_ADDR"] = "https://" + serveTLS(t, pki, h)
	c.vars["JOBCLI_CERT_DIR"] = filepath.Join(pki, "alice")
	wait := c.start(t, "console")
	p.typed(t, strings.Repeat("ping\r", maxPending+2)+"help ping\r")
	p.await(t, "[257] worker: error: 256 commands have no reply yet: wait for some")
	p.await(t, "[258] worker: error: 256 commands have no reply yet: wait for some")
	p.await(t, "[259] ask for its clock")
	close(release)
	p.await(t, "[256] worker: pong 42")
	p.typed(t, "ping\rquit\r") // quit waits for the replies
	if code := wait(); code != 0 {
		t.Errorf("status %d\n%s", code, c.err)
	}
	p.await(t, "[260] worker: pong 42")
}
