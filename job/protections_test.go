package job

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func captured(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata/proc", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestParseProtections(t *testing.T) {
	var p Protections
	if err := p.parseStatus(captured(t, "status")); err != nil {
		t.Fatal(err)
	}
	if err := p.parseMounts(captured(t, "mountinfo")); err != nil {
		t.Fatal(err)
	}
	const none, all = "0000000000000000", "000001ffffffffff"
	want := Protections{UID: 1879048192, GID: 1879048193, Groups: []uint32{4, 24}, NoNewPrivs: true, Seccomp: "filter",
		Capabilities: Sets{none, none, none, all, none}, RootReadOnly: true, Writable: []string{"/scratch", "/tmp"}, Setuid: []string{"/mnt"}}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("parsed\n%+v\nwant\n%+v", p, want)
	}
	if p.Capabilities.None() || !(Sets{none, none, none, none, none}).None() {
		t.Error("a bounding set is a set too")
	}
}

func TestParseProtectionsErrors(t *testing.T) {
	status := captured(t, "status")
	for _, tt := range []struct{ old, new string }{
		{"Uid:\t1879048192", "Uid:\t-1"},
		{"Uid:\t1879048192\t", "Uid:\t"},
		{"Gid:", "gid:"},
		{"Groups:\t4", "Groups:\tx"},
		{"Seccomp:\t2", "Seccomp:\t3"},
		{"NoNewPrivs:\t1\n", ""},
		{"CapBnd:", "Cap:"},
	} {
		if err := new(Protections).parseStatus(strings.Replace(status, tt.old, tt.new, 1)); err == nil {
			t.Errorf("status with %q for %q is accepted", tt.new, tt.old)
		}
	}
	for _, line := range []string{"\n", "1 2 3 / / ro", "1 2 3 / / - x y z", "1 2 3 / / ro - ext4 none"} {
		if err := new(Protections).parseMounts(line); err == nil {
			t.Errorf("mountinfo line %q is accepted", line)
		}
	}
}

// FuzzParseMounts: a root that is read-only is not among what is writable, and what
// is has been named.
func FuzzParseMounts(f *testing.F) {
	f.Add(captured(f, "mountinfo"))
	f.Fuzz(func(t *testing.T, s string) {
		var p Protections
		if err := p.parseMounts(s); err != nil {
			return
		}
		if p.RootReadOnly && slices.Contains(p.Writable, "/") {
			t.Errorf("%q: the root is read-only, and writable: %q", s, p.Writable)
		}
		if !slices.IsSorted(p.Writable) || !slices.IsSorted(p.Setuid) {
			t.Errorf("%q: %q, %q: not sorted", s, p.Writable, p.Setuid)
		}
	})
}

// FuzzParseStatus: what parses has an id of each kind and a known mode.
func FuzzParseStatus(f *testing.F) {
	f.Add(captured(f, "status"))
	f.Fuzz(func(t *testing.T, s string) {
		var p Protections
		if err := p.parseStatus(s); err == nil && (p.Seccomp == "" || p.Groups == nil) {
			t.Errorf("%q: %+v", s, p)
		}
	})
}
