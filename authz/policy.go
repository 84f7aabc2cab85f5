package authz

import (
	"fmt"
	"strings"
)

// Policy says which users and groups have which roles, grants and quotas. It never changes after it
// is made, and is safe for concurrent use; a new one takes its place as a whole. The zero Policy
// allows nobody anything.
type Policy struct {
	bound  map[Role]subjects
	grants []grant
	quotas quotas
}

// subjects is who has a role.
type subjects struct {
	users, groups map[string]bool
}

// Builtin returns the policy that holds without a policy file: the groups jobworker:admin,
// jobworker:operator and jobworker:viewer have the role in their name, and everybody the same quota.
// It grants nothing of the host to anyone, admins included: which of its paths and users are for
// whom only its administrator can say, and the key of a certificate should not be worth an account
// there.
func Builtin() *Policy {
	p := &Policy{bound: make(map[Role]subjects), quotas: quotas{base: builtinQuota}}
	for _, r := range roles() {
		p.bound[r] = subjects{groups: map[string]bool{BuiltinGroup(r): true}}
	}
	return p
}

// BuiltinGroup returns the group that has role r in the built-in policy.
func BuiltinGroup(r Role) string { return "jobworker:" + string(r) }

// Allow reports whether id may do a to a job of owner, and in a few words why or why not. The
// owner is "" for an action that is not done to one job. What a may be done to is everybody's or
// one's own, as the role says; an action or a role that is not known allows nothing.
// Whether the job may be known to exist at all is asked first, with Sees.
func (p *Policy) Allow(id Identity, a Action, owner string) (ok bool, reason string) {
	need, known := rights[a]
	if !known {
		return false, "unknown action"
	}
	held := p.roles(id)
	if len(held) == 0 {
		return false, "the policy gives you no role"
	}
	scope, by := need.widest(held)
	switch {
	case scope == None:
		return false, "not among the rights of " + join(held)
	case scope == All, owner == "" && !need.object:
		return true, fmt.Sprintf("role %s", by)
	case owner == id.User:
		return true, fmt.Sprintf("role %s, own job", by)
	}
	return false, "not the owner"
}

// join names roles.
func join(roles []Role) string {
	var names []string
	for _, r := range roles {
		names = append(names, string(r))
	}
	return strings.Join(names, " and ")
}

// Sees reports whether id may know that a job of owner exists. It is the one filter of lists and
// of single jobs: where it says no, the answer is that of a job that does not exist.
func (p *Policy) Sees(id Identity, owner string) bool {
	ok, _ := p.Allow(id, JobRead, owner)
	return ok
}

// SeesAll reports whether id sees everybody's jobs. Who does not sees only those they own, so
// that a list can be asked for by owner.
func (p *Policy) SeesAll(id Identity) bool { return p.Rights(id).Sees == All }

// Rights is what an identity may do, as whoami tells it.
type Rights struct {
	Roles   []Role           `json:"roles"`   // the widest first; empty, never null, for none
	Actions map[Action]Scope `json:"actions"` // what is allowed, and on whose jobs; never None
	Sees    Scope            `json:"sees"`    // whose jobs exist for them
}

// Rights returns what id may do.
func (p *Policy) Rights(id Identity) Rights {
	held := p.roles(id)
	r := Rights{Roles: held, Actions: make(map[Action]Scope), Sees: None}
	for a, need := range rights {
		if s, _ := need.widest(held); s != None {
			r.Actions[a] = s
		}
	}
	if s, ok := r.Actions[JobRead]; ok {
		r.Sees = s
	}
	return r
}

// roles returns the roles that id has, the widest first.
func (p *Policy) roles(id Identity) []Role {
	held := []Role{}
	for _, r := range roles() {
		if p.bound[r].include(id) {
			held = append(held, r)
		}
	}
	return held
}

func (s subjects) include(id Identity) bool {
	if id.User == "" { // nobody, whatever groups are claimed
		return false
	}
	if s.users[id.User] {
		return true
	}
	for _, g := range id.Groups {
		if s.groups[g] {
			return true
		}
	}
	return false
}
