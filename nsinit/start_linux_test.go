package nsinit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"jobworker/nsinit"
)

// TestExit: the exit file says how the main process ended, and how much there
// is in the log.
func TestExit(t *testing.T) {
	for _, tt := range []struct {
		script, output string
		code, signal   int
	}{
		{"true", "", 0, 0},
		{"echo out; echo err >&2; exit 3", "out\nerr\n", 3, 0},
		{"printf torn; kill -KILL $$", "torn", 0, 9},
		{"sleep 1000 & exit 255", "", 255, 0},
		{"kill -34 $$", "", 0, 34},
	} {
		t.Run(tt.script, func(t *testing.T) {
			fx := newFixture(t)
			begin := time.Now()
			p := fx.start(tt.script)
			must(t, p.Wait())
			fx.empty()
			e := fx.exited()
			if e == nil {
				t.Fatalf("exit file %q", fx.read(fx.exit))
			}
			if e.Signal != tt.signal || tt.signal == 0 && *e.Code != tt.code || e.LogError != "" {
				t.Errorf("exit file %s, want code %d, signal %d", fx.read(fx.exit), tt.code, tt.signal)
			}
			if p.Started().Before(begin) || e.Time.Before(p.Started()) || time.Now().Before(e.Time) {
				t.Errorf("began %v, started %v, ended %v", begin, p.Started(), e.Time)
			}
			out := fx.output()
			if len(out) != len(tt.output) || e.OutputBytes != int64(len(out)) {
				t.Errorf("output %q, %d bytes by the exit file, want %q", out, e.OutputBytes, tt.output)
			}
			for line := range strings.Lines(tt.output) { // two pipes have no common order
				if !strings.Contains(out, line) {
					t.Errorf("output %q, want %q in it", out, line)
				}
			}
		})
	}
}

// TestReports: a start that went wrong says where and why, and leaves no process
// and no trace.
func TestReports(t *testing.T) {
	for _, tt := range []struct {
		change func(*nsinit.Config)
		stage  string
		errno  syscall.Errno
		want   string
	}{
		{func(c *nsinit.Config) { c.Argv = []string{"foo", "x"} }, "exec", unix.ENOENT, `exec: "foo": not found`},
		{func(c *nsinit.Config) { c.Argv = []string{"/etc"} }, "exec", unix.EACCES, `exec: "/etc": permission denied`},
		{func(c *nsinit.Config) { c.Env = nil }, "exec", unix.ENOENT, `exec: "sh": not found`},
		{func(c *nsinit.Config) { c.Dir = "/a" }, "dir", unix.ENOENT, `dir: "/a": no such file or directory`},
		{func(c *nsinit.Config) { c.Dir = "/../job" }, "dir", unix.ENOENT, `dir: "/../job": no such file or directory`},
		{func(c *nsinit.Config) { c.ScratchDir += "2" }, "root", unix.ENOENT, "scratch2: no such file or directory"},
		{func(c *nsinit.Config) { c.ID = strings.Repeat("x", 65) }, "net", unix.EINVAL, "sethostname: invalid argument"},
		{func(c *nsinit.Config) { c.UID = 0 }, "config", 0, "user 0, group 1879048192: no job runs as root"},
		{func(c *nsinit.Config) { c.GID = 0 }, "config", 0, "user 1879048192, group 0: no job runs as root"},
		{func(c *nsinit.Config) { c.Binds = []string{"/data"} }, "config", 0, "0 binds for 1 places"},
		{func(c *nsinit.Config) { c.CPUMax = "max 100000" }, "cgroup", unix.EBADF, `cpu.max: write "max 100000": bad file descriptor`},
		{func(c *nsinit.Config) { c.Argv = []string{"/scratch/noexec"} }, "exec", unix.ENOEXEC, `exec: "/scratch/noexec": exec format error`},
	} {
		t.Run(tt.want, func(t *testing.T) {
			fx := newFixture(t)
			must(t, os.WriteFile(filepath.Join(fx.scratch, "noexec"), []byte("?"), 0o755))
			c := fx.config("true")
			tt.change(&c)
			p, err := fx.launch(t.Context(), c)
			if err == nil {
				t.Fatal(errors.Join(errors.New("started"), p.Kill(), p.Wait(), p.Close()))
			}
			e, ok := errors.AsType[*nsinit.StartError](err)
			if !ok || e.Stage != tt.stage || e.Errno != tt.errno || !strings.Contains(e.Message, tt.want) {
				t.Errorf("error %+v, want stage %s, errno %d, %s", err, tt.stage, tt.errno, tt.want)
			}
			fx.empty()
			start, exit, err := nsinit.ParseExitFile(fx.read(fx.exit))
			if err != nil || start == nil || start.Stage != tt.stage || start.Message != e.Message || exit != nil || len(fx.read(fx.log)) > 0 {
				t.Errorf("log %q and exit file %q, %v of a job that never was", fx.read(fx.log), fx.read(fx.exit), err)
			}
		})
	}
}

// TestCloneRefused: the kernel's reason is put into words.
func TestCloneRefused(t *testing.T) {
	fx := newFixture(t)
	fx.setup.InitCgroup = fx.files.Log // no cgroup at all
	_, err := fx.launch(t.Context(), fx.config("true"))
	if e, ok := errors.AsType[*nsinit.StartError](err); !ok || e.Stage != "clone" || e.Errno != unix.EBADF {
		t.Errorf("error %+v, want stage clone, EBADF", err)
	}
}

// TestStartCanceled cancels a start at every moment of it: there is a process,
// or its context's error and no process.
func TestStartCanceled(t *testing.T) {
	canceled := 0
	for i := range 40 {
		fx := newFixture(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*150*time.Microsecond)
		p, err := fx.launch(ctx, fx.config("echo ran"))
		cancel()
		if err == nil {
			must(t, errors.Join(p.Wait(), p.Close()))
			if out := fx.output(); out != "ran\n" {
				t.Errorf("output %q of a start that was not canceled", out)
			}
			continue
		}
		canceled++
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want that of the context", err)
		}
		fx.empty()
	}
	if canceled == 0 {
		t.Error("no start was canceled, the first had no time at all")
	}
}

// TestSignalsInherited: what the daemon ignores or blocks the job does not.
func TestSignalsInherited(t *testing.T) {
	fx := newFixture(t)
	runtime.LockOSThread() // a child has the signal mask of the thread that forks it
	defer runtime.UnlockOSThread()
	var old unix.Sigset_t
	must(t, unix.PthreadSigmask(unix.SIG_BLOCK, &unix.Sigset_t{Val: [16]uint64{1<<(unix.SIGUSR1-1) | 1<<(unix.SIGTERM-1)}}, &old))
	signal.Ignore(unix.SIGHUP)
	c := fx.config("")
	c.Argv = []string{"grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"} // a shell may clear its mask
	p, err := fx.launch(t.Context(), c)
	signal.Reset(unix.SIGHUP)
	must(t, unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil))
	must(t, errors.Join(err, p.Wait(), p.Close()))
	if out, want := fx.output(), "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n"; out != want {
		t.Errorf("the job has\n%swant\n%s", out, want)
	}
}

// TestPersonalityInherited: a daemon whose addresses are not randomized, as under
// setarch -R, has jobs whose are.
func TestPersonalityInherited(t *testing.T) {
	fx := newFixture(t)
	runtime.LockOSThread() // it is that of the thread
	defer runtime.UnlockOSThread()
	const addrNoRandomize = 0x0040000 // from linux/personality.h
	old, _, errno := unix.RawSyscall(unix.SYS_PERSONALITY, addrNoRandomize, 0, 0)
	if errno != 0 {
		t.Fatal(errno)
	}
	p, err := fx.launch(t.Context(), fx.config("cat /proc/self/personality"))
	unix.RawSyscall(unix.SYS_PERSONALITY, old, 0, 0)
	must(t, errors.Join(err, p.Wait(), p.Close()))
	if out := fx.output(); out != "00000000\n" {
		t.Errorf("the job has the personality %q", out)
	}
}

// TestKilled: a nsinit that was killed takes the job with it, and says nothing
// of its end.
func TestKilled(t *testing.T) {
	fx := newFixture(t)
	fifo := fx.fifo()
	p := fx.start("echo ready > fifo; exec sleep 1000")
	if b := fx.read(fifo); string(b) != "ready\n" {
		t.Fatalf("fifo: %q", b)
	}
	must(t, p.SetDeadline(time.Now()))
	if err := p.Wait(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("wait: %v, want its deadline", err)
	}
	must(t, p.SetDeadline(time.Time{}))
	must(t, p.Kill())
	must(t, p.Wait())
	fx.empty()
	if e := fx.exited(); e != nil {
		t.Errorf("exit file says %+v", e)
	}
	must(t, p.Kill()) // of what is gone already
}

// TestAlone: without a daemon the job goes on, is recorded to its end, and its
// end too.
func TestAlone(t *testing.T) {
	fx := newFixture(t)
	fifo := fx.fifo()
	p := fx.start("read line < fifo; echo $line; echo last words >&2; exit 4")
	for _, f := range []*os.File{fx.files.Log, fx.files.Exit, fx.files.Control, fx.setup.InitCgroup, fx.setup.PayloadCgroup} {
		must(t, f.Close())
	}
	must(t, errors.Join(p.Close(), fx.image.Close()))
	must(t, os.WriteFile(fifo, []byte("go\n"), 0))
	// It is a child of this process all the same.
	if _, err := unix.Wait4(p.PID(), nil, 0, nil); err != nil {
		t.Fatal(err)
	}
	fx.empty()
	e := fx.exited()
	if e == nil || e.Code == nil || *e.Code != 4 {
		t.Errorf("exit file %q", fx.read(fx.exit))
	}
	if out := fx.output(); !strings.Contains(out, "go\n") || !strings.Contains(out, "last words\n") || e.OutputBytes != int64(len(out)) {
		t.Errorf("output %q, %d bytes by the exit file", out, e.OutputBytes)
	}
}

// TestControl: the FIFO's bytes are signals, and what is none does no harm.
func TestControl(t *testing.T) {
	fx := newFixture(t)
	fifo := fx.fifo()
	p := fx.start("trap 'echo usr1 > fifo' USR1; trap 'exit 6' TERM; echo ready > fifo; while :; do sleep .01; done")
	for i, want := range []string{"ready\n", "usr1\n"} {
		if i == 1 {
			control, err := os.OpenFile(fx.control, os.O_WRONLY, 0)
			must(t, err)
			_, err = control.Write([]byte{0, 65, 200, 255, 10})
			must(t, errors.Join(err, control.Close()))
		}
		if b := fx.read(fifo); string(b) != want {
			t.Fatalf("fifo: %q, want %q", b, want)
		}
	}
	must(t, nsinit.Signal(fx.control, 15))
	must(t, p.Wait())
	if e := fx.exited(); e == nil || e.Code == nil || *e.Code != 6 {
		t.Errorf("exit file %q", fx.read(fx.exit))
	}
	must(t, fx.files.Control.Close())
	if err := nsinit.Signal(fx.control, 15); err != nil {
		t.Errorf("signal to a job that is over: %v", err)
	}
}

func TestControlErrors(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "control")
	f, err := nsinit.MakeControl(name)
	must(t, err)
	defer f.Close()
	if f, err := nsinit.MakeControl(name); !errors.Is(err, os.ErrExist) {
		t.Errorf("second FIFO of one name: %v, %v", f, err)
	}
	for _, sig := range []int{-1, 0, 65, 256 + 9} {
		if err := nsinit.Signal(name, sig); err == nil || err.Error() != fmt.Sprintf("signal %d: there is no such signal", sig) {
			t.Errorf("signal %d: %v", sig, err)
		}
	}
	if err := nsinit.Signal(filepath.Join(dir, "none"), 15); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("signal through no FIFO: %v", err)
	}
	link := filepath.Join(dir, "link")
	must(t, os.Symlink(name, link))
	if err := nsinit.Signal(link, 15); !errors.Is(err, unix.ELOOP) {
		t.Errorf("signal through a link: %v", err)
	}
}

// TestSealed: nobody can change the program that nsinit is executed from.
func TestSealed(t *testing.T) {
	im, err := nsinit.NewImage()
	must(t, err)
	defer im.Close()
	names, err := filepath.Glob("/proc/self/fd/*")
	must(t, err)
	found := ""
	for _, name := range names {
		if target, err := os.Readlink(name); err == nil && strings.HasPrefix(target, "/memfd:jobworker") {
			found = name
		}
	}
	var fd int
	if _, err := fmt.Sscanf(found, "/proc/self/fd/%d", &fd); err != nil || fd < 100 {
		t.Fatalf("image at %q, want a descriptor from 100", found)
	}
	const all = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if seals, err := unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0); err != nil || seals&all != all {
		t.Errorf("seals %#x, %v, want %#x", seals, err, all)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("descriptor flags %#x, %v, want close-on-exec", flags, err)
	}
	f, err := os.OpenFile(found, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	_, write := f.WriteAt([]byte("x"), 0)
	_, mapped := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	for what, err := range map[string]error{"write": write, "truncate": f.Truncate(0), "grow": f.Truncate(1 << 30), "map": mapped} {
		if !errors.Is(err, os.ErrPermission) {
			t.Errorf("%s: %v, want it refused", what, err)
		}
	}
	exe, err := os.ReadFile("/proc/self/exe")
	must(t, err)
	if b, err := os.ReadFile(found); err != nil || !bytes.Equal(b, exe) {
		t.Errorf("image of %d bytes, %v, differs from the binary's %d", len(b), err, len(exe))
	}
}

// TestDescriptorNumbers: a start succeeds whatever numbers the daemon's files have.
// ForkExec moves its own pipe above all of them, which must not be where the image is.
func TestDescriptorNumbers(t *testing.T) {
	for n := 90; n < 110; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			fx := newFixture(t)
			if _, err := unix.FcntlInt(uintptr(n), unix.F_GETFD, 0); err == nil {
				return // taken, by the image for one
			}
			must(t, unix.Dup3(int(fx.setup.PayloadCgroup.Fd()), n, unix.O_CLOEXEC))
			fx.setup.PayloadCgroup = os.NewFile(uintptr(n), "payload")
			p, err := fx.launch(t.Context(), fx.config("echo ran"))
			must(t, errors.Join(err, fx.setup.PayloadCgroup.Close()))
			must(t, errors.Join(p.Wait(), p.Close()))
		})
	}
}

// TestEndedDespiteSignals: a signal that interrupts the question is not the end of the
// process. Taken for that, it had a job killed whose worker had been restarted.
func TestEndedDespiteSignals(t *testing.T) {
	fx := newFixture(t)
	p := fx.start("exec sleep 1000")
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid, tid := os.Getpid(), unix.Gettid()
	done := make(chan struct{})
	signalling := make(chan struct{})
	go func() {
		defer close(signalling)
		for {
			select {
			case <-done:
				return
			default:
				unix.Tgkill(pid, tid, unix.SIGURG) // as the runtime does to preempt
			}
		}
	}()
	ended := 0
	for range 200_000 {
		if p.Ended() {
			ended++
		}
	}
	close(done)
	<-signalling
	if ended > 0 {
		t.Errorf("said to have ended: %d times", ended)
	}
	must(t, p.Kill())
	must(t, p.Wait())
	if !p.Ended() {
		t.Error("not said to have ended")
	}
}
