package authz

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
)

// maxPolicy is the size of a policy in bytes. Far above any real one; a wrong path such as a
// disk image is refused before it fills the memory.
const maxPolicy = 1 << 20

// LoadPolicy reads the policy file at path. See the package comment for its form.
func LoadPolicy(path string) (*Policy, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("load policy: %w", err)
	}
	defer f.Close()
	p, err := parsePolicy(f)
	if err != nil {
		return nil, fmt.Errorf("load policy: %s: %w", path, err)
	}
	return p, nil
}

// ParsePolicy reads a policy, all of r: at most 1 MiB. An error names the field and the value
// that it refuses.
func ParsePolicy(r io.Reader) (*Policy, error) {
	p, err := parsePolicy(r)
	if err != nil {
		return nil, fmt.Errorf("parse policy: %w", err)
	}
	return p, nil
}

func parsePolicy(r io.Reader) (*Policy, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxPolicy+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxPolicy {
		return nil, fmt.Errorf("larger than %d bytes", maxPolicy)
	}
	doc, err := decodeStrict(data)
	if err != nil {
		return nil, err
	}
	top, err := objectAt("", doc)
	if err != nil {
		return nil, err
	}
	if err := onlyFields("", top, "roles", "grants", "quotas"); err != nil {
		return nil, err
	}
	p := new(Policy)
	if p.bound, err = bindRoles(top["roles"]); err != nil {
		return nil, err
	}
	if p.grants, err = readGrants(top["grants"]); err != nil {
		return nil, err
	}
	if p.quotas, err = readQuotas(top["quotas"]); err != nil {
		return nil, err
	}
	return p, nil
}

// bindRoles reads the value of "roles": an object of subjects by role.
func bindRoles(v any) (map[Role]subjects, error) {
	byRole, err := objectAt("roles", v)
	if err != nil {
		return nil, err
	}
	if len(byRole) == 0 {
		return nil, errors.New("roles: {}: nobody could do anything")
	}
	bound := make(map[Role]subjects)
	for _, name := range slices.Sorted(maps.Keys(byRole)) {
		if !slices.Contains(roles(), Role(name)) {
			return nil, fmt.Errorf("roles: %q: unknown role, must be one of %v", clip(name), roles())
		}
		s, err := readSubjects("roles."+name, byRole[name])
		if err != nil {
			return nil, err
		}
		bound[Role(name)] = s
	}
	return bound, nil
}

func readSubjects(path string, v any) (s subjects, err error) {
	fields, err := objectAt(path, v)
	if err != nil {
		return s, err
	}
	if err := onlyFields(path, fields, "users", "groups"); err != nil {
		return s, err
	}
	return subjectsOf(path, fields)
}

// subjectsOf reads the users and groups among fields, of which there must be some.
func subjectsOf(path string, fields map[string]any) (s subjects, err error) {
	if s.users, err = namesAt(path+".users", fields["users"]); err != nil {
		return s, err
	}
	if s.groups, err = namesAt(path+".groups", fields["groups"]); err != nil {
		return s, err
	}
	if len(s.users)+len(s.groups) == 0 {
		return s, fmt.Errorf("%s: neither users nor groups", path)
	}
	return s, nil
}

// namesAt reads an optional array of names, each of them once.
func namesAt(path string, v any) (map[string]bool, error) {
	if v == nil { // not there
		return nil, nil
	}
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("%s: %s: must be an array of names", path, show(v))
	}
	if len(list) == 0 {
		return nil, nil // as if it were not there
	}
	names := make(map[string]bool, len(list))
	for i, item := range list {
		name, ok := item.(string)
		if !ok {
			return nil, fmt.Errorf("%s[%d]: %s: must be a name", path, i, show(item))
		}
		if err := checkName(name); err != nil {
			return nil, fmt.Errorf("%s[%d]: %w", path, i, err)
		}
		if names[name] {
			return nil, fmt.Errorf("%s[%d]: %q: is there twice", path, i, name)
		}
		names[name] = true
	}
	return names, nil
}

// MarshalJSON returns the policy in the form of a policy file, names sorted. ParsePolicy reads
// it back to the same policy.
func (p *Policy) MarshalJSON() ([]byte, error) {
	byRole := make(map[Role]nameLists)
	for r, s := range p.bound {
		byRole[r] = s.lists()
	}
	return json.Marshal(struct {
		Roles  map[Role]nameLists `json:"roles"`
		Grants []grant            `json:"grants,omitempty"`
		Quotas quotas             `json:"quotas"`
	}{byRole, p.grants, p.quotas})
}

// nameLists are subjects in the form of a policy file.
type nameLists struct {
	Users  []string `json:"users,omitempty"`
	Groups []string `json:"groups,omitempty"`
}

func (s subjects) lists() nameLists {
	return nameLists{slices.Sorted(maps.Keys(s.users)), slices.Sorted(maps.Keys(s.groups))}
}
