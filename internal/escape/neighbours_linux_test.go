package escape_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"jobworker/httpapi"
	"jobworker/internal/kerneltest"
)

// cgroup is the directory of the job's cgroup.
func (r *running) cgroup() string { return filepath.Join("/sys/fs/cgroup/escape/jobs", r.id) }

// pid is the one process in the job's cgroup "payload" or "init".
func (r *running) pid(cgroup string) int {
	r.Helper()
	b, err := os.ReadFile(filepath.Join(r.cgroup(), cgroup, "cgroup.procs"))
	r.must(err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	r.must(err)
	return pid
}

const waiting = "echo ready; exec sleep 1000"

// TestNamespaces: no two jobs, and no job and the host, share a namespace but for
// those that are the host's for all.
func TestNamespaces(t *testing.T) {
	kerneltest.VM(t)
	s := newSite(t)
	c := s.client("alice")
	a, b := s.run(c, shell(waiting)), s.run(c, shell(waiting))
	for name, own := range map[string]bool{"mnt": true, "pid": true, "net": true, "ipc": true, "uts": true, "cgroup": true, "user": false, "time": false} {
		var links []string
		for _, pid := range []int{os.Getpid(), a.pid("payload"), b.pid("payload")} {
			link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, name))
			s.must(err)
			links = append(links, link)
		}
		slices.Sort(links)
		if different := len(slices.Compact(slices.Clone(links))); own && different != 3 || !own && different != 1 {
			t.Errorf("%s namespaces of the host and of two jobs: %v", name, links)
		}
	}
}

// TestSharedFiles: of the files that a job, its nsinit and the daemon hold open, the
// job and one of the others share only the pipes that are its standard files.
func TestSharedFiles(t *testing.T) {
	kerneltest.VM(t)
	s := newSite(t)
	spec := shell("echo ready; exec cat")
	spec.Stdin = true
	r := s.run(s.client("alice"), spec)
	job := files(s, r.pid("payload"))
	shared := make(map[string]bool)
	for _, pid := range []int{os.Getpid(), r.pid("init")} {
		for _, file := range files(s, pid) {
			if slices.Contains(job, file) {
				shared[file] = true
			}
		}
	}
	if len(job) != 3 || len(shared) != 3 {
		t.Errorf("the job holds %v and shares %v, want its three pipes", job, shared)
	}
	for file := range shared {
		if !strings.HasPrefix(file, "pipe:") {
			t.Errorf("the job shares %s", file)
		}
	}
	if maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", r.pid("payload"))); err != nil || strings.Contains(string(maps), "rw-s") {
		t.Errorf("the job has shared memory that can be written: %v\n%s", err, maps)
	}
}

// files names the open files of a process, /dev/null left out.
func files(s *site, pid int) (names []string) {
	s.Helper()
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	s.must(err)
	for _, link := range links {
		name, err := os.Readlink(link)
		if errors.Is(err, fs.ErrNotExist) || name == os.DevNull {
			continue // it was closed meanwhile
		}
		s.must(err)
		names = append(names, name)
	}
	return names
}

// TestDeviceInScratch: a device file that gets into /scratch, which only root could
// put there, opens nothing.
func TestDeviceInScratch(t *testing.T) {
	kerneltest.VM(t)
	s := newSite(t)
	spec := shell("echo ready; read line; head -c 1 device")
	spec.Stdin = true
	c := s.client("alice")
	r := s.run(c, spec)
	device := filepath.Join(s.state, "jobs", r.id, "scratch/device")
	s.must(unix.Mknod(device, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))), os.Chmod(device, 0o666)) // /dev/zero
	if out, err := exec.CommandContext(t.Context(), "head", "-c", "1", device).Output(); err != nil || string(out) != "\x00" {
		t.Errorf("outside: %q, %v", out, err)
	}
	_, err := c.Stdin(t.Context(), r.id, 0, strings.NewReader("go\n"))
	s.must(err)
	r.readOn()
	if r.verdict != "exited 1" || !strings.Contains(r.stderr.String(), "Permission denied") {
		t.Errorf("%s, wrote %q and %q", r.verdict, r.stdout.String(), r.stderr.String())
	}
}

// TestEvilScratch: what a job leaves in /scratch is removed with it, and leads
// nowhere.
func TestEvilScratch(t *testing.T) {
	kerneltest.VM(t)
	s := newSite(t)
	secret := filepath.Join(kerneltest.Disk(t), "secret")
	s.must(os.Mkdir(secret, 0o777), os.WriteFile(filepath.Join(secret, "file"), []byte("kept"), 0o666), os.Chmod(secret, 0o777))
	c := s.client("alice")
	r := s.run(c, shell(fmt.Sprintf("ln -s %[1]s link; ln -s %[1]s/file file; mkfifo fifo; mkdir -p a/b/c; ln -s %[1]s a/b/c/link; chmod 0 a/b; mkdir closed; chmod 0 closed; ln -s / root; ln -s ../output.jsonl log", secret)))
	if r.verdict != "exited 0" {
		t.Fatalf("%s, %s", r.verdict, r.stderr.String())
	}
	s.must(c.Remove(t.Context(), r.id))
	if b, err := os.ReadFile(filepath.Join(secret, "file")); err != nil || string(b) != "kept" {
		t.Errorf("what a link of the job led to: %q, %v", b, err)
	}
	if left, err := filepath.Glob(filepath.Join(s.state, "jobs", r.id, "*")); err != nil || len(left) > 0 {
		t.Errorf("left of the job: %v, %v", left, err)
	}
}

// TestImage: a program that gets hold of nsinit's executable, as one that names
// /proc/self/exe as its interpreter does, cannot change it (CVE-2019-5736).
func TestImage(t *testing.T) {
	kerneltest.VM(t)
	s := newSite(t)
	script := filepath.Join(filepath.Dir(executable(s)), "escape-script")
	s.must(os.WriteFile(script, []byte("#!/proc/self/exe overwrite\n"), 0o755))
	r := s.run(s.client("mallory"), httpapi.Spec{Argv: []string{script}})
	if want := "memfd:jobworker, open ETXTBSY, seals f\n"; r.verdict != "exited 0" || r.stdout.String() != want {
		t.Errorf("%s, wrote %q and %q, want %q", r.verdict, r.stdout.String(), r.stderr.String(), want)
	}
}

// overwrite tells what /proc/self/exe is, whether it can be opened for writing, and
// what forbids it should nobody execute it any more.
func overwrite([]string) error {
	const exe = "/proc/self/exe"
	name, err := os.Readlink(exe)
	if err != nil {
		return err
	}
	f, err := os.Open(exe)
	if err != nil {
		return err
	}
	defer f.Close()
	seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	if err != nil {
		return err
	}
	_, openErr := unix.Open(exe, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	name = strings.TrimSuffix(strings.TrimPrefix(name, "/"), " (deleted)")
	_, err = fmt.Printf("%s, open %s, seals %x\n", name, unix.ErrnoName(openErr.(syscall.Errno)), seals)
	return err
}

// TestDirectory: no working directory leads to a descriptor of nsinit, and out of
// the root (CVE-2024-21626).
func TestDirectory(t *testing.T) {
	kerneltest.VM(t)
	c := newSite(t).client("mallory")
	dirs := []string{"/proc/self/cwd", "/proc/self/root/root", "/proc/1/cwd", "/proc/self/fd/3/../../.."}
	for fd := 3; fd < 12; fd++ {
		dirs = append(dirs, fmt.Sprintf("/proc/self/fd/%d", fd))
	}
	for _, dir := range dirs {
		_, err := c.Start(t.Context(), httpapi.Spec{Argv: []string{"true"}, Dir: dir}, "")
		if p, ok := errors.AsType[*httpapi.Problem](err); !ok || p.Type != httpapi.TypeStartFailed {
			t.Errorf("start in %s: %v", dir, err)
		}
	}
}

// TestCoreHelper: the program that the host runs for a core dump, as root and with
// a job's data, does not run for a job (core(5)).
func TestCoreHelper(t *testing.T) {
	kerneltest.VM(t)
	s := newSite(t)
	dir := kerneltest.Disk(t)
	helper, ran := filepath.Join(dir, "helper"), filepath.Join(dir, "ran")
	s.must(os.WriteFile(helper, []byte("#!/bin/sh\ncat >/dev/null; echo ran >>"+ran+"\n"), 0o755))
	setting(s, "core_pattern", "|"+helper)
	setting(s, "core_pipe_limit", "4") // not 0, at which nobody waits for the helper
	const crash = "kill -SEGV $$"
	if r := s.run(s.client("alice"), shell(crash)); r.verdict != "signaled" {
		t.Errorf("verdict %q", r.verdict)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("the host's helper has run for a job")
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "ulimit -c unlimited; "+crash)
	if err := cmd.Run(); cmd.ProcessState == nil || !cmd.ProcessState.Sys().(syscall.WaitStatus).CoreDump() {
		t.Errorf("outside: %v, and no core dump", err)
	}
	if _, err := os.Stat(ran); err != nil {
		t.Errorf("outside the helper has not run: %v", err)
	}
}

// setting changes one of the kernel's for as long as the test.
func setting(s *site, name, value string) {
	s.Helper()
	file := filepath.Join("/proc/sys/kernel", name)
	old, err := os.ReadFile(file)
	s.must(err, os.WriteFile(file, []byte(value), 0o644))
	s.Cleanup(func() { s.must(os.WriteFile(file, old, 0o644)) })
}
