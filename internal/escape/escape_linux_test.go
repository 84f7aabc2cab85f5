package escape_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"jobworker/httpapi"
	"jobworker/internal/escape"
	"jobworker/internal/kerneltest"
)

// TestEscape makes every attempt in a job of every profile, and outside of one.
func TestEscape(t *testing.T) {
	kerneltest.VM(t)
	s := newSite(t)
	facts := bait(s)
	outside := merge(control(s, facts, "root"), control(s, facts, "user"))
	for _, p := range profiles {
		t.Run(p.name, func(t *testing.T) {
			s := s.in(t)
			spec := httpapi.Spec{Argv: []string{executable(s), "probe", "all", encode(s, facts)}, Env: map[string]string{"ESCAPE": "a=b"}}
			p.change(&spec)
			r := s.run(s.client("mallory"), spec)
			if r.verdict != "exited 0" || r.stderr.Len() > 0 {
				t.Errorf("the program: %s, and wrote %q", r.verdict, r.stderr.String())
			}
			report(t, outside, answers(s, r.stdout.String()), p.but)
		})
	}
}

// report prints the table, and fails where an attempt has succeeded or was none.
func report(t *testing.T, outside, inside, but map[string]string) {
	const row = "%-42s %-28.28s %-28.28s %s\n"
	fmt.Fprintf(t.Output(), row, "PROBE", "CONTROL", "SANDBOX", "VERDICT")
	held, unused := 0, maps.Clone(but)
	for _, p := range escape.Probes() {
		want, verdict := p.Inside, "held"
		if granted, ok := but[p.Name]; ok {
			want, verdict = granted, "as granted"
		}
		if !matches(p.Outside, outside[p.Name]) {
			verdict = "NO CONTROL"
			t.Errorf("%s: outside %q, want %q: the attempt proves nothing", p.Name, outside[p.Name], p.Outside)
		}
		delete(unused, p.Name)
		if !matches(want, inside[p.Name]) {
			verdict = "NOT HELD"
			t.Errorf("%s: %q in a job, want %q", p.Name, inside[p.Name], want)
		}
		if verdict == "held" || verdict == "as granted" {
			held++
		}
		fmt.Fprintf(t.Output(), row, p.Name, outside[p.Name], inside[p.Name], verdict)
	}
	fmt.Fprintf(t.Output(), "%d attempts, %d as they must be\n", len(escape.Probes()), held)
	if len(unused) > 0 {
		t.Errorf("exceptions for probes that do not exist: %v", unused)
	}
}

func matches(pattern, s string) bool {
	return regexp.MustCompile("^(?s:" + pattern + ")$").MatchString(s)
}

// control makes the attempts outside, with what the program could inherit: a
// directory as descriptor 3, groups, an ignored signal, a umask, a secret in the
// environment.
func control(s *site, facts escape.Facts, user string) map[string]string {
	s.Helper()
	dir, err := os.Open("/root")
	s.must(err)
	defer dir.Close()
	cmd := exec.CommandContext(s.Context(), "sh", "-c", `umask 077; trap "" HUP; exec "$@"`, "sh", executable(s), "probe", user, encode(s, facts))
	cmd.Env = append(os.Environ(), "SECRET=1")
	cmd.ExtraFiles = []*os.File{dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Groups: []uint32{4, 27}}}
	if user != "root" {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65000, Gid: 65000}
	}
	cmd.Stderr = s.Output()
	out, err := cmd.Output()
	s.must(err)
	return answers(s, string(out))
}

func answers(s *site, lines string) map[string]string {
	s.Helper()
	out := make(map[string]string)
	for d := json.NewDecoder(strings.NewReader(lines)); ; {
		var a escape.Answer
		if err := d.Decode(&a); err == io.EOF {
			return out
		} else if err != nil {
			s.Fatalf("answers %q: %v", lines, err)
		}
		out[a.Probe] = a.Answer
	}
}

func merge(a, b map[string]string) map[string]string {
	for k, v := range b {
		a[k] = v
	}
	return a
}

func encode(s *site, facts escape.Facts) string {
	s.Helper()
	b, err := json.Marshal(facts)
	s.must(err)
	return string(b)
}

func executable(s *site) string {
	s.Helper()
	exe, err := os.Executable()
	s.must(err)
	return exe
}

// secretDirs are the directories of the host in which the suite leaves a secret
// that everybody may read.
var secretDirs = []string{"/home", "/root", "/run", "/var/lib", "/srv", "/opt", "/boot", "/tmp", "/dev/shm", "/disk"}

// bait leaves on the host what the program looks for. The machine, and all of
// it, ends with the tests.
func bait(s *site) escape.Facts {
	s.Helper()
	f := escape.Facts{Abstract: "escape", Socket: "/run/escape.sock", Key: 0x65736361, Setuid: "/usr/local/bin/escape-setuid", Daemon: os.Getpid()}
	for _, dir := range secretDirs {
		s.must(os.MkdirAll(dir, 0o755))
		f.Secrets = append(f.Secrets, filepath.Join(dir, "escape-secret"))
		s.must(os.WriteFile(filepath.Join(dir, "escape-secret"), []byte("secret\n"), 0o644))
	}
	victim := s.start(s.client("alice"), shell("echo secret | tee secret; echo ready; exec sleep 1000"))
	victim.read()
	f.Victim = filepath.Join(s.state, "jobs", victim.id)

	b, err := os.ReadFile(executable(s))
	s.must(err, os.WriteFile(f.Setuid, b, 0o755), os.Chmod(f.Setuid, 0o755|os.ModeSetuid))

	f.Port = listen(s, "tcp", "127.0.0.1:0").(*net.TCPAddr).Port
	listen(s, "unix", "@"+f.Abstract)
	listen(s, "unix", f.Socket)
	s.must(os.Chmod(f.Socket, 0o777))

	must := func(_, _ uintptr, errno syscall.Errno) {
		s.Helper()
		if errno != 0 {
			s.Fatal(errno)
		}
	}
	must(unix.Syscall(unix.SYS_SHMGET, uintptr(f.Key), escape.ShmSize, unix.IPC_CREAT|0o666))
	queue, err := unix.BytePtrFromString(escape.Queue)
	s.must(err)
	must(unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(queue)), unix.O_CREAT|unix.O_RDWR, 0o666, 0, 0, 0))

	for _, command := range []string{"ip addr add 127.9.9.9/32 dev lo", "ip route add 127.99.0.0/16 dev lo"} {
		out, err := exec.CommandContext(s.Context(), "sh", "-c", command).CombinedOutput()
		if err != nil {
			s.Fatalf("%s: %v: %s", command, err, out)
		}
	}
	shared(s, b)
	pty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	s.must(err)
	s.Cleanup(func() { pty.Close() })
	return f
}

// shared makes what the profiles are given, with the program exe in it.
func shared(s *site, exe []byte) {
	s.Helper()
	s.must(os.MkdirAll(sharedDir, 0o755), os.Chmod(sharedDir, 0o777))
	bin := filepath.Join(rootfsDir, filepath.Dir(executable(s)))
	s.must(os.MkdirAll(bin, 0o755), os.MkdirAll(filepath.Join(rootfsDir, "etc"), 0o755))
	for name, mode := range map[string]os.FileMode{filepath.Base(executable(s)): 0o755, "escape-setuid": 0o755 | os.ModeSetuid} {
		s.must(os.WriteFile(filepath.Join(bin, name), exe, 0o755), os.Chmod(filepath.Join(bin, name), mode))
	}
	s.must(os.WriteFile(filepath.Join(rootfsDir, "etc/passwd"), nil, 0o644), os.WriteFile(filepath.Join(rootfsDir, "etc/shadow"), nil, 0o600))
}

// listen serves connections, which it closes, and returns the address.
func listen(s *site, network, address string) net.Addr {
	s.Helper()
	l, err := net.Listen(network, address)
	s.must(err)
	s.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	}()
	return l.Addr()
}
