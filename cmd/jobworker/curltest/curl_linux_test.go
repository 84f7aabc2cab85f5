// Package curltest runs the curl commands of README.md, with the real curl against
// the real daemon. It is a package of its own because the machine of vmexec, where
// its neighbour's tests run too, has no curl.
package curltest

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"jobworker/authz"
)

// TestCurl changes nothing in the commands but the daemon's address; the protocol
// is chosen in curl's own start file.
func TestCurl(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to run jobs")
	}
	if _, err := exec.LookPath("curl"); err != nil {
		t.Fatal("needs the package curl: ", err)
	}
	const address = "https://127.0.0.1:8443"
	script := readmeBlock(t, "<!-- curl -->")
	if strings.Count(script, address) != 1 {
		t.Fatalf("want %s once in:\n%s", address, script)
	}
	dir := t.TempDir()
	script = strings.Replace(script, address, startDaemon(t, dir), 1)
	for proto, option := range map[string]string{"HTTP/2 ": "http2", "HTTP/1.1 ": "http1.1"} {
		t.Run(option, func(t *testing.T) {
			if err := os.WriteFile(filepath.Join(dir, ".curlrc"), []byte(option+"\ndump-header = last-header\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), "sh", "-eu", "-c", script)
			cmd.Dir = dir
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil || stderr.Len() > 0 {
				t.Errorf("%v: %s", err, &stderr)
			}
			inOrder(t, string(out),
				`"type":"start"`, `"text":"1\n"`, `"text":"3\n"`, `"reason":"exited","code":0`, `"type":"end","next":6,"reason":"complete"`,
				`"text":"hello\n"`, `"type":"end","next":6,"reason":"limit"`,
				`"state":"running"`,
				`"verdict":{"reason":"stopped"`,
				"}\nhello\n", `{"accepted":4,"closed":true}`+"\na\nb\n")
			header, err := os.ReadFile(filepath.Join(dir, "last-header"))
			if err != nil || !strings.HasPrefix(string(header), proto) {
				t.Errorf("the last answer came as %.10q, %v; want %s", header, err, proto)
			}
		})
	}
}

// startDaemon makes dir/pki, builds the daemon and runs it until the test is over.
// It returns its address.
func startDaemon(t *testing.T, dir string) string {
	t.Helper()
	pki := filepath.Join(dir, "pki")
	if _, err := authz.InitPKI(authz.InitOptions{Dir: pki, Hosts: []string{"127.0.0.1"}, Admin: "alice"}); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "jobworker")
	if out, err := exec.Command("go", "build", "-o", program, "..").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	cmd := exec.Command(program,
		"-listen", "127.0.0.1:0", "-state-dir", filepath.Join(dir, "state"), "-allow-missing-controllers",
		"-cgroup-root", fmt.Sprintf("curltest-%d", os.Getpid()),
		"-tls-cert", filepath.Join(pki, "server.pem"), "-tls-key", filepath.Join(pki, "server-key.pem"), "-client-ca", filepath.Join(pki, "ca.pem"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	lines.Scan()
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("daemon: %v\n%s", err, &stderr)
		}
	})
	url, ok := strings.CutPrefix(lines.Text(), "jobworker: serving on ")
	if !ok {
		t.Fatalf("standard output of the daemon: %q", lines.Text())
	}
	return url
}

// readmeBlock returns the fenced block of README.md that follows mark.
func readmeBlock(t *testing.T, mark string) string {
	t.Helper()
	b, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), mark+"\n```sh\n")
	block, _, ok := strings.Cut(rest, "\n```\n")
	if !ok {
		t.Fatalf("README.md has no block after %s", mark)
	}
	return block
}

func inOrder(t *testing.T, s string, parts ...string) {
	t.Helper()
	rest := s
	for _, part := range parts {
		_, after, ok := strings.Cut(rest, part)
		if !ok {
			t.Fatalf("no %s, in its place, in:\n%s", part, s)
		}
		rest = after
	}
}
