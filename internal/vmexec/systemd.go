//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const systemd = "/usr/lib/systemd/systemd"

// systemFiles make systemd boot to the point where services run, and then run the
// program. Nobody waits for it to end: it restarts the machine. Without a machine
// id systemd would take this for the first boot, and ask questions; with its own
// tmp.conf it would empty /tmp, below which the program's directory may be.
var systemFiles = []struct{ name, text string }{
	{"/etc/tmpfiles.d/tmp.conf", ""},
	{"/etc/machine-id", "76b98bf36d6d4f2d8ab1f0a9c0d1e2f3\n"},
	{"/etc/systemd/system/default.target", "[Unit]\nRequires=basic.target vmexec.service\nAfter=basic.target\n"},
	{"/etc/systemd/system/vmexec.service", "[Service]\nType=exec\nExecStart=@/init " + serviceName + "\nStandardError=journal+console\nTimeoutStopSec=5s\n"},
}

// becomeSystemd makes this process, which is init, systemd. It returns only an
// error.
func becomeSystemd() error {
	if err := leaveRootfs(); err != nil {
		return fmt.Errorf("leave rootfs: %w", err)
	}
	for _, f := range systemFiles {
		if err := os.MkdirAll(filepath.Dir(f.name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(f.name, []byte(f.text), 0o644); err != nil {
			return err
		}
	}
	return fmt.Errorf("exec %s: %w", systemd, unix.Exec(systemd, []string{systemd}, nil))
}
