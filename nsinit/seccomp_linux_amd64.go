package nsinit

import "golang.org/x/sys/unix"

const filterArch uint32 = unix.AUDIT_ARCH_X86_64

// archAllowedCalls are older forms of allowedCalls, which arm64 never had.
var archAllowedCalls = []uint32{
	unix.SYS_ACCESS, unix.SYS_ALARM, unix.SYS_ARCH_PRCTL, unix.SYS_CHOWN, unix.SYS_DUP2, unix.SYS_EPOLL_CREATE,
	unix.SYS_EPOLL_WAIT, unix.SYS_EVENTFD, unix.SYS_FORK, unix.SYS_FUTIMESAT, unix.SYS_GETDENTS, unix.SYS_GETPGRP, unix.SYS_INOTIFY_INIT,
	unix.SYS_LCHOWN, unix.SYS_LINK, unix.SYS_LSTAT, unix.SYS_MKDIR, unix.SYS_PAUSE, unix.SYS_PIPE,
	unix.SYS_POLL, unix.SYS_READLINK, unix.SYS_RENAME, unix.SYS_RENAMEAT, unix.SYS_RMDIR, unix.SYS_SELECT, unix.SYS_SIGNALFD, unix.SYS_STAT,
	unix.SYS_SYMLINK, unix.SYS_TIME, unix.SYS_UNLINK, unix.SYS_UTIME, unix.SYS_UTIMES, unix.SYS_VFORK,
}

var archRefusedCalls = []uint32{unix.SYS_IOPERM, unix.SYS_IOPL, unix.SYS_MODIFY_LDT, unix.SYS_USELIB}

var archArgumentRules = []argumentRule{
	{call: unix.SYS_CHMOD, arg: 1, mask: setID, match: notAllowed, other: allow},
	{call: unix.SYS_CREAT, arg: 1, mask: setID, match: notAllowed, other: allow},
	{call: unix.SYS_MKNOD, arg: 1, mask: setID, match: notAllowed, other: allow},
	{call: unix.SYS_OPEN, arg: 2, mask: setID, flag: creates, match: notAllowed, other: allow},
}
