package kerneltest_test

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"jobworker/internal/kerneltest"
)

// TestGuestMounts holds the machine against what the kernel tests rely on.
func TestGuestMounts(t *testing.T) {
	kerneltest.VM(t)
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]string{
		"/":              "shared:",
		"/dev":           " - devtmpfs ",
		"/dev/pts":       " - devpts ",
		"/dev/shm":       " - tmpfs ",
		"/proc":          " - proc ",
		"/run":           " - tmpfs ",
		"/sys":           " - sysfs ",
		"/sys/fs/cgroup": "nsdelegate",
		"/disk":          " - ext4 /dev/nvme0n1 ",
	} {
		if line := mountLine(string(b), target); !strings.Contains(line, want) {
			t.Errorf("mount at %s: %q: want %q in it", target, line, want)
		}
	}
}

func mountLine(mountinfo, target string) string {
	for line := range strings.Lines(mountinfo) {
		if f := strings.Fields(line); len(f) > 4 && f[4] == target {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

func TestGuestTree(t *testing.T) {
	kerneltest.VM(t)
	for name, want := range map[string]os.FileMode{
		"/root":        os.ModeDir | 0o700,
		"/tmp":         os.ModeDir | os.ModeSticky | 0o777,
		"/etc/passwd":  0o644,
		"/etc/shadow":  0o600,
		"/bin/sh":      0o755,
		"/usr/bin/env": 0o755,
	} {
		info, err := os.Stat(name)
		if err != nil {
			t.Error(err)
		} else if info.Mode() != want {
			t.Errorf("%s: mode %v, want %v", name, info.Mode(), want)
		}
	}
	for name, want := range map[string]string{"/bin": "usr/bin", "/sbin": "usr/sbin", "/lib": "usr/lib", "/lib64": "usr/lib64"} {
		if got, err := os.Readlink(name); err != nil || got != want {
			t.Errorf("readlink %s: %q, %v: want %q", name, got, err, want)
		}
	}
	for _, name := range []string{"/init", "/vmexec.json"} {
		if _, err := os.Lstat(name); !os.IsNotExist(err) {
			t.Errorf("%s: left behind (%v)", name, err)
		}
	}
}

func TestGuestCommands(t *testing.T) {
	kerneltest.VM(t)
	for _, name := range []string{"sh", "ps", "ip", "cat", "sleep", "dd", "wc", "id", "mount", "env", "true", "yes", "kill", "setsid", "seq", "head"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Error(err)
		}
	}
	out, err := exec.CommandContext(t.Context(), "sh", "-c", "echo data | wc -c; id -un").CombinedOutput()
	if got := string(out); err != nil || got != "5\nroot\n" {
		t.Errorf("sh: %q, %v", got, err)
	}
}

func TestGuestLoopback(t *testing.T) {
	kerneltest.VM(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestGuestPressure(t *testing.T) {
	kerneltest.VM(t)
	for _, name := range []string{"cpu", "memory", "io"} {
		if b, err := os.ReadFile("/proc/pressure/" + name); err != nil || !bytes.HasPrefix(b, []byte("some ")) {
			t.Errorf("pressure of %s: %q, %v", name, b, err)
		}
	}
}

func TestGuestTestdata(t *testing.T) {
	kerneltest.VM(t)
	b, err := os.ReadFile("testdata/dir/file")
	if err != nil || string(b) != "carried into the machine\n" {
		t.Errorf("testdata: %q, %v", b, err)
	}
}

func TestDisk(t *testing.T) {
	kerneltest.VM(t)
	var dir string
	t.Run("use", func(t *testing.T) {
		dir = kerneltest.Disk(t)
		if err := os.WriteFile(filepath.Join(dir, "f"), []byte("x"), 0o600); err != nil {
			t.Error(err)
		}
		if !strings.HasPrefix(dir, "/disk/") {
			t.Errorf("Disk = %q, want it below /disk", dir)
		}
	})
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s: not removed (%v)", dir, err)
	}
}
