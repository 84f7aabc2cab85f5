//go:build failpoint

package failpoint

import (
	"os"

	"golang.org/x/sys/unix"
)

// Here kills this process if the failpoint of that name is to fail. It does not return
// then.
func Here(name string) {
	if os.Getenv(Variable) == name {
		unix.Kill(os.Getpid(), unix.SIGKILL)
		select {} // the signal takes a moment to reach all threads
	}
}
