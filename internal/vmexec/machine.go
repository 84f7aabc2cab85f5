//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// diskSize is the size of the guest's disk, a sparse file on the host.
const diskSize = 1 << 30

// A machine is one virtual machine: booted once, for one program.
type machine struct {
	kernel  string        // image to boot
	busybox string        // static busybox, the guest's user space
	memory  string        // as QEMU writes it: 1G
	accel   string        // QEMU's accelerator: tcg or kvm
	timeout time.Duration // from power on to power off
	files   []string      // further files, "host" or "host:guest"
	systemd bool          // systemd is the guest's init
	system  string        // directory of it and what it needs
}

// run boots the machine, runs args in it with the program's output on this
// process's stdout, and returns the program's exit status: 128+n for one
// killed by signal n. It blocks until the machine is gone, at the latest when
// ctx ends or the timeout passes. Everything it made is removed.
func (m *machine) run(ctx context.Context, args []string) (status int, err error) {
	needed := []string{m.kernel, m.busybox}
	if m.systemd {
		needed = append(needed, m.system)
	}
	for _, name := range needed {
		if _, err := os.Stat(name); err != nil {
			return 0, fmt.Errorf("%w; to get it: make deps", err)
		}
	}
	tmp, err := os.MkdirTemp("", "vmexec-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	if err := m.makeInitrd(filepath.Join(tmp, "initrd"), args); err != nil {
		return 0, fmt.Errorf("make initrd: %w", err)
	}
	if err := makeDisk(ctx, filepath.Join(tmp, "disk")); err != nil {
		return 0, fmt.Errorf("make disk: %w", err)
	}
	return m.boot(ctx, tmp)
}

func (m *machine) makeInitrd(name string, args []string) error {
	if err := checkStatic(args[0]); err != nil {
		return err
	}
	p, err := newProgram(args, m.systemd)
	if err != nil {
		return err
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(m.writeInitrd(f, p, args[0]), f.Close())
}

// makeDisk makes an ext4 file system in the sparse file name. Few inodes, all
// of them written now: the kernel would otherwise write them in the background
// while a test measures the disk.
func makeDisk(ctx context.Context, name string) error {
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		return err
	}
	if err := os.Truncate(name, diskSize); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-N", "16384",
		"-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", name)
	// mke2fs is in /usr/sbin, which an ordinary user's PATH leaves out.
	if cmd.Err != nil {
		cmd = exec.CommandContext(ctx, "/usr/sbin/mke2fs", cmd.Args[1:]...)
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mke2fs: %w: %s", err, out)
	}
	return nil
}

// boot runs QEMU on the files in dir. There are three serial ports: ttyS0 is
// the kernel's console, ttyS1 the output of the program, ttyS2 its exit status.
// Apart, nothing has to be found in a log, and nothing the program prints can
// be taken for its status.
func (m *machine) boot(ctx context.Context, dir string) (int, error) {
	console, status := filepath.Join(dir, "console"), filepath.Join(dir, "status")
	ctx, cancel := context.WithTimeoutCause(ctx, m.timeout, fmt.Errorf("guest still running after %v", m.timeout))
	defer cancel()
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", m.arguments(dir, console, status)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	// The machine must not outlive this process, even when that is killed
	// outright. The signal follows the creating thread (PR_SET_PDEATHSIG(2const)):
	// main is locked to the one that lives as long as the process.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	code := 0
	if err == nil {
		code, err = readStatus(status)
	}
	if err != nil {
		showConsole(console)
	}
	return code, err
}

// arguments are QEMU's. An NVMe drive, because that is the one block driver
// built into Debian's cloud kernel; -cpu max for every instruction there is;
// cache=unsafe, because nobody reads the disk after the machine is gone.
func (m *machine) arguments(dir, console, status string) []string {
	return []string{
		"-accel", m.accel, "-cpu", "max", "-smp", "2", "-m", m.memory,
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-rtc", "base=utc",
		"-kernel", m.kernel, "-initrd", filepath.Join(dir, "initrd"), "-append", commandLine,
		"-drive", "if=none,id=disk,format=raw,cache=unsafe,file=" + filepath.Join(dir, "disk"),
		"-device", "nvme,serial=disk,drive=disk",
		"-serial", "file:" + console,
		"-serial", "stdio",
		"-serial", "file:" + status,
	}
}

// commandLine is the kernel's (Documentation/admin-guide/kernel-parameters.rst).
// A panic restarts, which ends QEMU (-no-reboot); only cgroup v2 is offered.
const commandLine = "console=ttyS0 loglevel=5 panic=-1 rdinit=/init cgroup_no_v1=all psi=1 syscall.x32=y"

// readStatus reads the one line the guest leaves on its third port. Without it
// the guest did not get to its end, whatever else it said.
func readStatus(name string) (int, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	line, ok := strings.CutSuffix(string(b), "\n")
	code, err := strconv.Atoi(line)
	if !ok || err != nil || code < 0 {
		return 0, fmt.Errorf("guest ended without a status: %q", b)
	}
	return code, nil
}

func showConsole(name string) {
	b, err := os.ReadFile(name)
	if err != nil {
		fmt.Fprintln(os.Stderr, "vmexec: console:", err)
		return
	}
	fmt.Fprintf(os.Stderr, "vmexec: the kernel's console:\n%s\n", b)
}
