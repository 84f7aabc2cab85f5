package nsinit

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// maskedFiles and maskedDirs are what a job does not see of its /proc, where the
// kernel has them: they tell of the whole machine or steer it, and what guards
// them is the permissions of the file alone.
var (
	maskedFiles = []string{"kcore", "keys", "timer_list", "interrupts", "kallsyms", "config.gz", "sysrq-trigger", "latency_stats", "sched_debug", "kmsg", "slabinfo"}
	maskedDirs  = []string{"acpi", "asound", "scsi", "bus", "fs", "irq", "driver"}
)

// maskProc covers them in the /proc that is mounted below the job's root: the
// files by the job's own /dev/null, the directories by one empty tmpfs.
//
//	fstatat(/dev/null): character device 1:3
//	open_tree(/dev/null, CLONE), mount_setattr(read-only) | move_mount(/proc/kcore)
//	fsopen(tmpfs), fsmount(read-only) | move_mount(/proc/acpi)
//	open_tree(/proc/kcore, CLONE) | move_mount(/proc/keys)  for each further one
//
// A clone has the attributes of what it is made from.
func maskProc(job int) error {
	null := device{"null", 1, 3}
	if err := null.check(job, "dev/null"); err != nil {
		return err
	}
	if err := cover(job, maskedFiles, func() (mount, error) { return nullMount(job) }); err != nil {
		return err
	}
	return cover(job, maskedDirs, emptyDir)
}

func nullMount(job int) (mount, error) {
	return cloneMount(job, "dev/null", readOnly|noexec|unix.MOUNT_ATTR_NOSUID)
}

func emptyDir() (mount, error) {
	return newMount("tmpfs", readOnly|noexec|nosuidNodev, option{"nr_inodes", "1"}, option{"mode", "0555"})
}

// cover attaches what make returns at the first of names that the job's /proc has,
// and copies of it at the others.
func cover(job int, names []string, make func() (mount, error)) error {
	for _, name := range names {
		at := "proc/" + name
		switch err := unix.Faccessat(job, at, unix.F_OK, 0); {
		case err == unix.ENOENT:
			continue
		case err != nil:
			return fmt.Errorf("/%s: %w", at, err)
		}
		if err := attachNew(job, at, make); err != nil {
			return err
		}
		make = func() (mount, error) { return copyMount(job, at) }
	}
	return nil
}

// hide covers those of names, absolute paths, that there are below the job's root: a
// directory by an empty one, anything else by the null device.
func hide(job int, names []string) error {
	for _, name := range names {
		var st unix.Stat_t
		switch err := unix.Fstatat(job, strings.TrimPrefix(name, "/"), &st, unix.AT_SYMLINK_NOFOLLOW); {
		case err == unix.ENOENT, err == unix.ENOTDIR:
			continue
		case err != nil:
			return fmt.Errorf("stat %s: %w", name, err)
		}
		make := emptyDir
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			make = func() (mount, error) { return nullMount(job) }
		}
		m, err := make()
		if err != nil {
			return fmt.Errorf("hide %s: %w", name, err)
		}
		if err := attachWithin(job, name, m); err != nil {
			return fmt.Errorf("hide %w", err)
		}
	}
	return nil
}
