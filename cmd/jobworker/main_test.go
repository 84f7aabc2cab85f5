//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"jobworker/authz"
	"jobworker/httpapi"
	"jobworker/internal/kerneltest"
	"jobworker/nsinit"
)

func TestMain(m *testing.M) {
	if os.Args[0] == "jobworker" {
		main()
	}
	nsinit.MaybeRun() // in a job this binary is its PID 1
	if filepath.Base(os.Args[0]) == "jobworker" {
		main() // as a process of its own
	}
	code := m.Run()
	if code == 0 {
		code = leaks()
	}
	os.Exit(code)
}

// leaks fails the run when goroutines are left. They may take a moment to go.
func leaks() int {
	deadline := time.Now().Add(10 * time.Second)
	for {
		var stacks bytes.Buffer
		if err := pprof.Lookup("goroutine").WriteTo(&stacks, 2); err != nil {
			panic(err)
		}
		if !strings.Contains(stacks.String(), "\ngoroutine ") {
			return 0
		}
		if time.Now().After(deadline) {
			fmt.Fprintf(os.Stderr, "FAIL: goroutines left behind:\n%s", &stacks)
			return 1
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// A process is the daemon, run in this process.
type process struct {
	testing.TB
	dir     string // holds pki/ and state/
	args    []string
	vars    map[string]string
	signals chan os.Signal
	log     *buffer
	code    chan int
}

// buffer is what the daemon has written to standard error.
type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

var daemons atomic.Int64

// newProcess makes the files of a daemon, with the flags to use them.
func newProcess(t testing.TB) *process {
	t.Helper()
	p := &process{TB: t, dir: t.TempDir(), vars: map[string]string{}, signals: make(chan os.Signal, 2), log: new(buffer), code: make(chan int, 1)}
	pki := p.path("pki")
	if _, err := authz.InitPKI(authz.InitOptions{Dir: pki, Hosts: []string{"127.0.0.1"}, Admin: "alice"}); err != nil {
		t.Fatal(err)
	}
	p.args = []string{
		"-listen", "127.0.0.1:0", "-state-dir", p.path("state"), "-allow-missing-controllers",
		"-cgroup-root", fmt.Sprintf("jobworkertest-%d-%d", os.Getpid(), daemons.Add(1)),
		"-tls-cert", filepath.Join(pki, "server.pem"), "-tls-key", filepath.Join(pki, "server-key.pem"), "-client-ca", filepath.Join(pki, "ca.pem"),
	}
	return p
}

func (p *process) path(elem ...string) string {
	return filepath.Join(append([]string{p.dir}, elem...)...)
}

// start runs the daemon and returns its address.
func (p *process) start() string {
	p.Helper()
	r, w := io.Pipe()
	go func() {
		p.code <- run(context.Background(), env{w, p.log, func(k string) string { return p.vars[k] }, p.signals}, p.args)
		w.Close()
	}()
	line, err := readLine(r)
	url, ok := strings.CutPrefix(line, "jobworker: serving on ")
	if !ok {
		p.Fatalf("standard output: %q, %v; standard error:\n%s", line, err, p.log)
	}
	return url
}

func readLine(r io.Reader) (string, error) {
	var line []byte
	b := make([]byte, 1)
	for {
		if _, err := r.Read(b); err != nil || b[0] == '\n' {
			return string(line), err
		}
		line = append(line, b[0])
	}
}

// stop ends the daemon and returns its exit status.
func (p *process) stop() int {
	p.signals <- syscall.SIGTERM
	return <-p.code
}

func (p *process) client(url, user string) *httpapi.Client {
	p.Helper()
	cfg, err := authz.ClientTLS(authz.ClientFiles{CA: p.path("pki", user, "ca.pem"), Cert: p.path("pki", user, "cert.pem"), Key: p.path("pki", user, "key.pem")})
	if err != nil {
		p.Fatal(err)
	}
	c, err := httpapi.NewClient(url, cfg)
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(c.Close)
	return c
}

// The whole life of a daemon: a job, a reload, a shutdown with a job that runs.
func TestDaemon(t *testing.T) {
	kerneltest.Root(t)
	p := newProcess(t)
	url := p.start()
	c := p.client(url, "alice")
	j, err := c.Start(t.Context(), httpapi.Spec{Argv: []string{"sleep", "1000"}}, "")
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.Output(t.Context(), j.ID, httpapi.OutputOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if code := p.stop(); code != 0 {
		t.Errorf("exit status %d:\n%s", code, p.log)
	}
	last := ""
	for {
		fr, err := s.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		last = fr.Type + " " + fr.Reason
	}
	if last != "end complete" { // the job has been stopped
		t.Errorf("last line of the stream: %q", last)
	}
	for _, want := range []string{`"action":"job.start"`, `"decision":"allow"`, `"shutting down"`} {
		if !strings.Contains(p.log.String(), want) {
			t.Errorf("no %s on standard error:\n%s", want, p.log)
		}
	}
}

func TestReload(t *testing.T) {
	kerneltest.Root(t)
	p := newProcess(t)
	p.args = append(p.args, "-policy", p.path("policy.json"))
	p.write("policy.json", `{"roles":{"admin":{"users":["bob"]}}}`)
	url := p.start()
	c := p.client(url, "alice")
	p.sees(c, "none")

	p.write("policy.json", `{"roles":{"admin":{"users":["alice"]}}}`)
	p.reload(c, "reloaded policy")
	p.sees(c, "all")

	p.write("policy.json", `{"roles":`)
	p.write("pki/server.pem", "nonsense")
	p.reload(c, "the old policy stays in force")
	p.sees(c, "all")
	p.sees(p.client(url, "alice"), "all") // over a new handshake
	if !strings.Contains(p.log.String(), "the old certificates stay in force") {
		t.Errorf("standard error:\n%s", p.log)
	}
	if code := p.stop(); code != 0 {
		t.Errorf("exit status %d", code)
	}
}

func (p *process) write(name, content string) {
	p.Helper()
	if err := os.WriteFile(p.path(name), []byte(content), 0o600); err != nil {
		p.Fatal(err)
	}
}

// reload sends SIGHUP, and waits until the log says what came of it.
func (p *process) reload(c *httpapi.Client, want string) {
	p.Helper()
	p.signals <- syscall.SIGHUP
	for deadline := time.Now().Add(10 * time.Second); !strings.Contains(p.log.String(), want); {
		if time.Now().After(deadline) {
			p.Fatalf("no %q on standard error:\n%s", want, p.log)
		}
		if err := c.Live(p.Context()); err != nil { // it serves meanwhile
			p.Fatal(err)
		}
	}
}

func (p *process) sees(c *httpapi.Client, want authz.Scope) {
	p.Helper()
	w, err := c.WhoAmI(p.Context())
	if err != nil || w.Sees != want {
		p.Errorf("sees %q, %v; want %q", w.Sees, err, want)
	}
}

// A second signal does not wait for a job that will not end.
func TestSecondSignal(t *testing.T) {
	kerneltest.Root(t)
	p := newProcess(t)
	c := p.client(p.start(), "alice")
	grace := httpapi.Duration(time.Hour)
	spec := httpapi.Spec{Argv: []string{"sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1000; done"}, Grace: &grace}
	s, err := c.Run(t.Context(), spec, "")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for {
		fr, err := s.Next()
		if err != nil {
			t.Fatal(err)
		}
		if string(fr.Data) == "ready\n" {
			break
		}
	}
	p.signals <- syscall.SIGTERM
	p.signals <- syscall.SIGINT
	if code := <-p.code; code != 1 || !strings.Contains(p.log.String(), "second signal, interrupt") {
		t.Errorf("exit status %d:\n%s", code, p.log)
	}
}

// What keeps a daemon from starting is said in one line, with what to do.
func TestRefusals(t *testing.T) {
	kerneltest.Root(t)
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	running := newProcess(t)
	running.start()
	tests := map[string]struct {
		change func(p *process)
		code   int
		want   string
	}{
		"no flags":         {func(p *process) { p.args = nil }, 2, "-tls-cert (or JOBWORKER_TLS_CERT) is missing"},
		"unknown flag":     {func(p *process) { p.args = []string{"-colour"} }, 2, "-colour"},
		"argument":         {func(p *process) { p.args = append(p.args, "start") }, 2, `"start": takes flags only`},
		"bad size":         {func(p *process) { p.args = append(p.args, "-default-memory", "1X") }, 2, `"1X"`},
		"negative size":    {func(p *process) { p.args = append(p.args, "-default-memory", "-1") }, 2, `"-1"`},
		"bad uid":          {func(p *process) { p.args = append(p.args, "-uid-base", "0") }, 2, "from 1 to 4294967295"},
		"system uid":       {func(p *process) { p.args = append(p.args, "-uid-base", "7") }, 1, "uid base: 7"},
		"relative expose":  {func(p *process) { p.args = append(p.args, "-expose", "data") }, 2, "must be an absolute path"},
		"bad variable":     {func(p *process) { p.vars["JOBWORKER_UID_COUNT"] = "many" }, 2, `JOBWORKER_UID_COUNT="many"`},
		"retention":        {func(p *process) { p.args = append(p.args, "-keep-age", "-1h") }, 2, "-keep-age -1h"},
		"output":           {func(p *process) { p.args = append(p.args, "-default-output", "2M", "-max-output", "1M") }, 1, "default output: 2097152: must not be above"},
		"pids":             {func(p *process) { p.args = append(p.args, "-default-pids", "0") }, 2, "-default-pids 0"},
		"initial state":    {func(p *process) { p.args = append(p.args, "-initial-state", "Ready") }, 2, "must be ready or unready"},
		"no calculate":     {func(p *process) { p.args = append(p.args, "-max-calculate", "0s") }, 2, "-max-calculate 0s"},
		"large body":       {func(p *process) { p.args = append(p.args, "-max-body", "1G") }, 2, "-max-body 1073741824: must be at most"},
		"small header":     {func(p *process) { p.args = append(p.args, "-max-header", "1K") }, 2, "-max-header 1024: must be from 4096"},
		"audit log":        {func(p *process) { p.args = append(p.args, "-audit-log", "/dev/null") }, 1, "-audit-log: /dev/null: not a regular file"},
		"no calculates":    {func(p *process) { p.args = append(p.args, "-max-calculates", "0") }, 2, "-max-calculates 0"},
		"endless":          {func(p *process) { p.args = append(p.args, "-max-calculate", "100000h") }, 1, "longest calculate"},
		"no certificate":   {func(p *process) { p.args = append(p.args, "-tls-cert", p.path("none")) }, 1, "`jobcli tls init"},
		"open key":         {func(p *process) { chmod(p, "pki/server-key.pem", 0o644) }, 1, "0600"},
		"no list":          {func(p *process) { p.args = append(p.args, "-client-crl", p.path("pki/ca.pem")) }, 1, "pki/ca.pem"},
		"post-quantum":     {func(p *process) { p.args = append(p.args, "-tls-pq", "yes") }, 2, "must be auto or require"},
		"no connections":   {func(p *process) { p.args = append(p.args, "-max-connections", "0") }, 2, "-max-connections 0: must be from 1"},
		"too many files":   {func(p *process) { p.args = append(p.args, "-max-requests", "1048576") }, 1, "open files: "},
		"bad policy":       {func(p *process) { p.args = append(p.args, "-policy", p.path("pki/ca.pem")) }, 1, "load policy"},
		"address in use":   {func(p *process) { p.args = append(p.args, "-listen", busy.Addr().String()) }, 1, "address already in use"},
		"bad address":      {func(p *process) { p.args = append(p.args, "-listen", "nowhere") }, 1, "nowhere"},
		"state dir in use": {func(p *process) { p.args = append(p.args, "-state-dir", running.path("state")) }, 1, running.path("state")},
		"bad cgroup root":  {func(p *process) { p.args = append(p.args, "-cgroup-root", "/tmp") }, 1, "/tmp"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := newProcess(t)
			test.change(p)
			var out bytes.Buffer
			code := run(t.Context(), env{&out, p.log, func(k string) string { return p.vars[k] }, p.signals}, p.args)
			text := p.log.String()
			if code != test.code || !strings.Contains(text, test.want) || !strings.HasPrefix(text, "jobworker: ") || out.Len() > 0 {
				t.Errorf("exit status %d, want %d; standard output %q, standard error, want %q:\n%s", code, test.code, &out, test.want, text)
			}
		})
	}
	if code := running.stop(); code != 0 {
		t.Errorf("the one that runs: exit status %d:\n%s", code, running.log)
	}
}

func chmod(p *process, name string, mode os.FileMode) {
	p.Helper()
	if err := os.Chmod(p.path(name), mode); err != nil {
		p.Fatal(err)
	}
}

// What is kept and recorded has bounds unless they are taken away, with 0.
func TestSpaceFlags(t *testing.T) {
	space := func(args ...string) string {
		o, err := parse(append([]string{"-tls-cert", "c", "-tls-key", "k", "-client-ca", "a"}, args...), func(string) string { return "" })
		if err != nil {
			t.Fatal(err)
		}
		w := o.worker
		return fmt.Sprint(w.KeepAge, w.KeepJobs, w.KeepBytes, w.ReserveBytes, w.MaxStateBytes, w.DefaultOutput, w.MaxOutput)
	}
	if got, want := space(), "168h0m0s 10000 0 134217728 0 0 0"; got != want {
		t.Errorf("defaults %s, want %s", got, want)
	}
	got := space("-keep-age", "0", "-keep-jobs", "0", "-keep-bytes", "1G", "-reserve-bytes", "0", "-max-state-bytes", "2G", "-default-output", "1M", "-max-output", "4M")
	if want := "0s 0 1073741824 0 2147483648 1048576 4194304"; got != want {
		t.Errorf("flags %s, want %s", got, want)
	}
}

// Each flag has its variable, and the help names both.
func TestHelpAndEnvironment(t *testing.T) {
	var out, errs bytes.Buffer
	none := func(string) string { return "" }
	if code := run(t.Context(), env{&out, &errs, none, nil}, []string{"-help"}); code != 0 || errs.Len() > 0 {
		t.Errorf("help: exit status %d, %s", code, &errs)
	}
	for _, want := range []string{"-listen address", "$JOBWORKER_LISTEN", "default 1G", "-expose directory", "$JOBWORKER_ALLOW_MISSING_CONTROLLERS"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("help does not say %q:\n%s", want, &out)
		}
	}
	vars := map[string]string{
		"JOBWORKER_LISTEN": "127.0.0.1:1", "JOBWORKER_TLS_CERT": "c", "JOBWORKER_TLS_KEY": "k", "JOBWORKER_CLIENT_CA": "a", "JOBWORKER_POLICY": "p",
		"JOBWORKER_CLIENT_CRL": "r", "JOBWORKER_TLS_PQ": "require",
		"JOBWORKER_MAX_CONNECTIONS": "61", "JOBWORKER_MAX_CONNECTIONS_PER_ADDRESS": "62", "JOBWORKER_MAX_CONNECTIONS_PER_USER": "63",
		"JOBWORKER_MAX_REQUESTS": "64", "JOBWORKER_MAX_REQUESTS_PER_USER": "65", "JOBWORKER_MAX_INPUTS_PER_USER": "66", "JOBWORKER_MAX_INPUTS_PER_CONNECTION": "67",
		"JOBWORKER_INITIAL_STATE": "unready", "JOBWORKER_MAX_CALCULATE": "90s", "JOBWORKER_MAX_CALCULATES": "3",
		"JOBWORKER_STATE_DIR": "/s", "JOBWORKER_CGROUP_ROOT": "/c", "JOBWORKER_ALLOW_MISSING_CONTROLLERS": "true", "JOBWORKER_UID_BASE": "5000",
		"JOBWORKER_UID_COUNT": "7", "JOBWORKER_DEFAULT_MEMORY": "64M", "JOBWORKER_DEFAULT_PIDS": "9", "JOBWORKER_EXPOSE": "/a:/b",
	}
	o, err := parse([]string{"-listen", "127.0.0.1:2", "-expose", "/c"}, func(k string) string { return vars[k] })
	if err != nil {
		t.Fatal(err)
	}
	w := o.worker
	got := fmt.Sprint(o.listen, o.files, o.limits, o.policy, w.StateDir, w.CgroupRoot, w.AllowMissingControllers, w.UIDBase, w.UIDCount, w.DefaultMemory, w.DefaultPids, w.Expose, w.Unready, w.MaxCalculate, w.MaxCalculates)
	if want := "127.0.0.1:2{c k a r true} {61 62 63 64 65 66 67}p/s/ctrue 5000 7 67108864 9 [/a /b /c] true 1m30s 3"; got != want {
		t.Errorf("options %s, want %s", got, want)
	}
	out.Reset()
	if code := run(t.Context(), env{&out, &errs, none, nil}, []string{"-version"}); code != 0 || !strings.HasPrefix(out.String(), "jobworker ") {
		t.Errorf("version: exit status %d, %q", code, &out)
	}
}
