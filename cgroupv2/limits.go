package cgroupv2

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// The bounds of [Limits]. They are the kernel's own, except for those that say so.
const (
	// cpuPeriod is the kernel's default period of cpu.max, in microseconds.
	cpuPeriod = 100_000

	// MinCPUs is 1 ms, the smallest quota of cpu.max (kernel/sched/core.c,
	// min_bw_quota_period_us), in the default period of 100 ms.
	MinCPUs = 0.01

	// MaxCPUs is our own bound: no machine of Linux has more (NR_CPUS is at most 8192).
	MaxCPUs = 4096

	// MaxCPUWeight is CGROUP_WEIGHT_MAX (include/linux/cgroup.h); the least is 1.
	MaxCPUWeight = 10_000

	// MinMemoryBytes is our own bound: less cannot hold one small program.
	MinMemoryBytes = 1 << 20

	// MaxMemoryBytes is our own bound. Near 2^63 the kernel takes a limit for "max".
	MaxMemoryBytes = 1 << 60

	// MaxPids is PID_MAX_LIMIT on 64-bit machines (include/linux/threads.h);
	// pids.max refuses more (kernel/cgroup/pids.c).
	MaxPids = 4 << 20

	// minRate is the lowest rate of io.max (block/blk-throttle.c, tg_set_limit).
	minRate = 2

	// maxIOPS is the highest limit of operations that is not "max": the kernel keeps
	// them in 32 bits and cuts more down to "max" (block/blk-throttle.c).
	maxIOPS = math.MaxUint32 - 1
)

// Limits are the limits of one job. A zero field is no limit.
type Limits struct {
	CPUs        float64   // CPU time per time, in CPUs: 0.5 is half of one (cpu.max)
	CPUWeight   int       // share of the CPU among siblings, 1 to 10000; the kernel's default is 100 (cpu.weight)
	MemoryBytes int64     // memory of the payload, page cache included, without swap (memory.max)
	Pids        int64     // processes and threads of the payload (pids.max)
	IO          []IOLimit // one for each disk (io.max)
}

// IOLimit limits what a job may do on one whole disk. A zero rate is no limit.
type IOLimit struct {
	Major, Minor        uint32 // device number of the whole disk, see [Disk]
	ReadBPS, WriteBPS   int64  // bytes per second
	ReadIOPS, WriteIOPS int64  // operations per second
}

// Validate returns an error that names the first limit, and its value, which no
// kernel would take or which would limit nothing.
func (l Limits) Validate() error {
	switch {
	case l.CPUs != 0 && !(l.CPUs >= MinCPUs && l.CPUs <= MaxCPUs): // also refuses NaN
		return fmt.Errorf("cpus: %v: must be from %v to %v", l.CPUs, MinCPUs, MaxCPUs)
	case l.CPUWeight < 0 || l.CPUWeight > MaxCPUWeight:
		return fmt.Errorf("cpu weight: %d: must be from 1 to %d", l.CPUWeight, MaxCPUWeight)
	case l.MemoryBytes != 0 && (l.MemoryBytes < MinMemoryBytes || l.MemoryBytes > MaxMemoryBytes):
		return fmt.Errorf("memory: %d bytes: must be from %d to %d", l.MemoryBytes, MinMemoryBytes, int64(MaxMemoryBytes))
	case l.Pids < 0 || l.Pids > MaxPids:
		return fmt.Errorf("pids: %d: must be from 1 to %d", l.Pids, MaxPids)
	}
	for i, d := range l.IO {
		if err := d.validate(l.IO[:i]); err != nil {
			return fmt.Errorf("io: device %s: %w", d.device(), err)
		}
	}
	return nil
}

// validate checks one limit; earlier are those of the same job before it.
func (d IOLimit) validate(earlier []IOLimit) error {
	if d.Major == 0 {
		return fmt.Errorf("not a disk: major number 0 is that of file systems without one")
	}
	for _, e := range earlier {
		if e.Major == d.Major && e.Minor == d.Minor {
			return fmt.Errorf("limited twice")
		}
	}
	none := true
	for _, r := range d.rates() {
		if r.value != 0 && (r.value < minRate || r.value > r.max) {
			return fmt.Errorf("%s: %d: must be from %d to %d", r.key, r.value, minRate, r.max)
		}
		none = none && r.value == 0
	}
	if none {
		return fmt.Errorf("no rate given")
	}
	return nil
}

// rate is one key of a line of io.max.
type rate struct {
	key        string
	value, max int64
}

// rates returns the four rates under the kernel's names and in its order.
func (d IOLimit) rates() [4]rate {
	return [4]rate{
		{"rbps", d.ReadBPS, math.MaxInt64},
		{"wbps", d.WriteBPS, math.MaxInt64},
		{"riops", d.ReadIOPS, maxIOPS},
		{"wiops", d.WriteIOPS, maxIOPS},
	}
}

func (d IOLimit) device() string { return fmt.Sprintf("%d:%d", d.Major, d.Minor) }

// line returns the limit as io.max takes it: "259:0 rbps=1048576 wbps=max …".
func (d IOLimit) line() string {
	var b strings.Builder
	b.WriteString(d.device())
	for _, r := range d.rates() {
		b.WriteString(" " + r.key + "=")
		if r.value == 0 {
			b.WriteString("max")
		} else {
			b.WriteString(strconv.FormatInt(r.value, 10))
		}
	}
	return b.String()
}

// cpuMax returns the limit as cpu.max takes it: "20000 100000".
func cpuMax(cpus float64) string {
	return fmt.Sprintf("%d %d", int64(math.Round(cpus*cpuPeriod)), cpuPeriod)
}

// setting is one limit as it is written to a file of the payload or of the job.
type setting struct {
	controller Controller
	file       string // relative to the job's cgroup
	value      string // what is written
	want       string // what must read back
}

const swapMax = "payload/memory.swap.max"

// settings returns what puts the limits of cpu.weight, memory and pids in force, for
// a machine with the given page size. Swap is off for a limited job, since memory.max
// without it would only make the job swap, and an OOM kill takes the whole payload
// (memory.oom.group), never a part of it.
func (l Limits) settings(pageSize int64) []setting {
	var s []setting
	if l.CPUWeight != 0 {
		v := strconv.Itoa(l.CPUWeight)
		s = append(s, setting{CPU, "cpu.weight", v, v})
	}
	if l.MemoryBytes != 0 {
		// Rounded down to pages: mm/page_counter.c, page_counter_memparse.
		rounded := l.MemoryBytes - l.MemoryBytes%pageSize
		s = append(s,
			setting{Memory, swapMax, "0", "0"},
			setting{Memory, "payload/memory.oom.group", "1", "1"},
			setting{Memory, "payload/memory.max", strconv.FormatInt(l.MemoryBytes, 10), strconv.FormatInt(rounded, 10)})
	}
	if l.Pids != 0 {
		v := strconv.FormatInt(l.Pids, 10)
		s = append(s, setting{Pids, "payload/pids.max", v, v})
	}
	return s
}
