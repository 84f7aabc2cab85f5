package escape

import (
	"slices"

	"golang.org/x/sys/unix"
)

// namespaces are all there are, namespaces(7).
var namespaces = []struct {
	name, file string
	flag       int
}{
	{"mount", "mnt", unix.CLONE_NEWNS},
	{"UTS", "uts", unix.CLONE_NEWUTS},
	{"IPC", "ipc", unix.CLONE_NEWIPC},
	{"user", "user", unix.CLONE_NEWUSER},
	{"PID", "pid", unix.CLONE_NEWPID},
	{"network", "net", unix.CLONE_NEWNET},
	{"cgroup", "cgroup", unix.CLONE_NEWCGROUP},
	{"time", "time", unix.CLONE_NEWTIME},
}

// namespaceProbes try to get rights in a namespace of the job's own, in which it
// would be root, and to change what is mounted.
var namespaceProbes = slices.Concat(ownNamespaces(), mountProbes)

func ownNamespaces() (probes []Probe) {
	for _, ns := range namespaces {
		probes = append(probes, calling("unshare: "+ns.name+" namespace", "ok", "EPERM", call{unix.SYS_UNSHARE, ns.flag}))
		if ns.flag != unix.CLONE_NEWTIME { // whose bit clone(2) takes for a part of the signal
			probes = append(probes, calling("clone: "+ns.name+" namespace", "ok", "EPERM", call{unix.SYS_CLONE, ns.flag | int(unix.SIGCHLD), 0, 0, 0, 0}))
		}
		probes = append(probes, calling("clone3: "+ns.name+" namespace", "ok", "EPERM",
			// struct clone_args: flags, three addresses, exit_signal
			call{unix.SYS_CLONE3, []uint64{uint64(ns.flag), 0, 0, 0, uint64(unix.SIGCHLD), 0, 0, 0}, 64}))
		if ns.flag != unix.CLONE_NEWUSER { // no process may enter again the one it is in
			probes = append(probes, calling("setns: "+ns.name+" namespace", "ok", "EPERM",
				call{unix.SYS_OPENAT, unix.AT_FDCWD, "/proc/self/ns/" + ns.file, unix.O_RDONLY},
				call{unix.SYS_SETNS, result, 0}))
		}
	}
	return append(probes, calling("setns: of PID 1", "ok", "EPERM",
		call{unix.SYS_PIDFD_OPEN, 1, 0},
		call{unix.SYS_SETNS, result, unix.CLONE_NEWNS}))
}

// privately precedes what changes mounts: outside they are the program's own then.
func privately(calls ...call) []call {
	return append([]call{
		{unix.SYS_UNSHARE, unix.CLONE_NEWNS},
		{unix.SYS_MOUNT, "none", "/", nil, unix.MS_REC | unix.MS_PRIVATE, nil},
	}, calls...)
}

var mountProbes = []Probe{
	calling("mount a tmpfs", "ok", "EPERM", privately(call{unix.SYS_MOUNT, "none", "/tmp", "tmpfs", 0, nil})...),
	calling("mount a proc", "ok", "EPERM", privately(call{unix.SYS_MOUNT, "none", "/tmp", "proc", 0, nil})...),
	calling("mount cgroups", "ok", "EPERM", privately(call{unix.SYS_MOUNT, "none", "/tmp", "cgroup2", 0, nil})...),
	calling("bind a directory", "ok", "EPERM", privately(call{unix.SYS_MOUNT, "/usr", "/tmp", nil, unix.MS_BIND, nil})...),
	calling("remount / writable", "ok", "EPERM", privately(call{unix.SYS_MOUNT, nil, "/", nil, unix.MS_REMOUNT | unix.MS_BIND, nil})...),
	calling("remount /usr writable", "ok|EINVAL", "EPERM", privately(call{unix.SYS_MOUNT, nil, "/usr", nil, unix.MS_REMOUNT | unix.MS_BIND, nil})...), // EINVAL where it is no mount point
	calling("mount_setattr / writable", "ok", "EPERM", privately(call{unix.SYS_MOUNT_SETATTR, unix.AT_FDCWD, "/", 0, []uint64{0, unix.MOUNT_ATTR_RDONLY, 0, 0}, 32})...),
	calling("unmount /proc", "ok", "EPERM", privately(call{unix.SYS_UMOUNT2, "/proc", unix.MNT_DETACH})...),
	calling("unmount /dev/shm", "ok", "EPERM", privately(call{unix.SYS_UMOUNT2, "/dev/shm", unix.MNT_DETACH})...),
	calling("uncover /proc/kcore", "EINVAL", "EPERM", privately(call{unix.SYS_UMOUNT2, "/proc/kcore", 0})...), // outside it is not covered
	calling("pivot_root", "ok", "EPERM", privately(
		call{unix.SYS_MOUNT, "/", "/tmp", nil, unix.MS_BIND, nil},
		call{unix.SYS_CHDIR, "/tmp"},
		call{unix.SYS_PIVOT_ROOT, ".", "."})...),
	calling("chroot", "ok", "EPERM", call{unix.SYS_CHROOT, "/tmp"}),
	calling("open_tree a copy", "ok", "EPERM", call{unix.SYS_OPEN_TREE, unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE}),
	calling("fsopen tmpfs", "ok", "EPERM", call{unix.SYS_FSOPEN, "tmpfs", 0}),
	calling("fsmount", "EBADF", "EPERM", call{unix.SYS_FSMOUNT, -1, 0, 0}),
	calling("fspick", "ok", "EPERM", call{unix.SYS_FSPICK, unix.AT_FDCWD, "/dev/shm", 0}),
	calling("move_mount", "ok", "EPERM", privately(
		call{unix.SYS_OPEN_TREE, unix.AT_FDCWD, "/usr", unix.OPEN_TREE_CLONE},
		call{unix.SYS_MOVE_MOUNT, result, "", unix.AT_FDCWD, "/tmp", unix.MOVE_MOUNT_F_EMPTY_PATH})...),
}
