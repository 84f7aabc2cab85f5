package nsinit

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// jobRoot is where the job's root is mounted in nsinit's. The job is chrooted
// into it, see the package comment.
const jobRoot = "/job"

// Sizes of what a job can write to in memory, beside its memory limit. A full
// one is the job's own problem (ENOSPC), never the host's.
const (
	tmpSize = "64m"
	shmSize = "64m"
	inodes  = "16384"
)

// rootDirs are the directories of the job's root that are not the host's.
var rootDirs = []struct {
	name string
	mode uint32
}{
	{"proc", 0o555}, {"dev", 0o755}, {"tmp", 0o1777}, {"scratch", 0o755},
}

// An ownMount is a file system of the job's root that is its own.
type ownMount struct {
	at      string
	fstype  string
	attr    int
	options []option
}

func (m ownMount) make() (mount, error) { return newMount(m.fstype, m.attr, m.options...) }

// ownProc is a /proc for the job's PID namespace, in which it sees its own processes
// only: hidepid as an option of the mount came with Linux 5.8.
var ownProc = ownMount{"proc", "proc", readOnly | noexec | nosuidNodev, []option{{"hidepid", "2"}}}

// rootMounts are those of every root but the host's, in order.
var rootMounts = []ownMount{
	ownProc,
	{"tmp", "tmpfs", nosuidNodev, []option{{"size", tmpSize}, {"nr_inodes", inodes}, {"mode", "1777"}}},
	{"dev/pts", "devpts", noexec | unix.MOUNT_ATTR_NOSUID, []option{{"ptmxmode", "0666"}, {"mode", "0620"}, {"max", "64"}}},
	{"dev/shm", "tmpfs", nosuidNodev, []option{{"size", shmSize}, {"nr_inodes", inodes}, {"mode", "1777"}}},
}

// A root is the root of this mount namespace while it is being built. It is made
// in two steps, of which the first needs no job, unless that has another root than
// most:
//
//	newRoot   fsmount(tmpfs) outer; mkdir outer/job; move_mount(outer, "/")
//	          fsmount(tmpfs) job; fill; read-only; move_mount(job, outer/job)
//	          for each mount of every job: make, set attributes, move_mount(outer/job/…)
//	enter     the same for the mounts of this one
//	          fchdir(outer); pivot_root(".", "."); umount2(".", MNT_DETACH)
//
// Until pivot_root "/" is the host's root still, because a path does not cross
// what is mounted over its own starting point.
type root struct {
	outer mount // nothing in it but job and two files
	job   int   // descriptor of the job's root
}

// newRoot begins to replace the root of this mount namespace, a copy of the
// host's, by one that has nothing in it but /job, the job's root: a tmpfs with
// what the host has at e.ReadOnly, and room for binds.
func (e *early) newRoot(binds []bind) (r root, err error) {
	defer unix.Umask(unix.Umask(0)) // the modes below are meant as they are
	if err := r.makeOuter(); err != nil {
		return r, err
	}
	base, err := openDir(unix.AT_FDCWD, "/")
	if err != nil {
		return r, err
	}
	defer unix.Close(base)
	v := view{base: base, attr: readOnly | nosuidNodev}
	for _, p := range e.ReadOnly {
		v.names = append(v.names, strings.TrimPrefix(p, "/"))
	}
	if err := r.fill(v, binds); err != nil {
		return r, err
	}
	return r, hide(r.job, e.Hidden)
}

// makeOuter mounts outer over the root.
func (r *root) makeOuter() (err error) {
	if r.outer, err = newMount("tmpfs", noexec|nosuidNodev, option{"size", "64k"}, option{"mode", "0755"}); err != nil {
		return err
	}
	if err := unix.Mkdirat(int(r.outer), "job", 0o755); err != nil {
		return fmt.Errorf("mkdir /job: %w", err)
	}
	return r.outer.attach(unix.AT_FDCWD, "/")
}

// fill makes the job's root: a tmpfs with v, and the file systems of its own.
func (r *root) fill(v view, binds []bind) error {
	if err := r.mountJob(func() (mount, error) { return jobTmpfs(v, binds) }); err != nil {
		return err
	}
	for _, name := range v.names {
		if err := v.attach(r.job, name); err != nil {
			return err
		}
	}
	if err := attachDev(r.job); err != nil {
		return err
	}
	for _, m := range rootMounts {
		if err := attachNew(r.job, m.at, m.make); err != nil {
			return err
		}
	}
	return maskProc(r.job)
}

// mountJob makes what make returns the job's root.
func (r *root) mountJob(make func() (mount, error)) (err error) {
	if err := attachNew(int(r.outer), "job", make); err != nil {
		return err
	}
	r.job, err = openDir(int(r.outer), "job")
	return err
}

// enter adds what is this job's own, and makes r the root.
func (r root) enter(c Config, binds []bind) error {
	if c.Root != RootHost {
		if err := r.addUsers(c); err != nil {
			return err
		}
		if err := attachNew(r.job, "scratch", func() (mount, error) { return scratch(c) }); err != nil {
			return err
		}
	}
	for _, b := range binds {
		if err := attachWithin(r.job, b.target, b.mount); err != nil {
			return fmt.Errorf("bind to %w", err)
		}
	}
	unix.Close(r.job)
	if err := pivot(r.outer); err != nil {
		return err
	}
	r.outer.close()
	return nil
}

// addUsers puts a passwd and a group of the job's own over those there are. The
// two files themselves are out of its sight.
func (r root) addUsers(c Config) error {
	uid, gid := strconv.Itoa(c.UID), strconv.Itoa(c.GID)
	for _, f := range []struct{ name, content string }{
		{"passwd", "root:x:0:0:root:/:/bin/sh\n" + c.User + ":x:" + uid + ":" + gid + ":" + c.User + ":/scratch:/bin/sh\n"},
		{"group", "root:x:0:\n" + c.User + ":x:" + gid + ":\n"},
	} {
		if err := createAt(int(r.outer), f.name, f.content); err != nil {
			return err
		}
		m, err := cloneMount(int(r.outer), f.name, readOnly|nosuidNodev|noexec)
		if err != nil {
			return err
		}
		switch err := attachWithin(r.job, "/etc/"+f.name, m); errno(err) {
		case 0, unix.ENOENT, unix.ENOTDIR, unix.ELOOP: // a root without the file
		default:
			return err
		}
	}
	return nil
}

// attachNew attaches what make returns at path below dir.
func attachNew(dir int, path string, make func() (mount, error)) error {
	m, err := make()
	if err != nil {
		return fmt.Errorf("/%s: %w", path, err)
	}
	defer m.close()
	return m.attach(dir, path)
}

// attachWithin attaches m at the absolute path name as seen from root, and closes
// it. What the root shows need not be the host's: a link in it must not lead out,
// so none is followed.
func attachWithin(root int, name string, m mount) error {
	defer m.close()
	fd, err := openat2(root, strings.TrimPrefix(name, "/"), unix.O_PATH, unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer unix.Close(fd)
	if err := m.attachAt(fd); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func openDir(dir int, name string) (int, error) {
	fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", name, err)
	}
	return fd, nil
}

func createAt(dir int, name, content string) error {
	fd, err := unix.Openat(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return fmt.Errorf("create /%s: %w", name, err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(content)); err != nil {
		return fmt.Errorf("write /%s: %w", name, err)
	}
	return nil
}

// jobTmpfs is the job's root itself: mount points and links, nothing else.
func jobTmpfs(v view, binds []bind) (mount, error) {
	m, err := newMount("tmpfs", nosuidNodev, option{"size", "1m"}, option{"mode", "0755"})
	if err != nil {
		return -1, err
	}
	for _, d := range rootDirs {
		if err := unix.Mkdirat(int(m), d.name, d.mode); err != nil {
			return m, fmt.Errorf("mkdir /%s: %w", d.name, err)
		}
	}
	for _, name := range v.names {
		if err := v.mountPoint(int(m), name); err != nil {
			return m, err
		}
	}
	for _, b := range binds {
		if err := b.mountPoint(int(m), v); err != nil {
			return m, err
		}
	}
	return m, m.protect()
}

// scratch is what the job may write to: a directory of the host that is its own,
// or a tmpfs.
func scratch(c Config) (mount, error) {
	if c.ScratchBytes == 0 {
		return cloneMount(unix.AT_FDCWD, c.ScratchDir, nosuidNodev)
	}
	return newMount("tmpfs", nosuidNodev, option{"size", strconv.FormatInt(c.ScratchBytes, 10)},
		option{"mode", "0700"}, option{"uid", strconv.Itoa(c.UID)}, option{"gid", strconv.Itoa(c.GID)})
}

// pivot makes outer the root and leaves nothing of the host's. Getcwd fails or
// answers "(unreachable)" for a working directory outside the root
// (CVE-2024-21626).
func pivot(outer mount) error {
	if err := outer.protect(); err != nil {
		return err
	}
	if err := unix.Fchdir(int(outer)); err != nil {
		return fmt.Errorf("fchdir: %w", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("umount old root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("chdir /: %w", err)
	}
	if wd, err := unix.Getwd(); err != nil || wd != "/" {
		return fmt.Errorf("getcwd after pivot_root: %q, %v", wd, err)
	}
	return nil
}

// enterJobRoot makes the job's root that of this thread, from which the program is
// forked: the program's own filter then can do without chroot(2), which is for
// root alone. A thread shares root and working directory with the others until it
// says otherwise.
func enterJobRoot() error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare CLONE_FS: %w", err)
	}
	if err := unix.Chroot(jobRoot); err != nil {
		return fmt.Errorf("chroot %s: %w", jobRoot, err)
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("chdir: %w", err)
	}
	return nil
}

// setHostname makes the job's id its host name, unless its host is the real one.
func setHostname(c Config) error {
	if c.Root == RootHost {
		return nil
	}
	if err := unix.Sethostname([]byte(c.ID)); err != nil {
		return fmt.Errorf("sethostname: %w", err)
	}
	return nil
}

// raiseLoopback raises the one interface that a new network namespace has; it
// begins as down.
func (e *early) raiseLoopback() error {
	if e.HostNet {
		return nil
	}
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(s)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, req); err != nil {
		return fmt.Errorf("raise lo: %w", err)
	}
	return nil
}
