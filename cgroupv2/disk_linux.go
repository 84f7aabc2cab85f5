package cgroupv2

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// DiskOf returns the whole disk that holds the files under path. A file system that has no
// single disk under it (tmpfs, overlay, btrfs, network file systems: major number 0) is
// refused, naming its type: a limit on one of several disks would be weaker than asked.
func DiskOf(path string) (major, minor uint32, err error) {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Stat(path, &st) }); err != nil {
		return 0, 0, failure("disk of path", path, err)
	}
	major, minor = unix.Major(st.Dev), unix.Minor(st.Dev)
	if major == 0 {
		return 0, 0, fmt.Errorf("disk of path: %s: is on %s, which has no single disk: name the disk by its number", path, fsType(path))
	}
	return Disk(major, minor)
}

// fsType names the type of the file system at path, for an error message.
func fsType(path string) string {
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Statfs(path, &st) }); err != nil {
		return "a file system of unknown type"
	}
	switch st.Type {
	case unix.TMPFS_MAGIC:
		return "tmpfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlay"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.NFS_SUPER_MAGIC:
		return "nfs"
	case unix.PROC_SUPER_MAGIC:
		return "proc"
	}
	return fmt.Sprintf("a file system of type %#x (statfs(2))", st.Type)
}

// Disk returns the whole disk of a block device: itself, or that of a partition, for io.max
// refuses partitions.
func Disk(major, minor uint32) (uint32, uint32, error) { return disk("/sys", major, minor) }

// disk is Disk with sysfs at the given path. /sys/dev/block/M:m is a link to the device's
// directory; a partition's has a file "partition" and lies in that of its disk
// (Documentation/ABI/testing/sysfs-dev, sysfs-block).
func disk(sysfs string, major, minor uint32) (uint32, uint32, error) {
	name := fmt.Sprintf("%d:%d", major, minor)
	dir := sysfs + "/dev/block/" + name
	if _, err := os.Stat(dir + "/dev"); err != nil {
		return 0, 0, failure("disk", name, fmt.Errorf("no such block device: %w", err))
	}
	_, err := os.Stat(dir + "/partition")
	if errors.Is(err, fs.ErrNotExist) {
		return major, minor, nil
	}
	if err != nil {
		return 0, 0, failure("disk", name, err)
	}
	// Not path.Join, which would take the ".." off the link's name and not its target's.
	b, err := os.ReadFile(dir + "/../dev")
	if err != nil {
		return 0, 0, failure("disk", name+": the disk of this partition", err)
	}
	return parseDevice(strings.TrimSuffix(string(b), "\n"))
}
