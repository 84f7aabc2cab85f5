package authz

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// Grants are what of the host the jobs of somebody may be given beyond the sandbox. The zero
// Grants are nothing.
type Grants struct {
	Profiles []string    `json:"profiles,omitempty"` // "host"
	Net      []string    `json:"net,omitempty"`      // "host"
	RunAs    []string    `json:"run_as,omitempty"`   // users of the host as a job names them, or "*": all but root
	Rootfs   []PathGrant `json:"rootfs,omitempty"`   // where a job's root may be
	Binds    []PathGrant `json:"binds,omitempty"`    // what a job may be shown
	Userns   bool        `json:"userns,omitempty"`   // a user namespace
}

// PathGrant is a path of the host, with all that lies below it.
type PathGrant struct {
	Path  string `json:"path"`
	Write bool   `json:"write,omitempty"` // to be written to, as far as the job's user may
}

// none reports whether g gives nothing.
func (g *Grants) none() bool {
	return len(g.Profiles)+len(g.Net)+len(g.RunAs)+len(g.Rootfs)+len(g.Binds) == 0 && !g.Userns
}

// grant is one entry of the policy's list: who, and what.
type grant struct {
	to   subjects
	what Grants
}

// Grants returns what all entries together that name id, or one of its groups, give.
func (p *Policy) Grants(id Identity) Grants {
	var all Grants
	for _, g := range p.grants {
		if !g.to.include(id) {
			continue
		}
		all.Profiles = union(all.Profiles, g.what.Profiles)
		all.Net = union(all.Net, g.what.Net)
		all.RunAs = union(all.RunAs, g.what.RunAs)
		all.Rootfs = slices.Concat(all.Rootfs, g.what.Rootfs)
		all.Binds = slices.Concat(all.Binds, g.what.Binds)
		all.Userns = all.Userns || g.what.Userns
	}
	return all
}

func union(a, b []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(slices.Concat(a, b))))
}

// readGrants reads the value of "grants": an array of who and what.
func readGrants(v any) ([]grant, error) {
	if v == nil { // not there
		return nil, nil
	}
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("grants: %s: must be an array", show(v))
	}
	var grants []grant
	for i, item := range list {
		g, err := readGrant(fmt.Sprintf("grants[%d]", i), item)
		if err != nil {
			return nil, err
		}
		grants = append(grants, g)
	}
	return grants, nil
}

func readGrant(at string, v any) (g grant, err error) {
	fields, err := objectAt(at, v)
	if err != nil {
		return g, err
	}
	if err := onlyFields(at, fields, "users", "groups", "profiles", "net", "run_as", "rootfs", "binds", "userns"); err != nil {
		return g, err
	}
	if g.to, err = subjectsOf(at, fields); err != nil {
		return g, err
	}
	for _, f := range []struct {
		name  string
		to    *[]string
		check func(string) error
	}{
		{"profiles", &g.what.Profiles, onlyHost}, {"net", &g.what.Net, onlyHost}, {"run_as", &g.what.RunAs, checkRunAs},
	} {
		if *f.to, err = wordsAt(at+"."+f.name, fields[f.name], f.check); err != nil {
			return g, err
		}
	}
	if g.what.Rootfs, err = pathsAt(at+".rootfs", fields["rootfs"]); err != nil {
		return g, err
	}
	if g.what.Binds, err = pathsAt(at+".binds", fields["binds"]); err != nil {
		return g, err
	}
	if g.what.Userns, err = boolAt(at+".userns", fields["userns"]); err != nil {
		return g, err
	}
	if g.what.none() {
		return g, fmt.Errorf("%s: grants nothing", at)
	}
	return g, nil
}

// wordsAt reads an optional array of names that check accepts, each of them once, and sorts it.
func wordsAt(at string, v any, check func(string) error) ([]string, error) {
	names, err := namesAt(at, v)
	if err != nil {
		return nil, err
	}
	words := slices.Sorted(maps.Keys(names))
	for _, w := range words {
		if err := check(w); err != nil {
			return nil, fmt.Errorf("%s: %q: %w", at, w, err)
		}
	}
	return words, nil
}

func onlyHost(s string) error {
	if s != "host" {
		return fmt.Errorf(`must be "host": the others need no grant`)
	}
	return nil
}

func checkRunAs(s string) error {
	if s == "root" || s == "0" {
		return fmt.Errorf("no job runs as root")
	}
	return nil
}

// pathsAt reads an optional array of path grants, each path once, and sorts it.
func pathsAt(at string, v any) ([]PathGrant, error) {
	if v == nil {
		return nil, nil
	}
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("%s: %s: must be an array of objects", at, show(v))
	}
	var paths []PathGrant
	for i, item := range list {
		g, err := pathAt(fmt.Sprintf("%s[%d]", at, i), item)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(paths, func(o PathGrant) bool { return o.Path == g.Path }) {
			return nil, fmt.Errorf("%s[%d].path: %q: is there twice", at, i, g.Path)
		}
		paths = append(paths, g)
	}
	slices.SortFunc(paths, func(a, b PathGrant) int { return cmp.Compare(a.Path, b.Path) })
	return paths, nil
}

func pathAt(at string, v any) (g PathGrant, err error) {
	fields, err := objectAt(at, v)
	if err != nil {
		return g, err
	}
	if err := onlyFields(at, fields, "path", "write"); err != nil {
		return g, err
	}
	name, ok := fields["path"].(string)
	if !ok {
		return g, fmt.Errorf("%s.path: must be a string", at)
	}
	if !path.IsAbs(name) || path.Clean(name) != name || len(name) >= maxPath || strings.ContainsRune(name, 0) {
		return g, fmt.Errorf("%s.path: %q: must be an absolute path without \".\", \"..\" and double or trailing slashes", at, clip(name))
	}
	g.Path = name
	g.Write, err = boolAt(at+".write", fields["write"])
	return g, err
}

// maxPath is PATH_MAX, with its NUL.
const maxPath = 4096

func boolAt(at string, v any) (bool, error) {
	b, ok := v.(bool)
	if v != nil && !ok {
		return false, fmt.Errorf("%s: %s: must be true or false", at, show(v))
	}
	return b, nil
}

// MarshalJSON returns g in the form of the policy file.
func (g grant) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		nameLists
		Grants
	}{g.to.lists(), g.what})
}
