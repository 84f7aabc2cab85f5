//go:build linux

package main

import (
	"bytes"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"

	"jobworker/authz"
	"jobworker/httpapi"
	"jobworker/internal/kerneltest"
)

var update = flag.Bool("update", false, "write testdata/audit.jsonl instead of comparing with it")

// auditPolicy gives bob and carol the role operator and eve that of viewer; mallory has
// a certificate only.
const auditPolicy = `{"roles":{"admin":{"users":["alice"]},"operator":{"users":["bob","carol"]},"viewer":{"users":["eve"]}},
	"quotas":{"users":{"carol":{"jobs":1}}}}`

// TestAuditLog replays the life of some jobs, and compares the whole log: what was allowed
// and denied, and to whom; how each job began and ended, and by whom; and that nothing a
// client sends makes a line of its own.
func TestAuditLog(t *testing.T) {
	kerneltest.Root(t)
	p := newProcess(t)
	p.write("policy.json", auditPolicy)
	p.args = append(p.args, "-policy", p.path("policy.json"), "-audit-log", p.path("audit.jsonl"))
	url := p.start()
	users := map[string]*httpapi.Client{"alice": p.client(url, "alice")}
	for _, name := range []string{"bob", "carol", "eve", "mallory"} {
		if _, err := authz.AddClient(p.path("pki"), name, nil, 0); err != nil {
			t.Fatal(err)
		}
		users[name] = p.client(url, name)
	}
	p.scenario(url, users)
	if _, err := users["alice"].TerminateWorker(t.Context()); err != nil {
		t.Fatal(err)
	}
	if code := <-p.code; code != 0 {
		t.Errorf("exit status %d:\n%s", code, p.log)
	}
	if strings.Contains(p.log.String(), `"audit"`) {
		t.Errorf("lines of the audit log elsewhere:\n%s", p.log)
	}
	text := p.auditText("audit.jsonl")
	for _, r := range strings.ReplaceAll(text, "\n", "") {
		if !unicode.IsPrint(r) {
			t.Fatalf("%U in the log", r)
		}
	}
	p.compare(filepath.Join("testdata", "audit.jsonl"), normalized(text))
}

// scenario does everything in turn, so that the log has one order.
func (p *process) scenario(url string, users map[string]*httpapi.Client) {
	p.Helper()
	ctx := p.Context()
	want := func(err error, kind string) {
		p.Helper()
		if got, _ := err.(*httpapi.Problem); (kind != "" || err != nil) && (got == nil || got.Type != kind) {
			p.Fatalf("%v, want %q", err, kind)
		}
	}
	start := func(user string, spec httpapi.Spec, kind string) httpapi.Job {
		p.Helper()
		j, err := users[user].Start(ctx, spec, "")
		want(err, kind)
		return j
	}
	end := func(user, id string) {
		p.Helper()
		_, err := users[user].Wait(ctx, id, time.Minute)
		want(err, "")
	}
	sleep := httpapi.Spec{Argv: []string{"sleep", "1000"}}

	// A job that others see, want to touch and may not, and one who may.
	id := start("bob", sleep, "").ID
	_, err := users["eve"].Status(ctx, id)
	want(err, "")
	want(users["eve"].Signal(ctx, id, "KILL"), httpapi.TypeForbidden)
	_, err = users["carol"].Stop(ctx, id, httpapi.StopRequest{})
	want(err, httpapi.TypeNotFound)
	_, err = users["mallory"].Status(ctx, id)
	want(err, httpapi.TypeNotFound)
	want(users["bob"].Signal(ctx, id, "CONT"), "")
	_, err = users["alice"].Stop(ctx, id, httpapi.StopRequest{Grace: new(httpapi.Duration(0)), Signal: "KILL"})
	want(err, "")
	want(users["bob"].Remove(ctx, id), "")

	// Other ends: by itself, by its time, by a signal; and no beginning.
	end("bob", start("bob", httpapi.Spec{Argv: []string{"sh", "-c", "exit 3"}}, "").ID)
	end("bob", start("bob", httpapi.Spec{Argv: []string{"sleep", "1000"}, Timeout: httpapi.Duration(time.Millisecond)}, "").ID)
	id = start("bob", sleep, "").ID
	want(users["bob"].Signal(ctx, id, "KILL"), "")
	end("bob", id)
	start("bob", httpapi.Spec{Argv: []string{"/nothing/here"}}, httpapi.TypeStartFailed)
	start("eve", sleep, httpapi.TypeForbidden)
	start("mallory", sleep, httpapi.TypeForbidden)

	// Beyond a quota; and the job that the end of the worker stops.
	start("carol", httpapi.Spec{Argv: []string{"sleep", "1000"}, Name: "last"}, "")
	start("carol", sleep, httpapi.TypeQuota)

	// What is meant to look like a line of the log, or to rule the terminal that shows it.
	for _, id := range []string{
		"%0a%7b%22msg%22:%22audit%22,%22user%22:%22root%22,%22decision%22:%22allow%22%7d%0a",
		"%1b%5b2J%1b%5d0;owned%07%c2%9b31m%7f", "%e2%80%a8%e2%80%a9%e2%80%aemoor%e2%81%a6", "%ff%00", strings.Repeat("x", 300),
	} {
		p.get(url, "bob", "/v1/jobs/"+id)
	}
}

// get sends a GET for path as it is.
func (p *process) get(url, user, path string) {
	p.Helper()
	cfg, err := authz.ClientTLS(authz.ClientFiles{CA: p.path("pki", user, "ca.pem"), Cert: p.path("pki", user, "cert.pem"), Key: p.path("pki", user, "key.pem")})
	if err != nil {
		p.Fatal(err)
	}
	tr := &http.Transport{TLSClientConfig: cfg}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get(url + path)
	if err != nil {
		p.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		p.Errorf("%s: %s", path, resp.Status)
	}
}

func (p *process) auditText(name string) string {
	p.Helper()
	b, err := os.ReadFile(p.path(name))
	if err != nil {
		p.Fatal(err)
	}
	return string(b)
}

// normalized replaces what differs from run to run, and puts decisions before events: each
// of the two is in order, but they are written by different goroutines.
func normalized(text string) string {
	for _, r := range [][2]string{
		{`"time":"[^"]*"`, `"time":"TIME"`},
		{`"fingerprint":"[0-9a-f]{64}"`, `"fingerprint":"SHA256"`},
		{`"request_id":"[A-Z2-7]{26}"`, `"request_id":"REQUEST"`},
		{`"remote":"127\.0\.0\.1:\d+"`, `"remote":"ADDRESS"`},
		{`"seq":\d{16}`, `"seq":NUMBER`},
	} {
		text = regexp.MustCompile(r[0]).ReplaceAllString(text, r[1])
	}
	for n := 1; ; n++ {
		id := regexp.MustCompile(`"job":"([a-z2-7]{26})"`).FindStringSubmatch(text)
		if id == nil {
			break
		}
		text = strings.ReplaceAll(text, id[1], fmt.Sprintf("JOB%d", n))
	}
	var decisions, events strings.Builder
	for line := range strings.Lines(text) {
		if strings.Contains(line, `"msg":"event"`) {
			events.WriteString(line)
		} else {
			decisions.WriteString(line)
		}
	}
	return decisions.String() + events.String()
}

func (p *process) compare(path, got string) {
	p.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			p.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		p.Fatal(err)
	}
	if got != string(want) {
		p.Errorf("%s differs (go test ./cmd/jobworker -run AuditLog -update writes it); now:\n%s", path, got)
	}
}

// The file is root's alone, is appended to, and opened again at SIGHUP: a log can be
// rotated by renaming it.
func TestAuditLogReopened(t *testing.T) {
	kerneltest.Root(t)
	p := newProcess(t)
	p.args = append(p.args, "-audit-log", p.path("audit.jsonl"))
	p.write("audit.jsonl", "from before\n")
	c := p.client(p.start(), "alice")
	p.list(c)
	if err := os.Rename(p.path("audit.jsonl"), p.path("audit.1")); err != nil {
		t.Fatal(err)
	}
	p.list(c)
	p.reload(c, "reloaded policy")
	p.list(c)
	if code := p.stop(); code != 0 {
		t.Errorf("exit status %d", code)
	}
	old, now := p.auditText("audit.1"), p.auditText("audit.jsonl")
	if !strings.HasPrefix(old, "from before\n") || strings.Count(old, "job.list") != 2 || strings.Count(now, "job.list") != 1 {
		t.Errorf("old:\n%snew:\n%s", old, now)
	}
	if info, err := os.Stat(p.path("audit.jsonl")); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func (p *process) list(c *httpapi.Client) {
	p.Helper()
	if _, err := c.List(p.Context(), httpapi.ListOptions{}); err != nil {
		p.Fatal(err)
	}
}

// What the file does not take goes to standard error, and a line that was cut does not
// spoil the next one.
func TestAuditLogFull(t *testing.T) {
	name := filepath.Join(t.TempDir(), "audit")
	var or bytes.Buffer
	l, err := openAuditLog(name, &or)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	small := limit
	small.Cur = 10
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &small); err != nil { // the runtime takes no note of SIGXFSZ
		t.Fatal(err)
	}
	for _, line := range []string{"first\n", "second\n", "third\n"} {
		if _, err := l.Write([]byte(line)); err != nil {
			t.Error(err)
		}
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Write([]byte("fourth\n")); err != nil {
		t.Error(err)
	}
	b, err := os.ReadFile(name)
	if err != nil || string(b) != "first\nseco\nfourth\n" || or.String() != "second\nthird\n" {
		t.Errorf("%q, %v, and elsewhere %q", b, err, or.String())
	}
}

// Where the file cannot be opened again, the old one goes on.
func TestAuditLogNotReopened(t *testing.T) {
	name := filepath.Join(t.TempDir(), "audit")
	l, err := openAuditLog(name, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Rename(name, name+".1"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(name, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := l.reopen(); err == nil {
		t.Error("a directory was opened")
	}
	if _, err := l.Write([]byte("line\n")); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(name + ".1"); err != nil || string(b) != "line\n" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestAuditLogRefused(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(path("open"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path("open"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(path("open"), path("link")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(path("fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path("open"), path("link"), path("fifo"), dir, path("no/such"), "/dev/null"} {
		if l, err := openAuditLog(name, os.Stderr); err == nil {
			l.Close()
			t.Errorf("%s was opened", name)
		} else if !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not named: %v", name, err)
		}
	}
}
