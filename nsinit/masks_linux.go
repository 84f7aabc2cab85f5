package nsinit

import (
	"fmt"

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
//	open_tree(/dev/null, CLONE) | move_mount(/proc/kcore)    for each file
//	fsopen(tmpfs), fsmount(read-only) | move_mount(/proc/acpi)
//	open_tree(/proc/acpi, CLONE) | move_mount(/proc/asound)  for each further directory
//
// A clone is as read-only as what it is made from. The device is looked at because
// runc mounted whatever had its name (CVE-2025-31133).
func maskProc(job int) error {
	var st unix.Stat_t
	if err := unix.Fstatat(job, "dev/null", &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("stat /dev/null: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(1, 3) {
		return fmt.Errorf("/dev/null: mode %#o, device %#x: is not the null device", st.Mode, st.Rdev)
	}
	for _, name := range maskedFiles {
		if _, err := mask(job, "proc/"+name, func() (mount, error) { return copyMount(job, "dev/null") }); err != nil {
			return err
		}
	}
	empty := func() (mount, error) {
		return newMount("tmpfs", readOnly|noexec|nosuidNodev, option{"nr_inodes", "1"}, option{"mode", "0555"})
	}
	for _, name := range maskedDirs {
		masked, err := mask(job, "proc/"+name, empty)
		if err != nil {
			return err
		}
		if masked {
			empty = func() (mount, error) { return copyMount(job, "proc/"+name) }
		}
	}
	return nil
}

// mask attaches what make returns at path, if there is something.
func mask(job int, path string, make func() (mount, error)) (masked bool, err error) {
	switch err := unix.Faccessat(job, path, unix.F_OK, 0); {
	case err == unix.ENOENT:
		return false, nil
	case err != nil:
		return false, fmt.Errorf("/%s: %w", path, err)
	}
	return true, attachNew(job, path, make)
}
