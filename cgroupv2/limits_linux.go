package cgroupv2

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// SetLimits validates the limits and puts them in force, all but CPUs: cpu.max would slow
// the start of the job's own PID 1, see [Group.CPUMax]. What was written is read back. The
// error is a *LimitError for a limit that is not in force, which includes every one,
// CPUs too, whose controller is missing. Limits set before it stay set.
func (g *Group) SetLimits(l Limits) error {
	if err := l.Validate(); err != nil {
		return fmt.Errorf("set limits: %w", err)
	}
	if err := g.tree.refuse(l); err != nil {
		return fmt.Errorf("set limits: %w", err)
	}
	for _, s := range l.settings(int64(os.Getpagesize())) {
		if err := g.set(s); err != nil {
			return fmt.Errorf("set limits: %w", err)
		}
	}
	for _, d := range l.IO {
		if err := g.setIO(d); err != nil {
			return fmt.Errorf("set limits: %w", err)
		}
	}
	return nil
}

// refuse returns an error for the first limit whose controller is missing.
func (t *Tree) refuse(l Limits) error {
	var wanted []setting
	if l.CPUs != 0 {
		wanted = append(wanted, setting{CPU, "cpu.max", cpuMax(l.CPUs), ""})
	}
	wanted = append(wanted, l.settings(1)...)
	for _, d := range l.IO {
		wanted = append(wanted, setting{IO, "io.max", d.line(), ""})
	}
	for _, s := range wanted {
		if reason := t.reason(s.controller); reason != "" {
			return s.failed("the "+string(s.controller)+" controller is missing: "+reason, nil)
		}
	}
	return nil
}

// failed returns the error for a setting.
func (s setting) failed(reason string, err error) error {
	return &LimitError{s.controller, path.Base(s.file), s.value, reason, err}
}

// set writes one limit and reads it back.
func (g *Group) set(s setting) error {
	got, err := exchange(g.tree.jobs, g.file(s.file), s.value)
	if errors.Is(err, unix.ENOENT) && s.file == swapMax && withoutSwap() {
		return nil
	}
	if err != nil {
		return s.failed(err.Error(), err)
	}
	if got = strings.TrimSuffix(got, "\n"); got != s.want {
		return s.failed(fmt.Sprintf("wanted %q, got %q", s.want, got), nil)
	}
	return nil
}

// withoutSwap says whether this kernel cannot swap at all, and so has no memory.swap.max.
func withoutSwap() bool {
	return errors.Is(unix.Access("/proc/swaps", unix.F_OK), unix.ENOENT)
}

// setIO writes the limit of one disk to io.max and looks for it in what reads back.
func (g *Group) setIO(d IOLimit) error {
	s := setting{IO, "io.max", d.line(), ""}
	got, err := exchange(g.tree.jobs, g.file(s.file), s.value)
	if errors.Is(err, unix.ENODEV) {
		return s.failed("device "+d.device()+": no such whole disk: "+err.Error(), err)
	}
	if err != nil {
		return s.failed(err.Error(), err)
	}
	all, err := parseIOMax(got)
	if err != nil {
		return s.failed(err.Error(), err)
	}
	for _, in := range all {
		if in == d {
			return nil
		}
	}
	return s.failed(fmt.Sprintf("wanted %q, got %q", s.value, got), nil)
}

// CPUMax opens cpu.max for whoever starts the payload, and returns what to write to it, in
// one write, when the payload is about to be started. The caller owns the file, which is
// open for reading too. Without a limit of CPUs it returns nil, "" and nil.
func (g *Group) CPUMax(l Limits) (f *os.File, data string, err error) {
	if l.CPUs == 0 {
		return nil, "", nil
	}
	l = Limits{CPUs: l.CPUs}
	if err := errors.Join(l.Validate(), g.tree.refuse(l)); err != nil {
		return nil, "", fmt.Errorf("set limits: %w", err)
	}
	name := path.Join(g.Path(), "cpu.max")
	fd, err := openAt(g.tree.jobs, g.file("cpu.max"), unix.O_RDWR)
	if err != nil {
		return nil, "", failure("open", name, err)
	}
	return os.NewFile(uintptr(fd), name), cpuMax(l.CPUs), nil
}

// Limits returns the limits as the kernel has them, cpu.max included. Where the controller
// is there, CPUWeight is always in force (100 unless set).
func (g *Group) Limits() (l Limits, err error) {
	for _, f := range []struct {
		controller Controller
		name       string
		parse      func(string) error
	}{
		{CPU, "cpu.max", into(&l.CPUs, parseCPUMax)},
		{CPU, "cpu.weight", into(&l.CPUWeight, parseWeight)},
		{Memory, "payload/memory.max", into(&l.MemoryBytes, parseMax)},
		{Pids, "payload/pids.max", into(&l.Pids, parseMax)},
		{IO, "io.max", into(&l.IO, parseIOMax)},
	} {
		if !g.tree.Has(f.controller) {
			continue
		}
		if err := g.read(f.name, f.parse); err != nil {
			return Limits{}, err
		}
	}
	return l, nil
}

// into returns a function that parses a file into *p.
func into[T any](p *T, parse func(string) (T, error)) func(string) error {
	return func(s string) (err error) {
		*p, err = parse(s)
		return err
	}
}

// read reads and parses a file of the job.
func (g *Group) read(name string, parse func(string) error) error {
	s, err := readAt(g.tree.jobs, g.file(name))
	if err == nil {
		err = parse(s)
	}
	if err != nil {
		return failure("read", path.Join(g.Path(), name), err)
	}
	return nil
}
