package authz

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
)

// Quota is the most that one user may have of a worker. A field that is zero bounds nothing.
type Quota struct {
	Jobs            int64   `json:"jobs,omitempty"`              // jobs at once: those that have not ended
	CPUs            float64 `json:"cpus,omitempty"`              // CPUs that these may use together: the sum of their limits
	MemoryBytes     int64   `json:"memory_bytes,omitempty"`      // memory, likewise
	Pids            int64   `json:"pids,omitempty"`              // processes and threads, likewise
	KeptJobs        int64   `json:"kept_jobs,omitempty"`         // jobs there are, ended ones among them, until they are removed
	SpecBytes       int64   `json:"spec_bytes,omitempty"`        // bytes of what those were asked to run, which the worker holds in memory
	OutputBytes     int64   `json:"output_bytes,omitempty"`      // output on the disk: of jobs that have not ended, their limits
	StartsPerMinute int64   `json:"starts_per_minute,omitempty"` // jobs started, or tried to, in a minute
}

// builtinQuota is the default where no policy file says otherwise. It bounds what a worker runs out
// of on any machine. Of CPUs, memory, processes and output it says nothing: how much there is only
// the administrator knows, and each job has limits of its own.
var builtinQuota = Quota{
	Jobs:      128,      // half of the calculates that a worker takes by itself; some 128 MiB for their nsinits
	KeptJobs:  16384,    // a quarter of the user ids that a worker has by itself; more than it keeps of jobs that are over
	SpecBytes: 64 << 20, // 4 KiB for each of those
}

// Bounds of the numbers in a quota.
const (
	maxCount      = 1 << 32
	maxQuotaCPUs  = 1 << 20
	maxQuotaBytes = 1 << 46 // 64 TiB: what a processor of x86-64 with four levels of page tables can address
)

// quotas is who may have how much.
type quotas struct {
	base          Quota // of those who are given nothing else; "default" in the file
	users, groups map[string]Quota
}

// Quota returns what id may have at most. Each bound is the one given to the user by name, else the
// largest of those given to the user's groups, else the default.
func (p *Policy) Quota(id Identity) Quota {
	var q Quota
	for _, g := range id.Groups {
		q = q.larger(p.quotas.groups[g])
	}
	return p.quotas.users[id.User].or(q).or(p.quotas.base)
}

// or returns q with the bounds of other where q has none.
func (q Quota) or(other Quota) Quota {
	return Quota{
		cmp.Or(q.Jobs, other.Jobs),
		cmp.Or(q.CPUs, other.CPUs),
		cmp.Or(q.MemoryBytes, other.MemoryBytes),
		cmp.Or(q.Pids, other.Pids),
		cmp.Or(q.KeptJobs, other.KeptJobs),
		cmp.Or(q.SpecBytes, other.SpecBytes),
		cmp.Or(q.OutputBytes, other.OutputBytes),
		cmp.Or(q.StartsPerMinute, other.StartsPerMinute),
	}
}

// larger returns the larger of each bound, where one of the two has it.
func (q Quota) larger(other Quota) Quota {
	return Quota{
		max(q.Jobs, other.Jobs),
		max(q.CPUs, other.CPUs),
		max(q.MemoryBytes, other.MemoryBytes),
		max(q.Pids, other.Pids),
		max(q.KeptJobs, other.KeptJobs),
		max(q.SpecBytes, other.SpecBytes),
		max(q.OutputBytes, other.OutputBytes),
		max(q.StartsPerMinute, other.StartsPerMinute),
	}
}

// readQuotas reads the value of "quotas" in a policy file. Where it is not there the built-in
// quota holds: a file that only binds roles must not lift it unasked.
func readQuotas(v any) (q quotas, err error) {
	if v == nil {
		return quotas{base: builtinQuota}, nil
	}
	top, err := objectAt("quotas", v)
	if err != nil {
		return q, err
	}
	if err := onlyFields("quotas", top, "default", "users", "groups"); err != nil {
		return q, err
	}
	if v, ok := top["default"]; ok {
		if q.base, err = readQuota("quotas.default", v); err != nil {
			return q, err
		}
	}
	if q.users, err = quotasAt("quotas.users", top["users"]); err != nil {
		return q, err
	}
	q.groups, err = quotasAt("quotas.groups", top["groups"])
	return q, err
}

// quotasAt reads an optional object of quotas by name.
func quotasAt(path string, v any) (map[string]Quota, error) {
	if v == nil { // not there
		return nil, nil
	}
	byName, err := objectAt(path, v)
	if err != nil || len(byName) == 0 {
		return nil, err
	}
	all := make(map[string]Quota, len(byName))
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		if err := checkName(name); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if all[name], err = readQuota(fieldPath(path, name), byName[name]); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// readQuota reads one quota, which bounds something.
func readQuota(path string, v any) (q Quota, err error) {
	fields, err := objectAt(path, v)
	if err != nil {
		return q, err
	}
	whole := []struct {
		name string
		to   *int64
		most int64
	}{
		{"jobs", &q.Jobs, maxCount},
		{"memory_bytes", &q.MemoryBytes, maxQuotaBytes},
		{"pids", &q.Pids, maxCount},
		{"kept_jobs", &q.KeptJobs, maxCount},
		{"spec_bytes", &q.SpecBytes, maxQuotaBytes},
		{"output_bytes", &q.OutputBytes, maxQuotaBytes},
		{"starts_per_minute", &q.StartsPerMinute, maxCount},
	}
	known := []string{"cpus"}
	for _, w := range whole {
		known = append(known, w.name)
	}
	if err := onlyFields(path, fields, known...); err != nil {
		return q, err
	}
	if len(fields) == 0 {
		return q, fmt.Errorf("%s: {}: bounds nothing; leave it out", path)
	}
	for _, w := range whole {
		if *w.to, err = wholeAt(path+"."+w.name, fields[w.name], w.most); err != nil {
			return q, err
		}
	}
	q.CPUs, err = cpusAt(path+".cpus", fields["cpus"])
	return q, err
}

// wholeAt reads an optional whole number from 1 to most. 0 would read as no bound.
func wholeAt(path string, v any, most int64) (int64, error) {
	if v == nil { // not there
		return 0, nil
	}
	n, ok := v.(json.Number)
	i, err := strconv.ParseInt(n.String(), 10, 64)
	if !ok || err != nil || i < 1 || i > most {
		return 0, fmt.Errorf("%s: %s: must be a whole number from 1 to %d", path, show(v), most)
	}
	return i, nil
}

// cpusAt reads an optional number of CPUs, in hundred-thousandths at the finest: what cpu.max can
// say of a period of 100 ms.
func cpusAt(path string, v any) (float64, error) {
	if v == nil { // not there
		return 0, nil
	}
	n, ok := v.(json.Number)
	f, err := strconv.ParseFloat(n.String(), 64)
	if f = math.Round(f*1e5) / 1e5; !ok || err != nil || f < 0.01 || f > maxQuotaCPUs {
		return 0, fmt.Errorf("%s: %s: must be a number from 0.01 to %d", path, show(v), maxQuotaCPUs)
	}
	return f, nil
}

// MarshalJSON returns q as it is in a policy file.
func (q quotas) MarshalJSON() ([]byte, error) {
	file := make(map[string]any)
	if q.base != (Quota{}) {
		file["default"] = q.base
	}
	if q.users != nil {
		file["users"] = q.users
	}
	if q.groups != nil {
		file["groups"] = q.groups
	}
	return json.Marshal(file)
}
