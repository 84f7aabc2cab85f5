package cgroupv2_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unsafe"

	"jobworker/cgroupv2"
	"jobworker/internal/kerneltest"

	"golang.org/x/sys/unix"
)

// limit sets limits on a group, cpu.max included.
func limit(t *testing.T, g *cgroupv2.Group, l cgroupv2.Limits) {
	t.Helper()
	if err := g.SetLimits(l); err != nil {
		t.Fatal(err)
	}
	f, data, err := g.CPUMax(l)
	if err != nil {
		t.Fatal(err)
	}
	if f == nil {
		return
	}
	defer f.Close()
	if _, err := f.WriteString(data); err != nil {
		t.Fatal(err)
	}
}

func usage(t *testing.T, g *cgroupv2.Group) cgroupv2.Usage {
	t.Helper()
	u, err := g.Usage()
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// within fails the test unless got is within 10 % of want.
func within(t *testing.T, what string, got, want float64) {
	t.Helper()
	t.Logf("%s: %.4g, wanted %.4g", what, got, want)
	if got < 0.9*want || got > 1.1*want {
		t.Errorf("%s: %.4g is not within 10 %% of %.4g", what, got, want)
	}
}

// TestCPUMax: 0.2 CPUs are 0.2 CPUs by the kernel's own account.
func TestCPUMax(t *testing.T) {
	g := create(t, fullTree(t), "job")
	limit(t, g, cgroupv2.Limits{CPUs: 0.2})
	began := time.Now()
	inPayload(t, g, "spin", "5s").succeed(t)
	took := time.Since(began).Seconds()
	u := usage(t, g)
	within(t, "CPUs used", u.CPUSeconds/took, 0.2)
	if u.ThrottledSeconds == nil || *u.ThrottledSeconds < 1 {
		t.Errorf("ThrottledSeconds = %v, want more than 1", u.ThrottledSeconds)
	}
}

// TestMemoryMax: too much memory ends the whole payload, children too, is counted, and
// leaves the sibling alone.
func TestMemoryMax(t *testing.T) {
	tree := fullTree(t)
	g, sibling := create(t, tree, "job"), create(t, tree, "sibling")
	const max = 48 << 20
	limit(t, g, cgroupv2.Limits{MemoryBytes: max})
	limit(t, sibling, cgroupv2.Limits{MemoryBytes: max})
	bystander := inPayload(t, sibling, "wait")
	bystander.lines.next()

	p := inPayload(t, g, "hog")
	if got := p.lines.next(); got != "hogging" {
		t.Fatalf("helper says %q", got)
	}
	wantKilled(t, p)
	if err := g.WaitEmpty(t.Context()); err != nil {
		t.Fatal(err)
	}
	u := usage(t, g)
	t.Logf("oom_kills %d, peak %d of %d bytes", *u.OOMKills, *u.MemoryPeakBytes, max)
	if n := *u.OOMKills; n < 2 { // hog and its child, and see the comment at Usage
		t.Errorf("OOMKills = %d, want 2 or more", n)
	}
	if peak := *u.MemoryPeakBytes; peak > max || peak < max*9/10 {
		t.Errorf("MemoryPeakBytes = %d, want just below %d", peak, max)
	}
	if err := bystander.Process.Signal(unix.Signal(0)); err != nil || len(pids(t, sibling.Path()+"/payload")) != 1 {
		t.Errorf("the sibling's process is gone: %v", err)
	}
	if n := *usage(t, sibling).OOMKills; n != 0 {
		t.Errorf("OOMKills of the sibling = %d", n)
	}
}

// TestPidsMax: a fork bomb ends at its limit, and that is counted.
func TestPidsMax(t *testing.T) {
	g := create(t, fullTree(t), "job")
	const max = 40
	limit(t, g, cgroupv2.Limits{Pids: max})
	p := inPayload(t, g, "fork")
	if got := p.lines.next(); !strings.Contains(got, "resource temporarily unavailable") {
		t.Fatalf("helper says %q", got)
	}
	u := usage(t, g)
	t.Logf("pids %d of %d, denied %d", *u.Pids, max, *u.PidsDenied)
	if *u.Pids > max || *u.Pids < 2 || *u.PidsDenied < 1 {
		t.Errorf("Pids = %d, PidsDenied = %d, want at most %d and at least 1", *u.Pids, *u.PidsDenied, max)
	}
}

// TestIOMax: 1 MiB/s of direct I/O is 1 MiB/s, each way, and is counted.
func TestIOMax(t *testing.T) {
	tree := fullTree(t)
	dir := kerneltest.Disk(t)
	major, minor, err := cgroupv2.DiskOf(dir)
	if err != nil {
		t.Fatal(err)
	}
	const rate, pieces, size = 1 << 20, 48, 48 * 64 << 10
	file := filepath.Join(dir, "file")
	for _, c := range []struct {
		helper string
		limit  cgroupv2.IOLimit
	}{
		{"write", cgroupv2.IOLimit{WriteBPS: rate}},
		{"read", cgroupv2.IOLimit{ReadBPS: rate}},
	} {
		t.Run(c.helper, func(t *testing.T) {
			g := create(t, tree, c.helper)
			c.limit.Major, c.limit.Minor = major, minor
			limit(t, g, cgroupv2.Limits{IO: []cgroupv2.IOLimit{c.limit}})
			within(t, "bytes per second", size/transfer(t, g, c.helper, file, pieces), rate)
			u := usage(t, g)
			if u.IO == nil {
				t.Fatal("no usage of io")
			}
			t.Logf("%+v", *u.IO)
			bytes, ops := u.IO.WriteBytes, u.IO.WriteOps
			if c.helper == "read" {
				bytes, ops = u.IO.ReadBytes, u.IO.ReadOps
			}
			if bytes < size || bytes > size*11/10 || ops < pieces {
				t.Errorf("%d bytes in %d operations, want %d in %d", bytes, ops, size, pieces)
			}
		})
	}
}

// TestIOPS: operations are limited too.
func TestIOPS(t *testing.T) {
	tree := fullTree(t)
	dir := kerneltest.Disk(t)
	major, minor, err := cgroupv2.DiskOf(dir)
	if err != nil {
		t.Fatal(err)
	}
	g := create(t, tree, "job")
	limit(t, g, cgroupv2.Limits{IO: []cgroupv2.IOLimit{{Major: major, Minor: minor, WriteIOPS: 20}}})
	within(t, "operations per second", 60/transfer(t, g, "write", filepath.Join(dir, "file"), 60), 20)
}

// transfer has a helper in the payload do direct I/O, and returns how many seconds it took.
func transfer(t *testing.T, g *cgroupv2.Group, helper, file string, pieces int) float64 {
	t.Helper()
	p := inPayload(t, g, helper, file, fmt.Sprint(pieces))
	took, err := time.ParseDuration(p.lines.next())
	if err != nil {
		t.Fatal(err)
	}
	p.succeed(t)
	return took.Seconds()
}

func TestLimitsReadBack(t *testing.T) {
	tree := fullTree(t)
	major, minor, err := cgroupv2.DiskOf(kerneltest.Disk(t))
	if err != nil {
		t.Fatal(err)
	}
	io := func(l cgroupv2.IOLimit) []cgroupv2.IOLimit {
		l.Major, l.Minor = major, minor
		return []cgroupv2.IOLimit{l}
	}
	for i, c := range []struct{ set, want cgroupv2.Limits }{
		{cgroupv2.Limits{}, cgroupv2.Limits{CPUWeight: 100}},
		{cgroupv2.Limits{CPUs: 0.01, CPUWeight: 1, MemoryBytes: 1 << 20, Pids: 1}, cgroupv2.Limits{CPUs: 0.01, CPUWeight: 1, MemoryBytes: 1 << 20, Pids: 1}},
		{cgroupv2.Limits{CPUs: 4096, CPUWeight: 10000, MemoryBytes: 1 << 60, Pids: 4 << 20}, cgroupv2.Limits{CPUs: 4096, CPUWeight: 10000, MemoryBytes: 1 << 60, Pids: 4 << 20}},
		{cgroupv2.Limits{MemoryBytes: 2<<20 + 1}, cgroupv2.Limits{CPUWeight: 100, MemoryBytes: 2 << 20}},
		{cgroupv2.Limits{CPUs: 1.23456}, cgroupv2.Limits{CPUs: 1.23456, CPUWeight: 100}},
		{cgroupv2.Limits{IO: io(cgroupv2.IOLimit{ReadBPS: 2, WriteIOPS: 1<<32 - 2})}, cgroupv2.Limits{CPUWeight: 100, IO: io(cgroupv2.IOLimit{ReadBPS: 2, WriteIOPS: 1<<32 - 2})}},
		{cgroupv2.Limits{IO: io(cgroupv2.IOLimit{ReadBPS: 1<<63 - 1, WriteBPS: 2, ReadIOPS: 3, WriteIOPS: 4})}, cgroupv2.Limits{CPUWeight: 100, IO: io(cgroupv2.IOLimit{ReadBPS: 1<<63 - 1, WriteBPS: 2, ReadIOPS: 3, WriteIOPS: 4})}},
	} {
		g := create(t, tree, fmt.Sprint("job", i))
		limit(t, g, c.set)
		if got, err := g.Limits(); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("set %+v: kernel has %+v, %v, want %+v", c.set, got, err, c.want)
		}
	}
}

// TestWeights: every weight reads back as it was written, through the kernel's own scale.
func TestWeights(t *testing.T) {
	g := create(t, fullTree(t), "job")
	for w := 1; w <= 10000; w = w*5/4 + 1 {
		if err := g.SetLimits(cgroupv2.Limits{CPUWeight: w}); err != nil {
			t.Error(err)
		}
	}
}

// TestNoSwap: a limited payload cannot swap, and is killed as a whole.
func TestNoSwap(t *testing.T) {
	g := create(t, fullTree(t), "job")
	limit(t, g, cgroupv2.Limits{MemoryBytes: 32 << 20})
	for name, want := range map[string]string{"memory.swap.max": "0\n", "memory.oom.group": "1\n"} {
		if b, err := os.ReadFile(filepath.Join(g.Path(), "payload", name)); err != nil || string(b) != want {
			t.Errorf("%s = %q, %v, want %q", name, b, err, want)
		}
	}
}

func TestLimitsRefused(t *testing.T) {
	g := create(t, fullTree(t), "job")
	err := g.SetLimits(cgroupv2.Limits{IO: []cgroupv2.IOLimit{{Major: 259, Minor: 999, ReadBPS: 2}}})
	var refused *cgroupv2.LimitError
	if !errors.As(err, &refused) || !errors.Is(err, unix.ENODEV) || refused.Controller != cgroupv2.IO || refused.File != "io.max" {
		t.Errorf("no such disk: %v", err)
	}
	if err := g.SetLimits(cgroupv2.Limits{CPUWeight: 50, Pids: -1}); err == nil {
		t.Error("pids -1: no error")
	}
	if l, err := g.Limits(); err != nil || !reflect.DeepEqual(l, cgroupv2.Limits{CPUWeight: 100}) {
		t.Errorf("after refused limits the kernel has %+v, %v", l, err)
	}
}

// TestNamespaceDelegation: on a mount with nsdelegate a payload in a cgroup namespace of its
// own cannot lift its limits, not even as root.
func TestNamespaceDelegation(t *testing.T) {
	g := create(t, fullTree(t), "job")
	limit(t, g, cgroupv2.Limits{Pids: 50})
	p := inPayload(t, g, "escape", filepath.Join(g.Path(), "payload/pids.max"))
	for _, want := range []string{"0::/ <nil>", "operation not permitted"} {
		if got := p.lines.next(); got != want {
			t.Errorf("helper says %q, want %q", got, want)
		}
	}
	p.succeed(t)
	if l, err := g.Limits(); err != nil || l.Pids != 50 {
		t.Errorf("limits are %+v, %v", l, err)
	}
}

// TestUsage holds what a job is said to have used against what it did.
func TestUsage(t *testing.T) {
	g := create(t, fullTree(t), "job")
	first := inPayload(t, g, "wait")
	first.lines.next()
	inPayload(t, g, "spin", "300ms").succeed(t)
	u := usage(t, g)
	b, err := json.Marshal(u)
	t.Logf("%s, %v", b, err)
	if u.CPUSeconds < 0.15 || u.CPUSeconds > 5 || u.CPUUserSeconds <= 0 || u.CPUUserSeconds+u.CPUSystemSeconds > 1.01*u.CPUSeconds {
		t.Errorf("CPU: %v = %v + %v s, want about 0.3", u.CPUSeconds, u.CPUUserSeconds, u.CPUSystemSeconds)
	}
	if *u.MemoryBytes < 64<<10 || *u.MemoryPeakBytes < *u.MemoryBytes || *u.MemoryPeakBytes > 1<<30 {
		t.Errorf("memory: %d, peak %d", *u.MemoryBytes, *u.MemoryPeakBytes)
	}
	if *u.Pids < 1 || *u.Pids > 20 || *u.PidsDenied != 0 || *u.OOMKills != 0 || *u.ThrottledSeconds != 0 {
		t.Errorf("pids %d, denied %d, oom kills %d, throttled %v", *u.Pids, *u.PidsDenied, *u.OOMKills, *u.ThrottledSeconds)
	}
	if p := u.Pressure; p == nil || p.CPU == nil || p.Memory == nil || p.IO == nil || p.CPU.TotalSeconds < 0 {
		t.Errorf("pressure: %+v", p)
	}
}

// TestDiskOf: a partition's limit is that of its disk, and what has no disk is refused.
func TestDiskOf(t *testing.T) {
	tree := fullTree(t)
	dir := kerneltest.Disk(t)
	major, minor, err := cgroupv2.DiskOf(dir)
	b, readErr := os.ReadFile("/sys/class/block/nvme0n1/dev")
	if got, want := fmt.Sprintf("%d:%d\n", major, minor), string(b); err != nil || readErr != nil || got != want {
		t.Fatalf("DiskOf(%s) = %s, %v, want %s, %v", dir, got, err, want, readErr)
	}
	for path, want := range map[string]string{"/dev/shm": "tmpfs", "/proc": "proc", dir + "/none": "no such file"} {
		if a, b, err := cgroupv2.DiskOf(path); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("DiskOf(%s) = %d:%d, %v, want %q refused", path, a, b, err, want)
		}
	}

	partMajor, partMinor := addPartition(t)
	if a, b, err := cgroupv2.Disk(partMajor, partMinor); err != nil || a != major || b != minor {
		t.Errorf("Disk(%d, %d) = %d:%d, %v, want %d:%d", partMajor, partMinor, a, b, err, major, minor)
	}
	g := create(t, tree, "job")
	err = g.SetLimits(cgroupv2.Limits{IO: []cgroupv2.IOLimit{{Major: partMajor, Minor: partMinor, ReadBPS: 2}}})
	if !errors.Is(err, unix.ENODEV) || !strings.Contains(err.Error(), "whole disk") {
		t.Errorf("limit of a partition: %v, want ENODEV", err)
	}
}

// addPartition tells the kernel of a partition on the NVMe disk, without writing to it, and
// returns its device number (BLKPG, include/uapi/linux/blkpg.h).
func addPartition(t *testing.T) (major, minor uint32) {
	t.Helper()
	disk, err := os.Open("/dev/nvme0n1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { disk.Close() })
	type partition struct {
		start, length int64
		number        int32
		_             [64 + 64]byte
	}
	blkpg := func(op int32) error {
		p := partition{start: 1 << 20, length: 1 << 20, number: 1}
		arg := struct {
			op, flags, size int32
			data            unsafe.Pointer
		}{op: op, size: int32(unsafe.Sizeof(p)), data: unsafe.Pointer(&p)}
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, disk.Fd(), unix.BLKPG, uintptr(unsafe.Pointer(&arg)))
		if errno != 0 {
			return errno
		}
		return nil
	}
	const add, remove = 1, 2
	if err := blkpg(add); err != nil {
		t.Fatalf("add partition: %v", err)
	}
	t.Cleanup(func() {
		if err := blkpg(remove); err != nil {
			t.Errorf("remove partition: %v", err)
		}
	})
	b, err := os.ReadFile("/sys/class/block/nvme0n1p1/dev")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(string(b), "%d:%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	return major, minor
}
