//go:build linux && !amd64

package escape

import "syscall"

//go:nosplit
func callInt80(uintptr) (uintptr, syscall.Errno) { return 0, syscall.ENOSYS }

var archProbes []Probe // none
