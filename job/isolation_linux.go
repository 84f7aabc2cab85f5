package job

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"jobworker/nsinit"
)

// A given is what a job that is being started gets of the host, by its Permit.
type given struct {
	uid, gid   int        // of Spec.User; without one they come with the job
	name, home string     // of the user, as the job sees it
	root       *os.File   // mount of Spec.Rootfs; nil without
	binds      []*os.File // mounts of Spec.Binds
}

// close closes what is open. nsinit has its own by now.
func (g *given) close() {
	for _, f := range append(g.binds, g.root) {
		f.Close() // of a nil *os.File is an error, and harmless
	}
}

// give finds what s asks for of the host: its user, and mounts of its paths, opened
// as p permits. The caller closes it, also after an error.
func (w *Worker) give(s *Spec, p *Permit) (g *given, err error) {
	g = &given{name: "job"}
	if s.User != "" {
		if err := w.findUser(g, s.User); err != nil {
			return g, err
		}
	}
	if !s.onHost() {
		g.home = scratchDir
	}
	if s.Rootfs != "" {
		if g.root, err = w.mountOf("rootfs", s.Rootfs, p.Rootfs, false, true); err != nil {
			return g, err
		}
		if fi, err := g.root.Stat(); err != nil || !fi.IsDir() {
			return g, &StartError{"root", int(unix.ENOTDIR), fmt.Sprintf("rootfs: %q: is not a directory", s.Rootfs)}
		}
	}
	for i, b := range s.Binds {
		m, err := w.mountOf(fmt.Sprintf("binds[%d].source", i), b.Source, p.Binds, b.Write, b.Write)
		if err != nil {
			return g, err
		}
		g.binds = append(g.binds, m)
	}
	return g, nil
}

// findUser looks up name on this host: it is the host's files that the user's id
// counts for, whatever the passwd in another root says.
func (w *Worker) findUser(g *given, name string) error {
	_, number, err := numericUser(name)
	if err != nil {
		return &FieldError{"user", quote(name), err.Error()}
	}
	var u *user.User
	if number {
		u, err = user.LookupId(name)
	} else {
		u, err = user.Lookup(name)
	}
	if _, unknown := errors.AsType[user.UnknownUserIdError](err); unknown {
		u, err = &user.User{Uid: name, Gid: name, Username: "job", HomeDir: "/"}, nil
	}
	if err != nil {
		return &FieldError{"user", quote(name), "is not known to the worker's host"}
	}
	uid, _, err := numericUser(u.Uid)
	if err != nil {
		return &FieldError{"user", quote(name), err.Error()}
	}
	gid, _, err := numericUser(u.Gid)
	switch {
	case err != nil:
		return &FieldError{"user", quote(name), "has no usable group: " + u.Gid}
	case uid == 0:
		return &FieldError{"user", quote(name), errRoot}
	case gid == 0:
		return &FieldError{"user", quote(name), "has root's group"}
	case uid-w.cfg.UIDBase < w.cfg.UIDCount: // wraps around for those below
		return &FieldError{"user", quote(name), "is one of those that the worker gives to jobs"}
	}
	g.uid, g.gid, g.name, g.home = int(uid), int(gid), u.Username, u.HomeDir
	return nil
}

// mountOf returns a mount of the path name by one of grants, which has to permit
// writing if that is needed. It is writable if the grant and may say so.
func (w *Worker) mountOf(field, name string, grants []PathGrant, need, may bool) (*os.File, error) {
	var first error = refusal(notGranted)
	for i, grant := range granting(grants, name, need) {
		f, err := grant.open(name)
		if err == nil {
			err = w.checkSource(f)
		}
		if err == nil {
			defer f.Close()
			m, err := nsinit.CloneTree(f, grant.Write && may)
			if err != nil {
				return nil, &StartError{"root", int(errnoOf(err)), fmt.Sprintf("%s: %q: %v", field, name, err)}
			}
			return m, nil
		}
		f.Close() // may be nil
		if i == 0 {
			first = err
		}
	}
	if refused, ok := errors.AsType[refusal](first); ok {
		return nil, &PermitError{field, quote(name), string(refused)}
	}
	return nil, &StartError{"root", int(errnoOf(first)), fmt.Sprintf("%s: %v", field, first)}
}

// A refusal is why a path is not given to a job although a grant names it.
type refusal string

// Error returns the reason.
func (r refusal) Error() string { return string(r) }

// open opens name, which is g's path or below it. Whoever can change what is there
// can put links there: one that leads out is refused before it is known what it
// leads to. Nothing is outside of "/".
func (g PathGrant) open(name string) (*os.File, error) {
	if g.Path == "/" {
		return openReal(name)
	}
	dir, err := nsinit.OpenPath(g.Path)
	if errors.Is(err, unix.ELOOP) {
		return nil, refusal(fmt.Sprintf("the path that is granted, %s, has a link in it", g.Path))
	}
	rel := strings.TrimPrefix(strings.TrimPrefix(name, g.Path), "/")
	if err != nil || rel == "" {
		return dir, err
	}
	defer dir.Close()
	f, err := nsinit.OpenBeneath(dir, rel)
	if errors.Is(err, unix.EXDEV) || errors.Is(err, unix.ELOOP) {
		return nil, refusal(fmt.Sprintf("a link leads out of %s, which is granted", g.Path))
	}
	return f, err
}

func errnoOf(err error) unix.Errno {
	n, _ := errors.AsType[unix.Errno](err)
	return n
}

// kernelFiles are the file systems that steer the kernel or show its insides, by
// statfs(2). Of some it does not matter who owns the files.
var kernelFiles = []int64{
	unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.DEBUGFS_MAGIC, unix.TRACEFS_MAGIC,
	unix.SECURITYFS_MAGIC, unix.BPF_FS_MAGIC, unix.EFIVARFS_MAGIC, unix.DEVPTS_SUPER_MAGIC, unix.NSFS_MAGIC, unix.PIPEFS_MAGIC, unix.SOCKFS_MAGIC,
}

// checkSource refuses what no grant can give: the kernel's own file systems, and
// what has the worker's state or one of its keys in it, or lies in there.
func (w *Worker) checkSource(f *os.File) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return &os.PathError{Op: "statfs", Path: f.Name(), Err: err}
	}
	if slices.Contains(kernelFiles, int64(st.Type)) {
		return refusal("the kernel's own file systems are not for jobs")
	}
	at, err := locate(f)
	if err != nil {
		return err
	}
	for _, name := range w.ownFiles() {
		private, err := locatePath(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if at.fs == private.fs && (below(at.path, private.path) || below(private.path, at.path)) {
			return refusal("the worker's own files are there")
		}
	}
	return nil
}
