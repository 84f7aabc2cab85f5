package nsinit

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// A device is a character device.
type device struct {
	name         string
	major, minor uint32
}

// devices are the device files of a job: memory(4), random(4), tty(4).
var devices = []device{
	{"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0},
}

// devLinks are the links that programs expect in /dev.
var devLinks = []struct{ name, target string }{
	{"fd", "/proc/self/fd"}, {"stdin", "fd/0"}, {"stdout", "fd/1"}, {"stderr", "fd/2"}, {"ptmx", "pts/ptmx"},
}

// attachDev mounts the job's /dev below its root. Who is root in a user namespace
// alone may not make device files (mknod(2)): there they are binds of the host's.
func attachDev(job int) error {
	var missing []device
	err := attachNew(job, "dev", func() (m mount, err error) { m, missing, err = devTmpfs(); return m, err })
	if err != nil {
		return err
	}
	for _, d := range missing {
		if err := attachNew(job, "dev/"+d.name, d.bind); err != nil {
			return err
		}
	}
	return nil
}

// bind makes a mount of the host's device.
func (d device) bind() (mount, error) {
	m, err := cloneMount(unix.AT_FDCWD, "/dev/"+d.name, readOnly|noexec|unix.MOUNT_ATTR_NOSUID)
	if err != nil {
		return -1, err
	}
	return m, d.check(int(m), "")
}

// check refuses what is at path below dir if it is not d: runc mounted whatever
// had the name (CVE-2025-31133).
func (d device) check(dir int, path string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, path, &st, unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("stat /dev/%s: %w", d.name, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(d.major, d.minor) {
		return fmt.Errorf("/dev/%s: mode %#o, device %#x: is not the device %d:%d", d.name, st.Mode, st.Rdev, d.major, d.minor)
	}
	return nil
}

// devTmpfs is the job's /dev, and says which devices could not be made: they have
// an empty file in their place.
func devTmpfs() (m mount, missing []device, err error) {
	m, err = newMount("tmpfs", noexec|unix.MOUNT_ATTR_NOSUID, option{"size", "64k"}, option{"mode", "0755"})
	if err != nil {
		return -1, nil, err
	}
	for _, d := range devices {
		err := unix.Mknodat(int(m), d.name, unix.S_IFCHR|0o666, int(unix.Mkdev(d.major, d.minor)))
		if err == unix.EPERM {
			missing = append(missing, d)
			err = createAt(int(m), d.name, "")
		}
		if err != nil {
			return m, nil, fmt.Errorf("mknod %s: %w", d.name, err)
		}
	}
	return m, missing, fillDev(m)
}

// fillDev adds what is no device, and makes m read-only.
func fillDev(m mount) error {
	for _, l := range devLinks {
		if err := unix.Symlinkat(l.target, int(m), l.name); err != nil {
			return fmt.Errorf("symlink %s: %w", l.name, err)
		}
	}
	for _, dir := range []string{"pts", "shm"} {
		if err := unix.Mkdirat(int(m), dir, 0o755); err != nil {
			return fmt.Errorf("mkdir %s: %w", dir, err)
		}
	}
	return m.protect()
}
