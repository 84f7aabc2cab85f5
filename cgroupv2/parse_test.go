package cgroupv2

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// captured returns a file of a real kernel: v2 is Linux 6.1 with cgroup v2 alone, hybrid is
// Linux 6.18 with every controller bound to cgroup v1.
func captured(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// parsed is what a parser makes of a captured file.
func parsed[T any](t *testing.T, name string, parse func(string) (T, error), want T) {
	t.Helper()
	got, err := parse(captured(t, name))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%s: %+v, %v, want %+v", name, got, err, want)
	}
}

func TestParseCaptured(t *testing.T) {
	parsed(t, "v2/cgroup.events", parseKeyed, map[string]int64{"populated": 0, "frozen": 0})
	parsed(t, "v2/cpu.stat", key("throttled_usec"), 11690903)
	parsed(t, "v2/cpu.max", parseCPUMax, 0.2)
	parsed(t, "v2/memory.events", key("oom_kill"), 3)
	parsed(t, "v2/pids.events", key("max"), 0)
	parsed(t, "v2/io.max", parseIOMax, []IOLimit{{Major: 259, WriteBPS: 1 << 20, ReadIOPS: 100}})
	parsed(t, "v2/io.stat", parseIOStat, IOUsage{ReadBytes: 655360, WriteBytes: 688128, ReadOps: 10, WriteOps: 18})
	parsed(t, "v2/cpu.pressure", parsePressure, Stall{Avg10: 37.97, TotalSeconds: 6.521237})
	parsed(t, "v2/self", parseSelf, "/")
	parsed(t, "hybrid/self", parseSelf, "/system.slice/jobworker.service")
}

func TestParseCPU(t *testing.T) {
	var u Usage
	if err := u.parseCPU(captured(t, "v2/cpu.stat")); err != nil {
		t.Fatal(err)
	}
	if u.CPUSeconds != 1.903108 || u.CPUUserSeconds != 0.146392 || u.CPUSystemSeconds != 1.756715 || u.ThrottledSeconds == nil || *u.ThrottledSeconds != 11.690903 {
		t.Errorf("cpu.stat: %+v", u)
	}
	if err := new(Usage).parseCPU("usage_usec 1\n"); !errors.Is(err, errFormat) {
		t.Errorf("cpu.stat without user_usec: %v", err)
	}
}

func TestParseIO(t *testing.T) {
	limits, err := parseIOMax("8:0 wbps=5\n8:16 rbps=max\n")
	if want := []IOLimit{{Major: 8, WriteBPS: 5}, {Major: 8, Minor: 16}}; err != nil || !reflect.DeepEqual(limits, want) {
		t.Errorf("missing keys: %+v, %v, want %+v", limits, err, want)
	}
	// A device without figures, keys of other I/O policies, and two devices.
	u, err := parseIOStat("7:0 \n8:0 rbytes=1 wbytes=2 rios=3 wios=4 cost.usage=9 depth=max\n8:16 rbytes=10 wbytes=20 rios=30 wios=40\n")
	if want := (IOUsage{11, 22, 33, 44}); err != nil || u != want {
		t.Errorf("two devices: %+v, %v, want %+v", u, err, want)
	}
	if u, err := parseIOStat(""); err != nil || u != (IOUsage{}) {
		t.Errorf("no I/O yet: %+v, %v", u, err)
	}
}

// TestParseRefuses: what is not the kernel's format is an error, never a zero.
func TestParseRefuses(t *testing.T) {
	refuses(t, "parseKeyed", parseKeyed, "a", "a ", " 1", "a b", "a -1", "a 1 2", "\n", "a 9223372036854775808", "a 0x1")
	refuses(t, "parseSingle", parseSingle, "", "max\n", "-1\n", "1 2\n", "1\n\n")
	refuses(t, "parseMax", parseMax, "", "maximum\n", "-1\n")
	refuses(t, "parseWeight", parseWeight, "", "max\n")
	refuses(t, "parseCPUMax", parseCPUMax, "", "max\n", "1 0\n", "1 max\n", "1 2 3\n", "-1 100000\n")
	refuses(t, "parseIOMax", parseIOMax, "\n", "x:0 rbps=1\n", "8:0 rbps=\n", "8:0 rbps\n", "8:0 foo=1\n", "8 rbps=1\n", "8:-1 rbps=1\n")
	refuses(t, "parseIOStat", parseIOStat, "8:0 rbytes=-1\n", "8:0 rbytes=max\n", "8 rbytes=1\n", "rbytes=1\n")
	refuses(t, "parsePressure", parsePressure, "", "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n", "some avg10=0.00 total=0\n",
		"some avg10=x avg60=0 avg300=0 total=0", "some avg10=NaN avg60=0 avg300=0 total=0", "some avg10=101 avg60=0 avg300=0 total=0", "some avg10=1 avg60=0 avg300=0 total=-1")
	refuses(t, "parseSelf", parseSelf, "0::", "0::x\n")
	refuses(t, "parseSubsystems", parseSubsystems, "cpu\n", "cpu x 1 1\n", "cpu 1 1 1 1\n")
}

func refuses[T any](t *testing.T, name string, parse func(string) (T, error), inputs ...string) {
	t.Helper()
	for _, s := range inputs {
		if got, err := parse(s); !errors.Is(err, errFormat) {
			t.Errorf("%s(%q) = %v, %v, want an error of the format", name, s, got, err)
		}
	}
}

func TestParseSubsystems(t *testing.T) {
	m, err := parseSubsystems(captured(t, "hybrid/cgroups"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range Controllers() {
		if s := m[c.v1()]; s.hierarchy == 0 || !s.enabled {
			t.Errorf("hybrid: %s: %+v", c, s)
		}
	}
	m, err = parseSubsystems("#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t0\t1\t0\n")
	if want := map[string]subsystem{"memory": {}}; err != nil || !reflect.DeepEqual(m, want) {
		t.Errorf("cgroup_disable=memory: %+v, %v", m, err)
	}
}

func TestParseMounts(t *testing.T) {
	v2, err := parseMounts(strings.NewReader(captured(t, "v2/mountinfo")))
	want := []mount{{root: "/", point: "/sys/fs/cgroup", fstype: "cgroup2", options: []string{"rw", "nsdelegate"}}}
	if err != nil || !reflect.DeepEqual(v2, want) {
		t.Errorf("v2: %+v, %v, want %+v", v2, err, want)
	}
	hybrid, err := parseMounts(strings.NewReader(captured(t, "hybrid/mountinfo")))
	if err != nil {
		t.Fatal(err)
	}
	at := make(map[string]string)
	for _, m := range hybrid {
		at[m.fstype+" "+m.options[len(m.options)-1]] = m.point
	}
	for k, want := range map[string]string{"cgroup2 rw": "/sys/fs/cgroup/unified", "cgroup blkio": "/sys/fs/cgroup/blkio", "cgroup memory": "/sys/fs/cgroup/memory"} {
		if at[k] != want {
			t.Errorf("hybrid: %s at %q, want %q", k, at[k], want)
		}
	}
	odd, err := parseMounts(strings.NewReader(`41 31 0:38 /a\040b /x\134y\011 rw shared:1 master:2 - cgroup2  rw` + "\n"))
	want = []mount{{root: "/a b", point: "/x\\y\t", fstype: "cgroup2", options: []string{"rw"}}}
	if err != nil || !reflect.DeepEqual(odd, want) {
		t.Errorf("escapes, two optional fields, no source: %+v, %v, want %+v", odd, err, want)
	}
	for _, s := range []string{"x", "41 31 0:38 / /a rw cgroup2 cgroup2 rw", "41 31 0:38 / - cgroup2 cgroup2 rw", "\n"} {
		if m, err := parseMounts(strings.NewReader(s)); !errors.Is(err, errFormat) {
			t.Errorf("%q: %+v, %v, want an error of the format", s, m, err)
		}
	}
}

func TestLocate(t *testing.T) {
	for _, c := range []struct{ root, cgroup, want string }{
		{"/", "/", "/cg"},
		{"/", "/a/b", "/cg/a/b"},
		{"/docker/x", "/docker/x", "/cg"},
		{"/docker/x", "/docker/x/y", "/cg/y"},
		{"/docker/x", "/docker/xy", ""},
		{"/docker/x", "/docker", ""},
		{"/", "/..", ""},
		{"/", "/../b", ""},
		{"/", "/..b", "/cg/..b"},
		{"/../..", "/", ""}, // mounted further up than the namespace: no name for the way down
		{"/..", "/../b", "/cg/b"},
		{"/..", "/../..", ""},
		{"/..", "/../../b", ""},
	} {
		got, ok := mount{root: c.root, point: "/cg"}.locate(c.cgroup)
		if !ok {
			got = ""
		}
		if got != c.want || ok != (c.want != "") {
			t.Errorf("mount of %s: %s is at %q, want %q", c.root, c.cgroup, got, c.want)
		}
	}
}

// escape is what the kernel does to a path in mountinfo (fs/proc_namespace.c, mangle).
func escape(s string) string {
	return strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`, "#", `\043`).Replace(s)
}

// FuzzMount: whatever a mount point is called, it is read back.
func FuzzMount(f *testing.F) {
	f.Add("", "sys/fs/cgroup")
	f.Add("a b", "x\\040\n#y\u00a0")
	f.Fuzz(func(t *testing.T, root, point string) {
		m, err := parseMount("41 31 0:38 /" + escape(root) + " /" + escape(point) + " rw shared:1 - cgroup2 cgroup2 rw")
		if err != nil || m.root != "/"+root || m.point != "/"+point {
			t.Errorf("root /%q, point /%q: read as %q, %q, %v", root, point, m.root, m.point, err)
		}
	})
}

// FuzzLocate: what is found is never outside of the mount.
func FuzzLocate(f *testing.F) {
	f.Add("/", "/a/../..")
	f.Add("/docker/x", "/docker/x/y")
	f.Fuzz(func(t *testing.T, root, cgroup string) {
		p, ok := mount{root: root, point: "/cg"}.locate(cgroup)
		if ok && p != "/cg" && !strings.HasPrefix(p, "/cg/") {
			t.Errorf("mount of %q: %q is at %q", root, cgroup, p)
		}
	})
}

// FuzzParse: no parser accepts a negative number or panics, and io.max reads back as what
// was understood of it.
func FuzzParse(f *testing.F) {
	for _, name := range []string{"cgroup.events", "cpu.stat", "cpu.max", "io.max", "io.stat", "memory.events", "cpu.pressure", "cgroups", "self", "mountinfo"} {
		f.Add(captured(f, "v2/"+name))
	}
	f.Fuzz(func(t *testing.T, s string) {
		if m, err := parseKeyed(s); err == nil {
			for k, v := range m {
				if v < 0 || k == "" {
					t.Errorf("parseKeyed(%q): %q is %d", s, k, v)
				}
			}
		}
		if limits, err := parseIOMax(s); err == nil {
			for _, d := range limits {
				again, err := parseIOMax(d.line())
				if err != nil || len(again) != 1 || again[0] != d {
					t.Errorf("parseIOMax(%q): %+v reads back as %+v, %v", s, d, again, err)
				}
			}
		}
		if p, err := parsePressure(s); err == nil && !(p.Avg10 >= 0 && p.TotalSeconds >= 0) {
			t.Errorf("parsePressure(%q) = %+v", s, p)
		}
		if c, err := parseCPUMax(s); err == nil && !(c >= 0) {
			t.Errorf("parseCPUMax(%q) = %v", s, c)
		}
		if p, err := parseSelf(s); err == nil && p != "" && p[0] != '/' {
			t.Errorf("parseSelf(%q) = %q", s, p)
		}
		if u, err := parseIOStat(s); err == nil && (u.ReadBytes < 0 || u.WriteBytes < 0 || u.ReadOps < 0 || u.WriteOps < 0) {
			t.Errorf("parseIOStat(%q) = %+v", s, u)
		}
		mounts, _ := parseMounts(strings.NewReader(s))
		for _, m := range mounts {
			if m.fstype != "cgroup" && m.fstype != "cgroup2" {
				t.Errorf("parseMounts(%q): %+v", s, m)
			}
		}
		parseSubsystems(s)
	})
}
