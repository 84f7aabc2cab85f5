package nsinit

import "golang.org/x/sys/unix"

const filterArch uint32 = unix.AUDIT_ARCH_AARCH64

var archAllowedCalls = []uint32{unix.SYS_RENAMEAT}

var archRefusedCalls []uint32 // none

var archArgumentRules []argumentRule // none
