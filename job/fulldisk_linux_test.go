package job_test

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"jobworker/internal/kerneltest"
	"jobworker/job"
	"jobworker/stream"
)

// These tests mount file systems: they run in the virtual machine.

// mounted returns a directory with a file system of its own.
func mounted(t *testing.T, fstype, options string) (dir string) {
	t.Helper()
	kerneltest.VM(t)
	dir = t.TempDir()
	if err := unix.Mount(fstype, dir, fstype, unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// smallDisk is what fills up in no time.
const smallDisk = "size=12m"

// fill takes all the room there is on the disk of dir, until it is let go.
func fill(t *testing.T, dir string) (letGo func()) {
	t.Helper()
	name := filepath.Join(dir, "filling")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 4096); err == nil; {
		_, err = f.Write(block)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(name); err != nil {
			t.Error(err)
		}
	}
}

// told is a job that does what is written to its input: a line "N" has it write N
// bytes to its output and then say so in /scratch/done, "exit N" ends it.
const told = `mkfifo done; echo ready
while read what code; do
	[ "$what" = exit ] && exit $code
	head -c $what /dev/zero | tr '\0' x; echo written > done
done`

// A teller tells a job what to write.
type teller struct {
	t    *testing.T
	in   *job.Stdin
	done string // path of the job's FIFO
}

func newTeller(t *testing.T, w *job.Worker, dir string) (*teller, job.Job) {
	t.Helper()
	s := sh(told)
	s.Stdin = true
	j := started(t, w, s)
	in, err := w.Stdin(t.Context(), j.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close() })
	return &teller{t: t, in: in, done: filepath.Join(dir, "state", "jobs", j.ID, "scratch", "done")}, j
}

func (d *teller) say(line string) {
	d.t.Helper()
	if _, err := d.in.Write([]byte(line + "\n")); err != nil {
		d.t.Fatal(err)
	}
}

// write returns when the job has written n bytes: nsinit has read all of them but
// what the pipe holds, 1 MiB.
func (d *teller) write(n string) {
	d.t.Helper()
	d.say(n)
	if b, err := os.ReadFile(d.done); err != nil || string(b) != "written\n" {
		d.t.Fatalf("job: %q, %v", b, err)
	}
}

// TestFullDisk: a full disk holds no job up, costs no verdict, and keeps no job from
// being started without saying so. What is lost is marked when there is room again,
// also where the job says nothing more, and then everything goes on.
func TestFullDisk(t *testing.T) {
	dir := mounted(t, "tmpfs", smallDisk)
	var log bytes.Buffer // read after the worker is gone
	w := openWorker(t, dir, noSpare, func(c *job.Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	goesOn, a := newTeller(t, w, dir)
	ends, b := newTeller(t, w, dir)
	follower, err := w.Output(a.ID, stream.Query{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer follower.Close()

	letGo := fill(t, dir)
	goesOn.write("2000000")
	ends.write("1500000")
	ends.say("exit 7")
	if b = wait(t, w, b.ID); verdict(b) != "exited 7" || b.OutputBytes != 1500000+int64(len("ready\n")) {
		t.Errorf("on a full disk: verdict %q, %d bytes", verdict(b), b.OutputBytes)
	}
	if _, _, err := w.Start(t.Context(), job.StartOptions{Owner: "alice", Spec: sh("true")}); !errors.Is(err, job.ErrNoSpace) {
		t.Errorf("start on a full disk: %v", err)
	}
	if j := status(t, w, a.ID); j.State != job.Running {
		t.Errorf("job %+v, want it running", j)
	}

	letGo()
	// The job is silent. A gap that fits into what is left of a block may be there already.
	if gap := nextGap(t, follower); gap.Reason != stream.GapNoSpace {
		t.Errorf("gap %+v", gap)
	}
	goesOn.write("10")
	goesOn.say("exit 3")
	if a = wait(t, w, a.ID); verdict(a) != "exited 3" || a.OutputBytes != 2000010+int64(len("ready\n")) {
		t.Errorf("verdict %q, %d bytes", verdict(a), a.OutputBytes)
	}
	if j, out := run(t, w, sh("echo again")); verdict(j) != "exited 0" || out != "again\n" {
		t.Errorf("after: verdict %q, output %q", verdict(j), out)
	}
	if err := w.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "the end of the job is on the disk now") {
		t.Errorf("log:\n%s", log.String())
	}
	checkEnd(t, dir, a, b)
}

// nextGap reads on until there is a gap frame.
func nextGap(t *testing.T, r *stream.Reader) stream.Frame {
	t.Helper()
	for {
		lines, err := r.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(lines) {
			if f, err := stream.Decode(line); err != nil || f.Type == stream.TypeGap {
				if err != nil {
					t.Fatal(err)
				}
				return f
			}
		}
	}
}

// checkEnd fails unless a worker that comes after finds jobs as they ended.
func checkEnd(t *testing.T, dir string, jobs ...job.Job) {
	t.Helper()
	w := openWorker(t, dir)
	for _, j := range jobs {
		again := status(t, w, j.ID)
		if verdict(again) != verdict(j) || again.OutputBytes != j.OutputBytes {
			t.Errorf("job %s by the next worker: %q, %d bytes, want %q, %d", j.ID, verdict(again), again.OutputBytes, verdict(j), j.OutputBytes)
		}
		frames := recorded(t, w, j)
		if last := frames[len(frames)-1]; last.Type != stream.TypeExit || last.Reason != j.Verdict.Reason {
			t.Errorf("log of %s ends with %+v", j.ID, last)
		}
	}
}

// TestReserveIsLeft: output that would take from the reserve is lost and marked, so
// that the records of jobs have their room; no job is started until there is more.
func TestReserveIsLeft(t *testing.T) {
	const reserve = 4 << 20
	dir := mounted(t, "tmpfs", smallDisk)
	w := openWorker(t, dir, noSpare, func(c *job.Config) { c.ReserveBytes = reserve })
	d, j := newTeller(t, w, dir)
	d.write("12000000")
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || int64(st.Bavail)*st.Bsize < reserve-1<<20 {
		t.Errorf("%d bytes are left of a reserve of %d, %v", int64(st.Bavail)*st.Bsize, reserve, err)
	}
	if _, _, err := w.Start(t.Context(), job.StartOptions{Owner: "alice", Spec: sh("true")}); !errors.Is(err, job.ErrNoSpace) {
		t.Errorf("start with the reserve touched: %v", err)
	}
	d.say("exit 5")
	if j = wait(t, w, j.ID); verdict(j) != "exited 5" {
		t.Errorf("verdict %q", verdict(j))
	}
	frames := recorded(t, w, j)
	if gap, exit := frames[len(frames)-2], frames[len(frames)-1]; gap.Reason != stream.GapNoSpace || exit.Type != stream.TypeExit {
		t.Errorf("the log ends with %+v, %+v", gap, exit)
	}
	if err := w.Remove(t.Context(), j.ID, "alice"); err != nil {
		t.Fatal(err)
	}
	if j, _ := run(t, w, sh("true")); verdict(j) != "exited 0" {
		t.Errorf("after: verdict %q", verdict(j))
	}
}

// TestNoHoles: where no holes can be punched a job that is to keep its newest output
// is refused, with the reason, and nothing else is missed; nor is the reserve where free
// space is not counted.
func TestNoHoles(t *testing.T) {
	dir := mounted(t, "ramfs", "mode=0700")
	w := openWorker(t, dir, noSpare, func(c *job.Config) { c.ReserveBytes = 1 << 40 })
	_, _, err := w.Start(t.Context(), job.StartOptions{Owner: "alice", Spec: full(job.KeepNewest, "true")})
	e, ok := errors.AsType[*job.LimitError](err)
	if !ok || e.Field != "limits.output_full" || !strings.HasSuffix(e.Reason, "punch hole: operation not supported") || strings.Contains(e.Reason, dir) {
		t.Errorf("start: %v", err)
	}
	if j, out := run(t, w, full(job.EndJob, "echo x; exit 3")); verdict(j) != "exited 3" || out != "x\n" {
		t.Errorf("verdict %q, output %q", verdict(j), out)
	}
	if entries, err := os.ReadDir(filepath.Join(dir, "state", "jobs")); err != nil || len(entries) != 1 {
		t.Errorf("left of the refused job: %v, %v", entries, err)
	}
}

// TestDiskFails: on a disk that fails, or has become read-only, jobs go on, and end
// with what is known of how; none is started, and the worker serves. The next worker,
// with the disk back, finds that they are over.
func TestDiskFails(t *testing.T) {
	for _, tt := range []struct {
		name string
		fail func(dir string) error
		no   error // what a start is refused with
		want string
	}{
		{"I/O errors", shutDown, unix.EIO, "lost "},
		{"read-only", abort, job.ErrNoSpace, "exited 0"}, // the exit file has its room, and is read from memory
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := kerneltest.Disk(t)
			bringBack := sync.OnceFunc(func() {
				if err := errors.Join(unix.Unmount("/disk", 0), unix.Mount("/dev/nvme0n1", "/disk", "ext4", unix.MS_RELATIME, "")); err != nil {
					t.Error(err)
				}
			})
			t.Cleanup(bringBack)
			root := cgroupRoot()
			same := func(c *job.Config) { c.CgroupRoot = root }
			w := openWorker(t, dir, noSpare, same)
			d, j := newTeller(t, w, dir)
			if err := tt.fail("/disk"); err != nil {
				t.Fatal(err)
			}
			d.write("2000000")
			if s := status(t, w, j.ID); s.State != job.Running {
				t.Errorf("job %+v, want it running", s)
			}
			if _, _, err := w.Start(t.Context(), job.StartOptions{Owner: "alice", Spec: sh("true")}); !errors.Is(err, tt.no) {
				t.Errorf("start: %v, want %v", err, tt.no)
			}
			d.say("exit 0")
			if j = wait(t, w, j.ID); verdict(j) != tt.want {
				t.Errorf("verdict %q, want %q", verdict(j), tt.want)
			}
			if jobs, _, err := w.List(job.Filter{}); err != nil || len(jobs) != 1 {
				t.Errorf("list %v, %v", jobs, err)
			}
			d.in.Close()
			if err := w.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			bringBack()
			w = openWorker(t, dir, noSpare, same)
			if j := status(t, w, j.ID); j.State != job.Ended {
				t.Errorf("with the disk back: %+v", j)
			}
			if err := w.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			removeTree(t, root)
		})
	}
}

// shutDown has an ext4 answer everything with EIO (EXT4_IOC_SHUTDOWN in
// fs/ext4/ioctl.c, without flushing its journal).
func shutDown(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	const ioctl, noLogFlush = 0x8004587d, 2
	return unix.IoctlSetPointerInt(int(f.Fd()), ioctl, noLogFlush)
}

// abort makes an ext4 read-only although files are open for writing, as it does by
// itself when it finds an error ("abort" in Documentation/admin-guide/ext4.rst).
func abort(dir string) error {
	return unix.Mount("", dir, "", unix.MS_REMOUNT, "abort,errors=remount-ro")
}
