package job

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"jobworker/nsinit"
)

// Values of Spec.Net and Spec.Profile.
const (
	NetNone        = "none"
	NetHost        = "host"
	ProfileSandbox = "sandbox"
	ProfileHost    = "host"
)

const maxUser = 64 // bytes of a user's name

// onHost reports whether the job sees the host's file systems.
func (s *Spec) onHost() bool { return s.Profile == ProfileHost }

// hostNet reports whether the job has the host's network.
func (s *Spec) hostNet() bool { return s.Net == NetHost || s.Net == "" && s.onHost() }

// lateRoot reports whether the job's root is another than most have.
func (s *Spec) lateRoot() bool { return s.rootKind() != nsinit.RootDefault || len(s.Binds) > 0 }

// ordinary reports whether what is ready for the next job does for this one.
func (s *Spec) ordinary() bool { return !s.lateRoot() && !s.hostNet() && !s.Userns }

// rootKind returns what the job's root is made of.
func (s *Spec) rootKind() nsinit.RootKind {
	switch {
	case s.onHost():
		return nsinit.RootHost
	case s.Rootfs != "":
		return nsinit.RootDir
	}
	return nsinit.RootDefault
}

// dir returns the job's working directory.
func (s *Spec) dir() string {
	switch {
	case s.Dir != "":
		return s.Dir
	case s.onHost():
		return "/"
	}
	return scratchDir
}

func (s *Spec) checkIsolation() error {
	if s.Dir != "" {
		if err := checkString("dir", s.Dir); err != nil {
			return err
		}
		if s.Dir[0] != '/' {
			return &FieldError{"dir", quote(s.Dir), "must be an absolute path"}
		}
	}
	if s.Net != "" && s.Net != NetNone && s.Net != NetHost {
		return &FieldError{"net", quote(s.Net), `must be "none" or "host"`}
	}
	if s.Profile != "" && s.Profile != ProfileSandbox && s.Profile != ProfileHost {
		return &FieldError{"profile", quote(s.Profile), `must be "sandbox" or "host"`}
	}
	if err := s.checkUser(); err != nil {
		return err
	}
	if s.Rootfs != "" {
		if err := checkPath("rootfs", s.Rootfs); err != nil {
			return err
		}
	}
	if err := s.checkBinds(); err != nil {
		return err
	}
	if s.onHost() {
		return s.checkHostProfile()
	}
	return nil
}

// checkHostProfile refuses what has no meaning, or not the one that it seems to
// have, where the job sees the host as it is.
func (s *Spec) checkHostProfile() error {
	const goesWith = `goes with profile "sandbox" only`
	switch {
	case s.User == "":
		return &FieldError{Field: "user", Problem: `is missing: profile "host" needs one`}
	case s.Rootfs != "":
		return &FieldError{"rootfs", quote(s.Rootfs), goesWith}
	case len(s.Binds) > 0:
		return &FieldError{"binds", quote(s.Binds[0].Source), goesWith}
	case s.Userns:
		return &FieldError{"userns", "true", goesWith}
	case s.Limits.ScratchBytes != 0:
		return &FieldError{"limits.scratch_bytes", strconv.FormatInt(s.Limits.ScratchBytes, 10), goesWith}
	}
	return nil
}

func (s *Spec) checkUser() error {
	if s.User == "" {
		return nil
	}
	if len(s.User) > maxUser || !printable(s.User) || strings.ContainsAny(s.User, ":/* ") {
		return &FieldError{"user", quote(s.User), fmt.Sprintf("must be a name of up to %d bytes, or the number of a user id", maxUser)}
	}
	if s.User == "root" {
		return &FieldError{"user", quote(s.User), errRoot}
	}
	uid, number, err := numericUser(s.User)
	switch {
	case err != nil:
		return &FieldError{"user", quote(s.User), err.Error()}
	case number && uid == 0:
		return &FieldError{"user", quote(s.User), errRoot}
	}
	return nil
}

// errRoot says why there are no jobs of root: what guards nsinit, the recording and
// the host's files is that they belong to another user.
const errRoot = "no job runs as root"

// numericUser returns the user id that s is in digits, if it is. Each has one
// notation, so that it has one in a policy too.
func numericUser(s string) (uid uint32, number bool, err error) {
	if strings.Trim(s, "0123456789") != "" {
		return 0, false, nil
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == 1<<32-1 || strconv.FormatUint(n, 10) != s {
		return 0, true, fmt.Errorf("is no user id: these are 1 to 4294967294, without leading zeros")
	}
	return uint32(n), true, nil
}

func (s *Spec) checkBinds() error {
	if len(s.Binds) > nsinit.MaxBinds {
		return &FieldError{"binds", fmt.Sprint(len(s.Binds)), fmt.Sprintf("more than %d", nsinit.MaxBinds)}
	}
	for i, b := range s.Binds {
		field := fmt.Sprintf("binds[%d]", i)
		if err := checkPath(field+".source", b.Source); err != nil {
			return err
		}
		if err := checkPath(field+".target", b.Target); err != nil {
			return err
		}
		for _, own := range ownDirs {
			if below(b.Target, own) || below(own, b.Target) {
				return &FieldError{field + ".target", quote(b.Target), "would cover what jobs have of their own, or not have: " + own}
			}
		}
		if slices.ContainsFunc(s.Binds[:i], func(o Bind) bool { return o.Target == b.Target }) {
			return &FieldError{field + ".target", quote(b.Target), "is given twice"}
		}
	}
	return nil
}

// checkPath accepts the one notation of an absolute path: what is compared with a
// Permit must not mean something else to the kernel.
func checkPath(field, v string) error {
	if err := checkString(field, v); err != nil {
		return err
	}
	if !path.IsAbs(v) || path.Clean(v) != v {
		return &FieldError{field, quote(v), "must be an absolute path without \".\", \"..\" and double or trailing slashes"}
	}
	return nil
}

// A Permit is what a job may be given of the host beyond the sandbox, by whoever
// calls Start. The zero Permit is nothing.
type Permit struct {
	HostProfile bool        // the profile "host", with the host's network
	HostNet     bool        // the network "host" in a sandbox
	Userns      bool        // a user namespace
	Users       []string    // users to run as, in the notation of Spec.User; "*" is every one but root
	Rootfs      []PathGrant // directories that may be, or have in them, a job's root
	Binds       []PathGrant // files and directories that may be bound, and what is in them
}

// A PathGrant is a path of the host and what lies below it, also by way of links
// that do not lead out. The path itself has no link in it.
type PathGrant struct {
	Path  string
	Write bool // the job may write there, as far as its user may
}

// A PermitError is what a Spec asks for that its Permit does not have.
type PermitError struct {
	Field  string // as in "binds[0].source"
	Value  string // as in a FieldError
	Reason string // why not
}

// Error returns field, value and reason.
func (e *PermitError) Error() string { return e.Field + ": " + e.Value + ": " + e.Reason }

// check refuses what p does not permit by name. It looks at no file, so that nobody
// learns of one from it.
func (p *Permit) check(s *Spec) error {
	switch {
	case s.onHost() && !p.HostProfile:
		return &PermitError{"profile", quote(s.Profile), notGranted}
	case s.Net == NetHost && !p.HostNet && !s.onHost():
		return &PermitError{"net", quote(s.Net), notGranted}
	case s.Userns && !p.Userns:
		return &PermitError{"userns", "true", notGranted}
	case s.User != "" && !slices.Contains(p.Users, s.User) && !slices.Contains(p.Users, anyUser):
		return &PermitError{"user", quote(s.User), notGranted}
	}
	if s.Rootfs != "" && len(granting(p.Rootfs, s.Rootfs, false)) == 0 {
		return &PermitError{"rootfs", quote(s.Rootfs), notGranted}
	}
	for i, b := range s.Binds {
		if len(granting(p.Binds, b.Source, b.Write)) > 0 {
			continue
		}
		reason := notGranted
		if b.Write && len(granting(p.Binds, b.Source, false)) > 0 {
			reason = "is granted to you for reading only"
		}
		return &PermitError{fmt.Sprintf("binds[%d].source", i), quote(b.Source), reason}
	}
	return nil
}

// notGranted is why not, in most cases.
const notGranted = "is not granted to you"

// anyUser stands for all users in Permit.Users. It is no user's name: passwd(5).
const anyUser = "*"

// granting returns those of grants that name is in, with the right to write if that
// is asked for; those that have it first.
func granting(grants []PathGrant, name string, write bool) []PathGrant {
	var found []PathGrant
	for _, g := range grants {
		switch {
		case !below(name, g.Path):
		case g.Write:
			found = slices.Insert(found, 0, g)
		case !write:
			found = append(found, g)
		}
	}
	return found
}
