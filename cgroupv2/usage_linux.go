package cgroupv2

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Usage reads what the job has used. A number that cannot be read is an error; one that is
// not offered is nil in the result. A group that is gone is fs.ErrNotExist.
func (g *Group) Usage() (Usage, error) {
	var u Usage
	if err := g.read("cpu.stat", u.parseCPU); err != nil {
		return Usage{}, err
	}
	var stall [3]*Stall
	for _, f := range []struct {
		name  string
		parse func(string) error
	}{
		{"payload/memory.current", ptr(&u.MemoryBytes, parseSingle)},
		{"payload/memory.peak", ptr(&u.MemoryPeakBytes, parseSingle)},
		{"payload/memory.events", ptr(&u.OOMKills, key("oom_kill"))},
		{"payload/pids.current", ptr(&u.Pids, parseSingle)},
		{"payload/pids.events", ptr(&u.PidsDenied, key("max"))},
		{"io.stat", ptr(&u.IO, parseIOStat)},
		{"cpu.pressure", ptr(&stall[0], parsePressure)},
		{"memory.pressure", ptr(&stall[1], parsePressure)},
		{"io.pressure", ptr(&stall[2], parsePressure)},
	} {
		if err := g.read(f.name, f.parse); err != nil && !notOffered(err) {
			return Usage{}, err
		}
	}
	if stall != [3]*Stall{} {
		u.Pressure = &Pressure{CPU: stall[0], Memory: stall[1], IO: stall[2]}
	}
	return u, nil
}

// notOffered says whether a file is absent because of the kernel or a missing controller.
// Pressure files give EOPNOTSUPP where PSI was built but not enabled (kernel/sched/psi.c).
func notOffered(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP)
}

// ptr returns a function that parses a file into a new value at *p.
func ptr[T any](p **T, parse func(string) (T, error)) func(string) error {
	return func(s string) error {
		v, err := parse(s)
		if err == nil {
			*p = &v
		}
		return err
	}
}
