//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

const hostname = "vm"

// diskWait bounds the wait for the NVMe controller, which the kernel probes
// while init already runs.
const diskWait = 20 * time.Second

const hardened = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// guestMounts are the guest's file systems, with the options of a host run by
// systemd. Order matters: parents first.
var guestMounts = []struct {
	source, target, fstype string
	flags                  uintptr
	options                string
}{
	{"devtmpfs", "/dev", "devtmpfs", unix.MS_NOSUID, "mode=0755"},
	{"devpts", "/dev/pts", "devpts", unix.MS_NOSUID | unix.MS_NOEXEC, "gid=5,mode=620,ptmxmode=666"},
	{"tmpfs", "/dev/shm", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
	{"proc", "/proc", "proc", hardened, ""},
	{"tmpfs", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755"},
	{"sysfs", "/sys", "sysfs", hardened, ""},
	{"cgroup2", "/sys/fs/cgroup", "cgroup2", hardened, "nsdelegate,memory_recursiveprot"},
}

// disk is the whole disk the host formatted.
const disk = "/dev/nvme0n1"

// serviceName is what this program is called where systemd runs it.
const serviceName = "vmexec-service"

// guest is the init process of the machine, or the service of its init. It does
// not return.
func guest() {
	if err := serve(); err != nil {
		fmt.Fprintln(os.Stderr, "vmexec: guest:", err)
	}
	// QEMU runs with -no-reboot, so a restart ends it.
	err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	panic(fmt.Sprintf("vmexec: reboot: %v", err)) // init's end: the kernel panics and restarts
}

// serve sets up the system, runs the program, and reports its status on ttyS2.
// Where systemd is init it becomes that instead, and serves in its service.
func serve() error {
	p, err := readProgram()
	if err != nil {
		return err
	}
	switch {
	case !p.Systemd:
		err = setUp()
	case os.Getpid() == 1:
		err = becomeSystemd()
	default:
		err = errors.Join(mountDisk(), installBusybox())
	}
	if err != nil {
		return err
	}
	// A real host would not have them.
	if err := errors.Join(os.Remove(programFile), os.Remove("/init")); err != nil {
		return err
	}
	out, err := openSerial("/dev/ttyS1")
	if err != nil {
		return err
	}
	report, err := openSerial("/dev/ttyS2")
	if err != nil {
		return err
	}
	status, err := p.run(out)
	if err != nil {
		return err
	}
	if err := drain(out); err != nil {
		return err
	}
	fmt.Fprintln(report, status)
	return drain(report)
}

// setUp makes of the unpacked archive a running system.
func setUp() error {
	if err := leaveRootfs(); err != nil {
		return fmt.Errorf("leave rootfs: %w", err)
	}
	if err := mountAll(); err != nil {
		return err
	}
	if err := os.Symlink("/proc/self/fd", "/dev/fd"); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(hostname)); err != nil {
		return fmt.Errorf("sethostname: %w", err)
	}
	if err := linkUp("lo"); err != nil {
		return fmt.Errorf("link lo up: %w", err)
	}
	return installBusybox()
}

// installBusybox makes a link of every command that is not there.
func installBusybox() error {
	out, err := exec.Command("/usr/bin/busybox", "--install", "-s", "/usr/bin").CombinedOutput()
	if err != nil {
		return fmt.Errorf("busybox --install: %w: %s", err, out)
	}
	return nil
}

func mountAll() error {
	for _, m := range guestMounts {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.source, m.target, m.fstype, m.flags, m.options); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	if err := mountDisk(); err != nil {
		return err
	}
	// systemd makes every mount shared; a job's mounts must not come back
	// through that.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share mounts: %w", err)
	}
	return nil
}

func mountDisk() error {
	if err := waitFor(disk, diskWait); err != nil {
		return err
	}
	if err := unix.Mount(disk, "/disk", "ext4", unix.MS_RELATIME, "noinit_itable"); err != nil {
		return fmt.Errorf("mount %s: %w", disk, err)
	}
	return nil
}

// leaveRootfs makes a bind mount of the root directory the new root, because
// pivot_root(2) refuses to replace the initial RAM file system itself.
func leaveRootfs() error {
	if err := unix.Mount("/", "/mnt", "", unix.MS_BIND, ""); err != nil {
		return err
	}
	if err := unix.Chdir("/mnt"); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return err
	}
	return unix.Chroot(".")
}

// waitFor waits until name is there. There is no udev to ask.
func waitFor(name string, limit time.Duration) error {
	for end := time.Now().Add(limit); ; time.Sleep(5 * time.Millisecond) {
		_, err := os.Stat(name)
		if err == nil || !errors.Is(err, fs.ErrNotExist) || time.Now().After(end) {
			return err
		}
	}
}

// linkUp brings a network interface up, netdevice(7).
func linkUp(name string) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, req)
}

// readProgram reads what to run.
func readProgram() (program, error) {
	var p program
	b, err := os.ReadFile(programFile)
	if err != nil {
		return p, err
	}
	if err := json.Unmarshal(b, &p); err != nil {
		return p, fmt.Errorf("%s: %w", programFile, err)
	}
	return p, nil
}

// run runs the program with its output on out and returns its exit status,
// 128+n when it was killed by signal n.
func (p program) run(out *os.File) (int, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	proc, err := os.StartProcess(p.Args[0], p.Args, &os.ProcAttr{
		Dir: p.Dir, Env: p.Env, Files: []*os.File{null, out, out},
	})
	if err != nil {
		return 0, err
	}
	ws, err := reap(proc.Pid)
	if err != nil {
		return 0, fmt.Errorf("wait: %w", err)
	}
	if ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return ws.ExitStatus(), nil
}

// reap waits for the process pid and, as an init must, for every orphan that
// ends before it.
func reap(pid int) (unix.WaitStatus, error) {
	for {
		var ws unix.WaitStatus
		switch p, err := unix.Wait4(-1, &ws, 0, nil); {
		case err == unix.EINTR:
		case err != nil:
			return ws, err
		case p == pid:
			return ws, nil
		}
	}
}

// openSerial opens a serial port with output processing off, so that bytes
// arrive as they were written.
func openSerial(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	t, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("%s: TCGETS: %w", name, err)
	}
	t.Oflag &^= unix.OPOST
	if err := unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, t); err != nil {
		return nil, fmt.Errorf("%s: TCSETS: %w", name, err)
	}
	return f, nil
}

// drain waits until all output has left the port, tcdrain(3). A SIGCHLD of an
// orphan may interrupt it.
func drain(f *os.File) error {
	for {
		switch err := unix.IoctlSetInt(int(f.Fd()), unix.TCSBRK, 1); err {
		case nil:
			return nil
		case unix.EINTR:
		default:
			return fmt.Errorf("%s: TCSBRK: %w", f.Name(), err)
		}
	}
}
