//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// A member is one entry as it stands in an archive.
type member struct {
	mode uint32
	data string
}

// unpack reads a newc archive back, strictly: magic, padding, order of parents
// and trailer are checked.
func unpack(t *testing.T, b []byte) map[string]member {
	t.Helper()
	members := map[string]member{".": {}}
	for at := 0; ; {
		var f [13]int
		if at+110 > len(b) || string(b[at:at+6]) != "070701" {
			t.Fatalf("no header at %d", at)
		}
		for i := range f {
			if _, err := fmt.Sscanf(string(b[at+6+8*i:at+14+8*i]), "%08x", &f[i]); err != nil {
				t.Fatalf("field %d of the header at %d: %v", i, at, err)
			}
		}
		mode, size, nameSize := f[1], f[6], f[11]
		name := string(b[at+110 : at+110+nameSize-1])
		data := (at + 110 + nameSize + 3) &^ 3
		if name == "TRAILER!!!" {
			return members
		}
		if _, ok := members[filepath.Dir(name)]; !ok {
			t.Errorf("%s comes before its directory", name)
		}
		if _, ok := members[name]; ok {
			t.Errorf("%s is there twice", name)
		}
		members[name] = member{uint32(mode), string(b[data : data+size])}
		at = (data + size + 3) &^ 3
	}
}

func TestCPIO(t *testing.T) {
	from := filepath.Join(t.TempDir(), "from")
	if err := os.WriteFile(from, []byte("copied"), 0o751); err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	c := newCPIO(&buf)
	c.dir("/tmp", 0o777|fs.ModeSticky)
	c.symlink("/bin", "usr/bin")
	for i := range 5 { // every remainder of the padding
		c.file(fmt.Sprintf("/a/b/%s", strings.Repeat("n", i+1)), 0o640, strings.Repeat("d", i))
	}
	c.copy("/a/copy", from)
	c.dir("/a", 0o700) // there already
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	want := map[string]member{
		".":         {},
		"tmp":       {0o041777, ""},
		"bin":       {0o120777, "usr/bin"},
		"a":         {0o040755, ""},
		"a/b":       {0o040755, ""},
		"a/b/n":     {0o100640, ""},
		"a/b/nn":    {0o100640, "d"},
		"a/b/nnn":   {0o100640, "dd"},
		"a/b/nnnn":  {0o100640, "ddd"},
		"a/b/nnnnn": {0o100640, "dddd"},
		"a/copy":    {0o100751, "copied"},
	}
	if got := unpack(t, buf.Bytes()); !reflect.DeepEqual(got, want) {
		t.Errorf("archive holds\n%v, want\n%v", got, want)
	}
}

func TestCPIOErrors(t *testing.T) {
	for name, add := range map[string]func(*cpio){
		"missing file":   func(c *cpio) { c.copy("/a", "/nonexistent/file") },
		"directory":      func(c *cpio) { c.copy("/a", "/") },
		"relative name":  func(c *cpio) { c.file("a", 0o644, "") },
		"unclean name":   func(c *cpio) { c.file("/../a", 0o644, "") },
		"error is first": func(c *cpio) { c.copy("/a", "/nonexistent/file"); c.file("/b", 0o644, "") },
	} {
		c := newCPIO(new(bytes.Buffer))
		add(c)
		if err := c.close(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestInitrd: what the guest decodes is what the host was asked to run.
func TestInitrd(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	t.Setenv("GOCOVERDIR", "/nowhere")
	for name, data := range map[string]string{"pkg.test": "ELF", "box": "box", "extra": "x", "testdata/d/golden": "g"} {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(data), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	p, err := newProgram([]string{filepath.Join(dir, "pkg.test"), "-test.run=^TestA$", "a b"}, false)
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	m := machine{busybox: "box", files: []string{"extra", "extra:/opt/x"}}
	if err := m.writeInitrd(&buf, p, "pkg.test"); err != nil {
		t.Fatal(err)
	}
	got := unpack(t, buf.Bytes())
	for name, want := range map[string]string{
		"usr/local/bin/pkg.test":       "ELF",
		"usr/bin/busybox":              "box",
		"opt/x":                        "x",
		dir[1:] + "/extra":             "x",
		dir[1:] + "/testdata/d/golden": "g",
		"lib64":                        "usr/lib64",
		"init":                         readSelf(t),
	} {
		if got[name].data != want {
			t.Errorf("%s holds %.20q, want %.20q", name, got[name].data, want)
		}
	}
	var back program
	if err := json.Unmarshal([]byte(got[programFile[1:]].data), &back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back, p) {
		t.Errorf("guest reads %+v, want %+v", back, p)
	}
	want := program{
		Args: []string{"/usr/local/bin/pkg.test", "-test.run=^TestA$", "a b"},
		Dir:  dir,
		Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"HOME=/root", "LANG=C.UTF-8", "KERNELTEST=vm", "GORACE=atexit_sleep_ms=0"},
	}
	for _, name := range forwarded {
		if v, ok := os.LookupEnv(name); ok && name != "GORACE" {
			want.Env = append(want.Env, name+"="+v)
		}
	}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("program is %+v, want %+v", p, want)
	}
}

func readSelf(t *testing.T) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestReadStatus(t *testing.T) {
	name := filepath.Join(t.TempDir(), "status")
	for in, want := range map[string]int{"0\n": 0, "137\n": 137, "": -1, "0": -1, "-1\n": -1, "x\n": -1, "0\n0\n": -1} {
		if err := os.WriteFile(name, []byte(in), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := readStatus(name)
		if err != nil {
			got = -1
		}
		if got != want {
			t.Errorf("readStatus of %q = %d, %v, want %d", in, got, err, want)
		}
	}
}
