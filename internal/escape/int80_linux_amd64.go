package escape

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// int80raw makes a system call without arguments as i386 does, and returns what
// the kernel returns: an errno is negative.
func int80raw(number uintptr) (result int32)

//go:nosplit
func callInt80(number uintptr) (uintptr, syscall.Errno) {
	r := int80raw(number)
	if r < 0 {
		return 0, syscall.Errno(-r)
	}
	return uintptr(r), 0
}

const i386Getpid = 20 // linux/arch/x86/entry/syscalls/syscall_32.tbl

// x32 is set in the numbers of that ABI's calls, linux/arch/x86/include/uapi/asm/unistd.h.
const x32 = 1 << 30

// archProbes are about what only this architecture has.
var archProbes = []Probe{
	calling("int 0x80: getpid", "ok", "SIGSYS", call{int80, i386Getpid}),
	// A Linux that has x32 switched off has no other answer outside either.
	calling("x32: getpid", "ok|ENOSYS", "ENOSYS", call{x32 + unix.SYS_GETPID}),
	calling("iopl", "ok", "EPERM", call{unix.SYS_IOPL, 3}),
	calling("ioperm", "ok", "EPERM", call{unix.SYS_IOPERM, 0x80, 1, 1}),
	calling("modify_ldt", "ok", "EPERM", call{unix.SYS_MODIFY_LDT, 0, make([]byte, 64), 64}),
}
