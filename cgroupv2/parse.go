package cgroupv2

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

var errFormat = errors.New("not in the format of the kernel")

// parseKeyed parses a flat keyed file (cgroup.events, cpu.stat, memory.events,
// pids.events): lines of a name, a space and a number.
func parseKeyed(s string) (map[string]int64, error) {
	m := make(map[string]int64)
	for line := range strings.Lines(s) {
		k, v, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		n, err := parseNumber(v)
		if !ok || k == "" || err != nil {
			return nil, fmt.Errorf("line %q: %w", line, errFormat)
		}
		m[k] = n
	}
	return m, nil
}

// parseNumber parses digits; a sign or anything else is an error.
func parseNumber(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	return int64(n), err
}

// parseSingle parses a file of one number, with its newline (memory.current).
func parseSingle(s string) (int64, error) {
	n, err := parseNumber(strings.TrimSuffix(s, "\n"))
	if err != nil {
		return 0, fmt.Errorf("%q: %w", s, errFormat)
	}
	return n, nil
}

// key returns a parser of one number in a flat keyed file.
func key(name string) func(string) (int64, error) {
	return func(s string) (int64, error) {
		m, err := parseKeyed(s)
		if err != nil {
			return 0, err
		}
		n, ok := m[name]
		if !ok {
			return 0, fmt.Errorf("no %s: %w", name, errFormat)
		}
		return n, nil
	}
}

// parseMax parses a number or "max", which is no limit and gives 0.
func parseMax(s string) (int64, error) {
	if strings.TrimSuffix(s, "\n") == "max" {
		return 0, nil
	}
	return parseSingle(s)
}

// parseWeight parses cpu.weight.
func parseWeight(s string) (int, error) {
	n, err := parseSingle(s)
	return int(n), err
}

// parseCPUMax parses cpu.max: "20000 100000" is 0.2 CPUs, "max 100000" gives 0.
func parseCPUMax(s string) (float64, error) {
	q, p, _ := strings.Cut(s, " ")
	quota, err1 := parseMax(q)
	period, err2 := parseSingle(p)
	if err1 != nil || err2 != nil || period == 0 {
		return 0, fmt.Errorf("%q: %w", s, errFormat)
	}
	return float64(quota) / float64(period), nil
}

// parseCPU parses cpu.stat: usage is there always, throttling only with the controller.
func (u *Usage) parseCPU(s string) error {
	m, err := parseKeyed(s)
	if err != nil {
		return err
	}
	for k, p := range map[string]*float64{
		"usage_usec":  &u.CPUSeconds,
		"user_usec":   &u.CPUUserSeconds,
		"system_usec": &u.CPUSystemSeconds,
	} {
		n, ok := m[k]
		if !ok {
			return errFormat
		}
		*p = seconds(n)
	}
	if n, ok := m["throttled_usec"]; ok {
		v := seconds(n)
		u.ThrottledSeconds = &v
	}
	return nil
}

// parseDevice parses a device number: "259:0".
func parseDevice(s string) (major, minor uint32, err error) {
	a, b, _ := strings.Cut(s, ":")
	x, err1 := strconv.ParseUint(a, 10, 32)
	y, err2 := strconv.ParseUint(b, 10, 32)
	if err1 != nil || err2 != nil {
		return 0, 0, fmt.Errorf("device %q: %w", s, errFormat)
	}
	return uint32(x), uint32(y), nil
}

// parseIOMax parses io.max: "259:0 rbps=1048576 wbps=max riops=max wiops=max". A key
// that is not there, and "max", are no limit; a device without limits has no line.
func parseIOMax(s string) ([]IOLimit, error) {
	var limits []IOLimit
	for line := range strings.Lines(s) {
		d, err := parseIOMaxLine(line)
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", line, err)
		}
		limits = append(limits, d)
	}
	return limits, nil
}

func parseIOMaxLine(line string) (d IOLimit, err error) {
	fields := strings.Fields(line)
	if len(fields) == 0 {
		return d, errFormat
	}
	if d.Major, d.Minor, err = parseDevice(fields[0]); err != nil {
		return d, err
	}
	into := map[string]*int64{"rbps": &d.ReadBPS, "wbps": &d.WriteBPS, "riops": &d.ReadIOPS, "wiops": &d.WriteIOPS}
	for _, f := range fields[1:] {
		k, v, _ := strings.Cut(f, "=")
		p, known := into[k]
		if !known {
			return d, errFormat
		}
		if *p, err = parseMax(v); err != nil {
			return d, err
		}
	}
	return d, nil
}

// parseIOStat sums io.stat over its devices: "259:0 rbytes=1 wbytes=2 rios=3 wios=4 …".
// Other keys are skipped: which there are depends on the kernel's I/O policies.
func parseIOStat(s string) (u IOUsage, err error) {
	into := map[string]*int64{"rbytes": &u.ReadBytes, "wbytes": &u.WriteBytes, "rios": &u.ReadOps, "wios": &u.WriteOps}
	for line := range strings.Lines(s) {
		for i, f := range strings.Fields(line) {
			if i == 0 {
				if _, _, err := parseDevice(f); err != nil {
					return IOUsage{}, err
				}
				continue
			}
			k, v, _ := strings.Cut(f, "=")
			p, known := into[k]
			if !known {
				continue
			}
			n, err := parseNumber(v)
			if err != nil {
				return IOUsage{}, fmt.Errorf("line %q: %w", line, errFormat)
			}
			*p += n
		}
	}
	return u, nil
}

// parsePressure parses the first line of a pressure file:
// "some avg10=0.12 avg60=0.40 avg300=0.30 total=5554572", the total in microseconds.
func parsePressure(s string) (Stall, error) {
	line, _, _ := strings.Cut(s, "\n")
	f := strings.Fields(line)
	if len(f) != 5 || f[0] != "some" {
		return Stall{}, fmt.Errorf("line %q: %w", line, errFormat)
	}
	avg, ok1 := strings.CutPrefix(f[1], "avg10=")
	total, ok2 := strings.CutPrefix(f[4], "total=")
	a, err1 := strconv.ParseFloat(avg, 64)
	t, err2 := parseNumber(total)
	if !ok1 || !ok2 || err1 != nil || err2 != nil || !(a >= 0 && a <= 100) {
		return Stall{}, fmt.Errorf("line %q: %w", line, errFormat)
	}
	return Stall{Avg10: a, TotalSeconds: seconds(t)}, nil
}

// seconds converts the kernel's microseconds.
func seconds(usec int64) float64 { return float64(usec) / 1e6 }
