package nsinit

import (
	"fmt"
	"os"
	"path"
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

// rootMounts are the file systems of the job's root that are its own, in order.
var rootMounts = []struct {
	at      string
	fstype  string
	attr    int
	options []option
}{
	// A /proc for the job's PID namespace, in which it sees its own processes
	// only: hidepid as an option of the mount came with Linux 5.8.
	{"proc", "proc", readOnly | noexec | nosuidNodev, []option{{"hidepid", "2"}}},
	{"tmp", "tmpfs", nosuidNodev, []option{{"size", tmpSize}, {"nr_inodes", inodes}, {"mode", "1777"}}},
	{"dev/pts", "devpts", noexec | unix.MOUNT_ATTR_NOSUID, []option{{"ptmxmode", "0666"}, {"mode", "0620"}, {"max", "64"}}},
	{"dev/shm", "tmpfs", nosuidNodev, []option{{"size", shmSize}, {"nr_inodes", inodes}, {"mode", "1777"}}},
}

// devices are the device files of a job: memory(4), random(4), tty(4).
var devices = []struct {
	name         string
	major, minor uint32
}{
	{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0},
}

// devLinks are the links that programs expect in /dev.
var devLinks = []struct{ name, target string }{
	{"fd", "/proc/self/fd"}, {"stdin", "fd/0"}, {"stdout", "fd/1"}, {"stderr", "fd/2"}, {"ptmx", "pts/ptmx"},
}

// A root is the root of this mount namespace while it is being built. It is made
// in two steps, of which the first needs no job:
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
// host's, by one that has nothing in it but /job, the job's root.
func newRoot(hostDirs []string) (r root, err error) {
	defer unix.Umask(unix.Umask(0)) // the modes below are meant as they are
	if r.outer, err = newMount("tmpfs", noexec|nosuidNodev, option{"size", "64k"}, option{"mode", "0755"}); err != nil {
		return r, err
	}
	if err := unix.Mkdirat(int(r.outer), "job", 0o755); err != nil {
		return r, fmt.Errorf("mkdir /job: %w", err)
	}
	if err := r.outer.attach(unix.AT_FDCWD, "/"); err != nil {
		return r, err
	}
	if err := attachNew(int(r.outer), "job", func() (mount, error) { return jobTmpfs(hostDirs) }); err != nil {
		return r, err
	}
	if r.job, err = unix.Openat(int(r.outer), "job", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return r, fmt.Errorf("open job root: %w", err)
	}
	return r, attachCommon(r.job, hostDirs)
}

// enter adds what is this job's own, and makes r the root.
func (r root) enter(c Config) error {
	if err := r.addUsers(c); err != nil {
		return err
	}
	if err := attachNew(r.job, "scratch", func() (mount, error) { return scratch(c) }); err != nil {
		return err
	}
	unix.Close(r.job)
	if err := pivot(r.outer); err != nil {
		return err
	}
	r.outer.close()
	return nil
}

// addUsers puts a passwd and a group of the job's own over the host's. The two
// files themselves are out of its sight.
func (r root) addUsers(c Config) error {
	id := strconv.Itoa(c.UID)
	for _, f := range []struct{ name, content string }{
		{"passwd", "root:x:0:0:root:/:/bin/sh\njob:x:" + id + ":" + id + ":job:/scratch:/bin/sh\n"},
		{"group", "root:x:0:\njob:x:" + id + ":\n"},
	} {
		if err := createAt(int(r.outer), f.name, f.content); err != nil {
			return err
		}
		err := attachNew(r.job, "etc/"+f.name, func() (mount, error) { return cloneMount(int(r.outer), f.name, readOnly|nosuidNodev|noexec) })
		if err != nil && errno(err) != unix.ENOENT { // a host without the file
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
func jobTmpfs(hostDirs []string) (mount, error) {
	m, err := newMount("tmpfs", nosuidNodev, option{"size", "1m"}, option{"mode", "0755"})
	if err != nil {
		return -1, err
	}
	for _, d := range rootDirs {
		if err := unix.Mkdirat(int(m), d.name, d.mode); err != nil {
			return m, fmt.Errorf("mkdir /%s: %w", d.name, err)
		}
	}
	for _, p := range hostDirs {
		if err := mountPoint(int(m), p); err != nil {
			return m, err
		}
	}
	return m, m.protect()
}

// mountPoint makes below root what the host has at name: a link for a link, and
// for anything else something to mount it on.
func mountPoint(root int, name string) error {
	fi, err := os.Lstat(name)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	rel := strings.TrimPrefix(name, "/")
	if err := mkdirAllAt(root, path.Dir(rel)); err != nil {
		return err
	}
	switch {
	case fi.Mode()&os.ModeSymlink != 0:
		target, err := os.Readlink(name)
		if err != nil {
			return err
		}
		return unix.Symlinkat(target, root, rel)
	case fi.IsDir():
		return mkdirAllAt(root, rel)
	}
	return createAt(root, rel, "")
}

func mkdirAllAt(root int, rel string) error {
	if rel == "." {
		return nil
	}
	if err := mkdirAllAt(root, path.Dir(rel)); err != nil {
		return err
	}
	if err := unix.Mkdirat(root, rel, 0o755); err != nil && err != unix.EEXIST {
		return fmt.Errorf("mkdir /%s: %w", rel, err)
	}
	return nil
}

// attachCommon mounts below the job's root what all jobs have.
func attachCommon(job int, hostDirs []string) error {
	for _, p := range hostDirs {
		if err := attachReadOnly(job, p); err != nil {
			return err
		}
	}
	if err := attachNew(job, "dev", devTmpfs); err != nil {
		return err
	}
	for _, m := range rootMounts {
		if err := attachNew(job, m.at, func() (mount, error) { return newMount(m.fstype, m.attr, m.options...) }); err != nil {
			return err
		}
	}
	return maskProc(job)
}

// attachReadOnly shows the host's name at the same place below job.
func attachReadOnly(job int, name string) error {
	var st unix.Stat_t
	if err := unix.Lstat(name, &st); err == unix.ENOENT || st.Mode&unix.S_IFMT == unix.S_IFLNK {
		return nil // as in mountPoint
	}
	return attachNew(job, strings.TrimPrefix(name, "/"), func() (mount, error) {
		return cloneMount(unix.AT_FDCWD, name, readOnly|nosuidNodev)
	})
}

// scratch is what the job may write to: a directory of the host that is its own,
// or a tmpfs.
func scratch(c Config) (mount, error) {
	if c.ScratchBytes == 0 {
		return cloneMount(unix.AT_FDCWD, c.ScratchDir, nosuidNodev)
	}
	id := strconv.Itoa(c.UID)
	return newMount("tmpfs", nosuidNodev, option{"size", strconv.FormatInt(c.ScratchBytes, 10)},
		option{"mode", "0700"}, option{"uid", id}, option{"gid", id})
}

// devTmpfs is the job's /dev.
func devTmpfs() (mount, error) {
	m, err := newMount("tmpfs", noexec|unix.MOUNT_ATTR_NOSUID, option{"size", "64k"}, option{"mode", "0755"})
	if err != nil {
		return -1, err
	}
	for _, d := range devices {
		if err := unix.Mknodat(int(m), d.name, unix.S_IFCHR|0o666, int(unix.Mkdev(d.major, d.minor))); err != nil {
			return m, fmt.Errorf("mknod %s: %w", d.name, err)
		}
	}
	for _, l := range devLinks {
		if err := unix.Symlinkat(l.target, int(m), l.name); err != nil {
			return m, fmt.Errorf("symlink %s: %w", l.name, err)
		}
	}
	for _, dir := range []string{"pts", "shm"} {
		if err := unix.Mkdirat(int(m), dir, 0o755); err != nil {
			return m, fmt.Errorf("mkdir %s: %w", dir, err)
		}
	}
	return m, m.protect()
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

func setHostname(name string) error {
	if err := unix.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("sethostname: %w", err)
	}
	return nil
}

// raiseLoopback raises the one interface that a new network namespace has; it
// begins as down.
func raiseLoopback() error {
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
