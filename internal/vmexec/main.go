//go:build linux

// Vmexec runs a test binary as root inside a throw-away Linux virtual machine.
// The go command starts it:
//
//	CGO_ENABLED=0 go test -exec 'go tool vmexec' ./cgroupv2
//
// so that patterns, -run, -v, -json and the verdict stay the go command's own.
// `make deps` provides what it needs: QEMU, mke2fs, and in the user's cache
// directory (below jobworker/) a kernel, a static busybox and a Debian systemd.
//
// # The guest
//
// One kernel with ext4, NVMe, cgroup v2 and every namespace built in, two
// processors, no network but loopback. The root is an archive made here: vmexec
// itself as init, the test binary in /usr/local/bin, the testdata directory of
// its package at the host's path, the files named by -file, and busybox as
// every command of /usr/bin. Otherwise it looks like a host run by systemd:
// shared mounts, cgroup2 at /sys/fs/cgroup with nsdelegate, /proc, /sys, /dev,
// /dev/shm, /run, /tmp. An empty ext4 file system on an NVMe disk is at /disk.
// KERNELTEST=vm tells the test where it is (package kerneltest).
//
// With -systemd the guest is a Debian system that systemd has booted, and the
// program one of its services; KERNELTEST is then "systemd".
//
// # Exit status
//
// That of the test binary; 128+n when signal n killed it. A guest that ends
// without having reported one - a panic, a hang, a crash of QEMU - is a
// failure: the kernel's console is shown and the status is 125.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

func main() {
	if os.Getpid() == 1 || os.Args[0] == serviceName {
		guest()
	}
	runtime.LockOSThread() // see machine.boot
	os.Exit(run(os.Args[1:], os.Stderr))
}

// run is main with its outside given: it returns the exit status.
func run(args []string, stderr io.Writer) int {
	cache, err := os.UserCacheDir()
	if err != nil {
		fmt.Fprintln(stderr, "vmexec:", err)
		return 125
	}
	var m machine
	fs := m.flags(filepath.Join(cache, "jobworker"))
	fs.SetOutput(stderr)
	switch err := fs.Parse(args); {
	case err == flag.ErrHelp:
		return 0
	case err != nil:
		return 2
	case fs.NArg() == 0:
		fs.Usage()
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(),
		syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM)
	defer stop()
	status, err := m.run(ctx, fs.Args())
	if err != nil {
		fmt.Fprintln(stderr, "vmexec:", err)
		return 125
	}
	return status
}

// flags declares the command line, which fills m; cache holds the defaults of
// what is booted.
func (m *machine) flags(cache string) *flag.FlagSet {
	fs := flag.NewFlagSet("vmexec", flag.ContinueOnError)
	fs.StringVar(&m.kernel, "kernel", filepath.Join(cache, "vmlinuz"), "kernel `image` to boot")
	fs.StringVar(&m.busybox, "busybox", filepath.Join(cache, "busybox"), "static busybox `binary` for the guest")
	fs.StringVar(&m.memory, "memory", "1G", "guest memory `size`; race-enabled binaries want 3G")
	fs.StringVar(&m.accel, "accel", "tcg", "QEMU `accelerator`; kvm is faster where it works, and hangs where it only seems to")
	fs.StringVar(&m.system, "system", filepath.Join(cache, "systemd"), "`directory` of unpacked packages: systemd and what it needs")
	fs.BoolVar(&m.systemd, "systemd", false, "boot that system, with systemd as init")
	fs.DurationVar(&m.timeout, "timeout", 11*time.Minute, "how long the guest may run; longer than go test's own -timeout, whose report says more")
	fs.Func("file", "copy `host[:guest]` into the guest (repeatable)", func(s string) error {
		m.files = append(m.files, s)
		return nil
	})
	fs.Usage = func() {
		fmt.Fprintln(fs.Output(), "usage: vmexec [flags] program [argument ...]")
		fs.PrintDefaults()
	}
	return fs
}
