//go:build linux

package main

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"jobworker/internal/kerneltest"
)

// TestCurl runs the curl commands of README.md against a daemon. Nothing in them
// is changed but its address; the protocol is chosen in curl's own start file.
func TestCurl(t *testing.T) {
	kerneltest.Root(t)
	if _, err := exec.LookPath("curl"); err != nil {
		t.Fatal("needs the package curl: ", err)
	}
	const address = "https://127.0.0.1:8443"
	script := readmeBlock(t, "<!-- curl -->")
	if strings.Count(script, address) != 1 {
		t.Fatalf("want %s once in:\n%s", address, script)
	}
	p := newProcess(t)
	script = strings.Replace(script, address, p.start(), 1)
	for proto, option := range map[string]string{"HTTP/2 ": "http2", "HTTP/1.1 ": "http1.1"} {
		t.Run(option, func(t *testing.T) {
			p.write(".curlrc", option+"\ndump-header = last-header\n")
			cmd := exec.CommandContext(t.Context(), "sh", "-eu", "-c", script)
			cmd.Dir = p.dir
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir}
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
				"}\nhello\n")
			header, err := os.ReadFile(p.path("last-header"))
			if err != nil || !strings.HasPrefix(string(header), proto) {
				t.Errorf("the last answer came as %.10q, %v; want %s", header, err, proto)
			}
		})
	}
	if code := p.stop(); code != 0 {
		t.Errorf("exit status %d:\n%s", code, p.log)
	}
}

// readmeBlock returns the fenced block of README.md that follows mark.
func readmeBlock(t *testing.T, mark string) string {
	t.Helper()
	b, err := os.ReadFile("../../README.md")
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
