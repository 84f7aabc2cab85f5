package job

import (
	"fmt"
	"math"
	"time"
)

// A Quota is the most that one owner may have of a worker; a field that is zero
// bounds nothing. It is also what an owner has: see Worker.Used.
//
// A job counts with its limits, as they are in force. One without a limit of CPUs is
// given one where there is a quota on them: a single CPU, or what the quota says if
// that is less. One that was started before there was a quota counts with all CPUs of
// the machine.
type Quota struct {
	Jobs            int64   `json:"jobs"`              // jobs that have not ended
	CPUs            float64 `json:"cpus"`              // sum of their CPU limits
	MemoryBytes     int64   `json:"memory_bytes"`      // sum of their memory limits
	Pids            int64   `json:"pids"`              // sum of their limits on processes
	KeptJobs        int64   `json:"kept_jobs"`         // jobs that have not been removed, ended ones too
	SpecBytes       int64   `json:"spec_bytes"`        // what the specs of these take in memory
	OutputBytes     int64   `json:"output_bytes"`      // what their output takes on the disk; of one that has not ended, its limit
	StartsPerMinute int64   `json:"starts_per_minute"` // starts, also those that fail; in use: those of the minute before, evenly forgotten
}

// A QuotaError is a start that would take its owner over one bound of
// StartOptions.Quota. Nothing of the job is left.
type QuotaError struct {
	Bound string  // as it is called in JSON: "memory_bytes"
	Limit float64 // the bound
	Used  float64 // of it, by the owner's other jobs
	Asked float64 // by this one

	// Retry is when the next start can be admitted, if only the rate of starts is
	// in the way. Otherwise 0: that depends on when others end, or are removed.
	Retry time.Duration
}

// Error names the bound and the three amounts.
func (e *QuotaError) Error() string {
	return fmt.Sprintf("quota on %s: %s asked for, %s of %s in use", e.Bound, formatNumber(e.Asked), formatNumber(e.Used), formatNumber(e.Limit))
}

// quotaBounds are the bounds that are sums over an owner's jobs.
var quotaBounds = []struct {
	name string
	of   func(Quota) float64
}{
	{"jobs", func(q Quota) float64 { return float64(q.Jobs) }},
	{"cpus", func(q Quota) float64 { return q.CPUs }},
	{"memory_bytes", func(q Quota) float64 { return float64(q.MemoryBytes) }},
	{"pids", func(q Quota) float64 { return float64(q.Pids) }},
	{"kept_jobs", func(q Quota) float64 { return float64(q.KeptJobs) }},
	{"spec_bytes", func(q Quota) float64 { return float64(q.SpecBytes) }},
	{"output_bytes", func(q Quota) float64 { return float64(q.OutputBytes) }},
}

// check returns a *QuotaError when used and asked together are more than q.
func (q Quota) check(used, asked Quota) error {
	sum := used.plus(asked, 1)
	for _, b := range quotaBounds {
		if limit := b.of(q); limit > 0 && b.of(sum) > limit {
			return &QuotaError{Bound: b.name, Limit: limit, Used: b.of(used), Asked: b.of(asked)}
		}
	}
	return nil
}

// plus adds n times o. CPUs are hundred-thousandths, as in cpu.max, so that rounding
// keeps a sum exact, however often something was added and taken away.
func (q Quota) plus(o Quota, n int64) Quota {
	q.Jobs += n * o.Jobs
	q.CPUs = roundCPUs(q.CPUs + float64(n)*o.CPUs)
	q.MemoryBytes += n * o.MemoryBytes
	q.Pids += n * o.Pids
	q.KeptJobs += n * o.KeptJobs
	q.SpecBytes += n * o.SpecBytes
	q.OutputBytes += n * o.OutputBytes
	return q
}

// roundCPUs rounds to what cpu.max can say: microseconds of 100 ms.
func roundCPUs(v float64) float64 { return math.Round(v*1e5) / 1e5 }

// mostCounted is the most memory, and the most output, that a job counts with, 64 TiB:
// more than a machine has, and no sum over jobs overflows.
const mostCounted = 1 << 46

// specBytes is what s takes in memory, roughly: its strings with their headers.
func (s *Spec) specBytes() (n int64) {
	const header = 16
	for _, a := range s.Argv {
		n += int64(len(a)) + header
	}
	for _, m := range []map[string]string{s.Env, s.Labels} {
		for k, v := range m {
			n += int64(len(k)+len(v)) + 2*header
		}
	}
	for _, l := range s.Limits.IO {
		n += int64(len(l.Path)+len(l.Device)) + 4*header
	}
	for _, b := range s.Binds {
		n += int64(len(b.Source)+len(b.Target)) + 3*header
	}
	return n + int64(len(s.Dir)+len(s.Name)+len(s.User)+len(s.Rootfs))
}
