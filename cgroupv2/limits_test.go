package cgroupv2

import (
	"math"
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	disk := func(l IOLimit) Limits {
		l.Major = 259
		return Limits{IO: []IOLimit{l}}
	}
	for _, c := range []struct {
		limits Limits
		want   []string // parts of the error; none for valid limits
	}{
		{Limits{}, nil},
		{Limits{CPUs: MinCPUs, CPUWeight: 1, MemoryBytes: MinMemoryBytes, Pids: 1}, nil},
		{Limits{CPUs: MaxCPUs, CPUWeight: MaxCPUWeight, MemoryBytes: MaxMemoryBytes, Pids: MaxPids}, nil},
		{disk(IOLimit{ReadBPS: math.MaxInt64, WriteBPS: 2, ReadIOPS: 2, WriteIOPS: maxIOPS}), nil},
		{Limits{CPUs: -1}, []string{"cpus", "-1"}},
		{Limits{CPUs: 0.009}, []string{"cpus", "0.009"}},
		{Limits{CPUs: 4097}, []string{"cpus", "4097"}},
		{Limits{CPUs: math.NaN()}, []string{"cpus", "NaN"}},
		{Limits{CPUs: math.Inf(1)}, []string{"cpus", "+Inf"}},
		{Limits{CPUWeight: -1}, []string{"cpu weight", "-1"}},
		{Limits{CPUWeight: 10001}, []string{"cpu weight", "10001"}},
		{Limits{MemoryBytes: -5}, []string{"memory", "-5"}},
		{Limits{MemoryBytes: 1<<20 - 1}, []string{"memory", "1048575"}},
		{Limits{MemoryBytes: math.MaxInt64}, []string{"memory", "9223372036854775807"}},
		{Limits{Pids: -1}, []string{"pids", "-1"}},
		{Limits{Pids: MaxPids + 1}, []string{"pids", "4194305"}},
		{disk(IOLimit{}), []string{"io", "259:0", "no rate"}},
		{disk(IOLimit{ReadBPS: -1}), []string{"io", "259:0", "rbps", "-1"}},
		{disk(IOLimit{WriteBPS: 1}), []string{"wbps: 1:"}},
		{disk(IOLimit{ReadIOPS: math.MaxUint32}), []string{"riops", "4294967295"}},
		{disk(IOLimit{WriteIOPS: -2}), []string{"wiops", "-2"}},
		{Limits{IO: []IOLimit{{Minor: 5, ReadBPS: 2}}}, []string{"io", "0:5", "not a disk"}},
		{Limits{IO: []IOLimit{{Major: 8, ReadBPS: 2}, {Major: 8, WriteBPS: 2}}}, []string{"io", "8:0", "twice"}},
	} {
		err := c.limits.Validate()
		if (err == nil) != (c.want == nil) {
			t.Errorf("%+v: %v", c.limits, err)
			continue
		}
		for _, part := range c.want {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%+v: %q lacks %q", c.limits, err, part)
			}
		}
	}
}

// FuzzLimits: limits that are valid are never written as none, and cpu.max keeps to the
// kernel's least quota.
func FuzzLimits(f *testing.F) {
	f.Add(0.5, 100, int64(64<<20), int64(64), int64(1<<20))
	f.Add(0.01, 1, int64(1<<20+1), int64(1), int64(2))
	f.Fuzz(func(t *testing.T, cpus float64, weight int, memory, pids, rate int64) {
		l := Limits{CPUs: cpus, CPUWeight: weight, MemoryBytes: memory, Pids: pids, IO: []IOLimit{{Major: 8, ReadBPS: rate}}}
		if l.Validate() != nil {
			return
		}
		if cpus != 0 {
			back, err := parseCPUMax(cpuMax(cpus))
			if err != nil || back < MinCPUs || math.Abs(back-cpus) > 0.5/cpuPeriod*1.001 {
				t.Errorf("cpus %v: %q: %v, %v", cpus, cpuMax(cpus), back, err)
			}
		}
		for _, s := range l.settings(4096) {
			wrote, err1 := parseSingle(s.value)
			want, err2 := parseSingle(s.want)
			if err1 != nil || err2 != nil || want > wrote || want == 0 && s.file != swapMax {
				t.Errorf("%+v: %+v is weaker than asked", l, s)
			}
		}
		if back, err := parseIOMax(l.IO[0].line()); err != nil || back[0] != l.IO[0] {
			t.Errorf("%+v: %q reads back as %+v, %v", l, l.IO[0].line(), back, err)
		}
	})
}

func TestMissingError(t *testing.T) {
	err := &MissingError{Root: "/r", Missing: []Missing{
		{CPU, "elsewhere", "move it"},
		{Memory, "not built into the kernel", ""},
		{IO, "elsewhere", "move it"},
	}}
	want := "open cgroup tree: /r: missing controllers: cpu io (elsewhere), memory (not built into the kernel); " +
		"to mend it, move it, or go without: -allow-missing-controllers"
	if got := err.Error(); got != want {
		t.Errorf("Error() = %q\nwant      %q", got, want)
	}
}
