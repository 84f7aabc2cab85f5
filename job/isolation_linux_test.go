package job_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"jobworker/internal/kerneltest"
	"jobworker/job"
)

// someUser is a user id that no passwd has.
const someUser = "54321"

// everything permits all that there is.
func everything() job.Permit {
	all := []job.PathGrant{{Path: "/", Write: true}}
	return job.Permit{HostProfile: true, HostNet: true, Userns: true, Users: []string{"*"}, Rootfs: all, Binds: all}
}

// isolationSpec is a script with an isolation of its own.
func isolationSpec(script string, change func(*job.Spec)) job.Spec {
	s := sh(script)
	change(&s)
	return s
}

// runPermitted is run with a permit.
func runPermitted(t *testing.T, w *job.Worker, s job.Spec, p job.Permit) (job.Job, string) {
	t.Helper()
	j, _, err := w.Start(t.Context(), job.StartOptions{Owner: "alice", Spec: s, Permit: p})
	if err != nil {
		t.Fatalf("start %q: %v", s.Argv, err)
	}
	out := output(t, w, j.ID, "")
	return wait(t, w, j.ID), out
}

// publicDir makes a directory with the file f, outside of what jobs have of their own,
// where everyone may write.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "jobtest-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "f"), "shown\n")
	return dir
}

func write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.MkdirAll(name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func symlink(t *testing.T, target, name string) {
	t.Helper()
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}

// closed is what no option opens: a line for each thing that is as it should be.
const closed = `grep -c 'NoNewPrivs:	1' /proc/self/status
grep -c 'Seccomp:	2' /proc/self/status
grep Cap /proc/self/status | grep -vc 0000000000000000
ls /proc/1 2>&1 | grep -c 'No such file'
kill -KILL 1 2>/dev/null || echo not killed
unshare -U true 2>/dev/null || echo no namespace
ls -A /proc/fs | wc -l
grep -vc nosuid /proc/mounts
grep ^0: /proc/self/cgroup
for f in /proc/$$/fd/*; do [ -L $f ] && echo ${f##*/}; done
`

const closedOutput = "1\n1\n0\n1\nnot killed\nno namespace\n0\n0\n0::/\n0\n1\n2\n"

// TestOptions: each option of the isolation opens what it is for, and nothing else.
func TestOptions(t *testing.T) {
	w := openWorker(t, t.TempDir())
	dir := publicDir(t)
	hostNet := readlink(t, "/proc/self/ns/net")
	for _, tt := range []struct {
		name   string
		change func(*job.Spec)
		script string
		want   string
	}{
		{"none of them", func(s *job.Spec) {}, "readlink /proc/self/ns/net | grep -c '" + hostNet + "'", "0\n"},
		{"their defaults, spelt out", func(s *job.Spec) { s.Net, s.Profile = "none", "sandbox" }, "pwd; id -un", "/scratch\njob\n"},
		{"network", func(s *job.Spec) { s.Net = "host" }, "readlink /proc/self/ns/net; pwd; test -r /etc/resolv.conf -o ! -e " + resolvConf(t) + " && echo names", hostNet + "\n/scratch\nnames\n"},
		{"user", func(s *job.Spec) { s.User = someUser }, "id -u; id -G; pwd; echo x > f && stat -c %u:%g f; echo $HOME", someUser + "\n" + someUser + "\n/scratch\n" + someUser + ":" + someUser + "\n/scratch\n"},
		{"user namespace", func(s *job.Spec) { s.Userns = true }, "wc -l < /proc/self/uid_map; echo x > f && id -un && stat -c %U f; readlink /proc/self/ns/net | grep -c '" + hostNet + "'", "2\njob\njob\n0\n"},
		{"user namespace and network", func(s *job.Spec) { s.Userns, s.Net = true, "host" }, "readlink /proc/self/ns/net; wc -l < /proc/self/uid_map", hostNet + "\n2\n"},
		{"user namespace and user", func(s *job.Spec) { s.Userns, s.User = true, someUser }, "id -u; grep -c " + someUser + " /proc/self/uid_map", someUser + "\n1\n"},
		{"bind", func(s *job.Spec) { s.Binds = []job.Bind{{Source: dir, Target: "/data"}} }, "cat /data/f; (echo x > /data/g) 2>/dev/null || echo read-only", "shown\nread-only\n"},
		{"bind to write to", func(s *job.Spec) { s.Binds = []job.Bind{{Source: dir, Target: "/data", Write: true}} }, "echo x > /data/written && cat /data/written", "x\n"},
		{"bind in a user namespace", func(s *job.Spec) {
			s.Binds, s.Userns = []job.Bind{{Source: dir + "/f", Target: "/data"}}, true
		}, "cat /data", "shown\n"},
		{"host", func(s *job.Spec) { s.Profile, s.User = "host", someUser }, "pwd; id -u; id -G; echo $HOME; cat " + dir + "/f; readlink /proc/self/ns/net; ls -d /sys/fs; echo x > " + dir + "/written && stat -c %u " + dir + "/written",
			"/\n" + someUser + "\n" + someUser + "\n/\nshown\n" + hostNet + "\n/sys/fs\n" + someUser + "\n"},
		{"host without its network", func(s *job.Spec) { s.Profile, s.User, s.Net = "host", someUser, "none" }, "readlink /proc/self/ns/net | grep -c '" + hostNet + "'", "0\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			os.Remove(filepath.Join(dir, "written")) // of another user
			_, out := runPermitted(t, w, isolationSpec(tt.script+"\n"+closed, tt.change), everything())
			if out != tt.want+closedOutput {
				t.Errorf("wrote\n%s\nwant\n%s", out, tt.want+closedOutput)
			}
		})
	}
}

// TestProtections: what is shown of a job is what the kernel says of it.
func TestProtections(t *testing.T) {
	w := openWorker(t, t.TempDir())
	own := []string{"/dev/pts", "/dev/shm", "/scratch", "/tmp"}
	for _, tt := range []struct {
		name       string
		change     func(*job.Spec)
		uid        uint32 // 0: one of the worker's
		namespaces string
		writable   []string // nil: not looked at
	}{
		{"sandbox", func(*job.Spec) {}, 0, "cgroup ipc mnt net pid uts", own},
		{"network", func(s *job.Spec) { s.Net = "host" }, 0, "cgroup ipc mnt pid uts", own},
		{"user namespace", func(s *job.Spec) { s.Userns, s.User = true, someUser }, 54321, "cgroup ipc mnt net pid user uts", own},
		{"bind", func(s *job.Spec) {
			s.Binds = []job.Bind{{Source: publicDir(t), Target: "/a b", Write: true}}
		}, 0, "cgroup ipc mnt net pid uts", append([]string{"/a b"}, own...)},
		{"host", func(s *job.Spec) { s.Profile, s.User = "host", someUser }, 54321, "cgroup ipc mnt pid uts", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := isolationSpec("sleep 1000 & sleep 1000", tt.change)
			j, _, err := w.Start(t.Context(), job.StartOptions{Owner: "alice", Spec: s, Permit: everything()})
			if err != nil {
				t.Fatal(err)
			}
			if j.Protections != nil {
				t.Errorf("Start looked at the job: %+v", j.Protections)
			}
			j, err = w.Inspect(j.ID)
			if err != nil || j.Protections == nil {
				t.Fatalf("protections %+v, %v", j.Protections, err)
			}
			p := *j.Protections
			if p.UID == 0 || tt.uid != 0 && p.UID != tt.uid || p.GID != p.UID || len(p.Groups) != 0 {
				t.Errorf("user %d, group %d, groups %v", p.UID, p.GID, p.Groups)
			}
			if !p.NoNewPrivs || p.Seccomp != "filter" || !p.Capabilities.None() || len(p.Setuid) != 0 {
				t.Errorf("%+v", p)
			}
			if ns := strings.Join(p.Namespaces, " "); ns != tt.namespaces {
				t.Errorf("namespaces %s, want %s", ns, tt.namespaces)
			}
			if tt.writable != nil && (!p.RootReadOnly || !slices.Equal(p.Writable, tt.writable)) {
				t.Errorf("writable: root %v, %q", !p.RootReadOnly, p.Writable)
			}
			stopped, err := w.Stop(t.Context(), j.ID, job.StopOptions{Grace: duration(0)})
			if err != nil {
				t.Fatal(err)
			}
			if j, err := w.Inspect(stopped.ID); err != nil || j.Protections != nil {
				t.Errorf("of a job that is over: %+v, %v", j.Protections, err)
			}
		})
	}
}

// TestInspectTakenOver: a job of an earlier worker is protected as before, and seen to be.
func TestInspectTakenOver(t *testing.T) {
	dir, root := t.TempDir(), cgroupRoot()
	same := func(c *job.Config) { c.CgroupRoot = root }
	w := openWorker(t, dir, same)
	before := make(map[string]job.Protections)
	for _, change := range []func(*job.Spec){
		func(*job.Spec) {},
		func(s *job.Spec) {
			s.Userns, s.User, s.Binds = true, someUser, []job.Bind{{Source: "/usr", Target: "/data"}}
		},
		func(s *job.Spec) { s.Profile, s.User = "host", someUser },
	} {
		j, _, err := w.Start(t.Context(), job.StartOptions{Owner: "alice", Spec: isolationSpec("exec sleep 1000", change), Permit: everything()})
		if err != nil {
			t.Fatal(err)
		}
		if j, err = w.Inspect(j.ID); err != nil || j.Protections == nil {
			t.Fatalf("%+v, %v", j, err)
		}
		before[j.ID] = *j.Protections
	}
	if err := w.Leave(); err != nil {
		t.Fatal(err)
	}
	w = openWorker(t, dir, same)
	for id, want := range before {
		if j, err := w.Inspect(id); err != nil || j.Protections == nil || !reflect.DeepEqual(*j.Protections, want) {
			t.Errorf("protections %+v, %v, were %+v", j.Protections, err, want)
		}
		if j, err := w.Stop(t.Context(), id, job.StopOptions{Grace: duration(0)}); err != nil || !strings.HasPrefix(verdict(j), "stopped ") {
			t.Errorf("stop: %s, %v", verdict(j), err)
		}
	}
	if err := w.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	removeTree(t, root)
}

// TestLimitsNow: limits are read back at each look, not remembered.
func TestLimitsNow(t *testing.T) {
	kerneltest.VM(t) // controllers
	root := cgroupRoot()
	w := openWorker(t, t.TempDir(), func(c *job.Config) { c.CgroupRoot = root })
	s := sh("exec sleep 1000")
	s.Limits.Pids = 77
	j := start(t, w, s)
	write(t, filepath.Join(cgroupMount(t), root, "jobs", j.ID, "payload", "pids.max"), "66")
	j, err := w.Inspect(j.ID)
	if err != nil || j.Limits.Pids != 66 || j.Limits.MemoryBytes != job.DefaultMemory {
		t.Errorf("limits %+v, %v, want 66 processes", j.Limits, err)
	}
}

func readlink(t *testing.T, name string) string {
	t.Helper()
	target, err := os.Readlink(name)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// resolvConf is where the host's resolv.conf is, or would be.
func resolvConf(t *testing.T) string {
	t.Helper()
	if name, err := filepath.EvalSymlinks("/etc/resolv.conf"); err == nil {
		return name
	}
	return "/etc/resolv.conf"
}

// TestRootfs: a directory is the job's root, read-only unless that is granted.
func TestRootfs(t *testing.T) {
	w := openWorker(t, t.TempDir())
	dir := publicDir(t)
	mkdir(t, dir+"/usr", dir+"/etc", dir+"/proc/1", dir+"/sys/fs", dir+"/dev", dir+"/own")
	write(t, dir+"/etc/passwd", "eve:x:0:0::/:/bin/sh\n")
	symlink(t, "/etc/group", dir+"/etc/group") // would lead out
	for _, name := range []string{"bin", "sbin", "lib", "lib64"} {
		symlink(t, "usr/"+name, filepath.Join(dir, name))
	}
	if err := os.Chmod(dir+"/own", 0o777); err != nil {
		t.Fatal(err)
	}
	usr := []job.Bind{{Source: "/usr", Target: "/usr"}} // the host's programs, in no other root
	const script = "ls -A / | tr '\\n' ' '; id -un; cat /f; (echo x > /own/f) 2>/dev/null && cat /own/f && rm /own/f || echo read-only; ls /proc/1/ /sys 2>&1 | grep -c 'No such'; ls -l /home 2>&1 | grep -c 'No such'\n"
	for _, write := range []bool{false, true} {
		p := everything()
		p.Rootfs = []job.PathGrant{{Path: "/var/tmp", Write: write}}
		own := map[bool]string{false: "read-only\n", true: "x\n"}[write]
		for _, userns := range []bool{false, true} {
			s := isolationSpec(script+closed, func(s *job.Spec) { s.Rootfs, s.Binds, s.Userns = dir, usr, userns })
			want := "bin dev etc f lib lib64 own proc sbin scratch tmp usr job\nshown\n" + own + "2\n1\n" + closedOutput
			if _, out := runPermitted(t, w, s, p); out != want {
				t.Errorf("writable: %v, user namespace: %v: wrote\n%s\nwant\n%s", write, userns, out, want)
			}
		}
	}
}

// A notPermitted is what a Permit does not have, and the PermitError.
type notPermitted struct {
	name          string
	permit        job.Permit
	change        func(*job.Spec)
	field, reason string
}

func bind(source string, write bool) func(*job.Spec) {
	return func(s *job.Spec) { s.Binds = []job.Bind{{Source: source, Target: "/data", Write: write}} }
}

func rootfs(source string) func(*job.Spec) { return func(s *job.Spec) { s.Rootfs = source } }

const (
	notGranted = "is not granted to you"
	workersOwn = "the worker's own files are there"
	kernelsOwn = "the kernel's own file systems are not for jobs"
)

// notPermittedNames are refused by name.
func notPermittedNames(dir string, some job.Permit) []notPermitted {
	nothing, profile := job.Permit{}, job.Permit{HostProfile: true}
	return []notPermitted{
		{"profile", nothing, func(s *job.Spec) { s.Profile, s.User = "host", "daemon" }, "profile", notGranted},
		{"network", nothing, func(s *job.Spec) { s.Net = "host" }, "net", notGranted},
		{"network of a profile that is granted", profile, func(s *job.Spec) { s.Net = "host" }, "net", notGranted},
		{"user", nothing, func(s *job.Spec) { s.User = "daemon" }, "user", notGranted},
		{"another user", some, func(s *job.Spec) { s.User = "bin" }, "user", notGranted},
		{"number of a user who is granted by name", some, func(s *job.Spec) { s.User = "1" }, "user", notGranted},
		{"host profile's user", profile, func(s *job.Spec) { s.Profile, s.User = "host", "daemon" }, "user", notGranted},
		{"user namespace", nothing, func(s *job.Spec) { s.Userns = true }, "userns", notGranted},
		{"rootfs", nothing, rootfs(dir), "rootfs", notGranted},
		{"rootfs that may be bound", some, rootfs(dir), "rootfs", notGranted},
		{"bind", nothing, bind(dir, false), "binds[0].source", notGranted},
		{"bind of what begins like a grant", some, bind(dir+"2", false), "binds[0].source", notGranted},
		{"bind of what is above a grant", some, bind("/var/tmp", false), "binds[0].source", notGranted},
		{"bind to write to", some, bind(dir, true), "binds[0].source", "is granted to you for reading only"},
	}
}

// notPermittedPaths are refused for what is at them.
func notPermittedPaths(t *testing.T, dir, state, key string, some job.Permit) []notPermitted {
	all := everything()
	links := "a link leads out of " + dir + ", which is granted"
	return []notPermitted{
		{"rootfs by a grant with a link", some, rootfs(dir + "/in/whole"), "rootfs", "the path that is granted, " + dir + "/in/whole, has a link in it"},
		{"link out", some, bind(dir+"/out", false), "binds[0].source", links},
		{"link out, and on", some, bind(dir+"/out/passwd", false), "binds[0].source", links},
		{"link out to nothing", some, bind(dir+"/out/nothing", false), "binds[0].source", links},
		{"link up", some, bind(dir+"/up", false), "binds[0].source", links},
		{"link up and back", some, bind(dir+"/around", false), "binds[0].source", links},
		{"link into /proc", some, bind(dir+"/proc", false), "binds[0].source", links},
		{"link to itself", some, bind(dir+"/loop", false), "binds[0].source", links},
		{"the whole", all, bind("/", false), "binds[0].source", workersOwn},
		{"state directory", all, bind(state+"/state", false), "binds[0].source", workersOwn},
		{"above the state directory", all, bind(filepath.Dir(state), true), "binds[0].source", workersOwn},
		{"in the state directory", all, bind(state+"/state/jobs", false), "binds[0].source", workersOwn},
		{"state directory as root", all, rootfs(state + "/state"), "rootfs", workersOwn},
		{"key", all, bind(key, false), "binds[0].source", workersOwn},
		{"above the key", all, bind(filepath.Dir(key), false), "binds[0].source", workersOwn},
		{"processes", all, bind("/proc", false), "binds[0].source", kernelsOwn},
		{"process", all, bind("/proc/1", false), "binds[0].source", kernelsOwn},
		{"sysfs", all, bind("/sys", false), "binds[0].source", kernelsOwn},
		{"cgroups", all, bind(cgroupMount(t), false), "binds[0].source", kernelsOwn},
	}
}

// TestNotPermitted: what is not granted is refused with its field and value, and
// leaves nothing behind.
func TestNotPermitted(t *testing.T) {
	state, key := t.TempDir(), filepath.Join(t.TempDir(), "key.pem")
	write(t, key, "secret")
	w := openWorker(t, state, noSpare, func(c *job.Config) { c.Private = []string{key} })
	dir := publicDir(t)
	mkdir(t, dir+"/in", dir+"2")
	t.Cleanup(func() { os.Remove(dir + "2") })
	for name, target := range map[string]string{
		"out": "/etc", "up": "../", "around": "../" + filepath.Base(dir) + "/in", "proc": "/proc/self/root",
		"inside": "in", "loop": "loop", "in/whole": dir,
	} {
		symlink(t, target, filepath.Join(dir, name))
	}
	some := job.Permit{Users: []string{"daemon", "1000"}, Binds: []job.PathGrant{{Path: dir}}, Rootfs: []job.PathGrant{{Path: dir + "/in/whole"}}}
	for _, tt := range slices.Concat(notPermittedNames(dir, some), notPermittedPaths(t, dir, state, key, some)) {
		t.Run(tt.name, func(t *testing.T) {
			s := isolationSpec("echo started", tt.change)
			_, _, err := w.Start(t.Context(), job.StartOptions{Owner: "alice", Spec: s, Permit: tt.permit})
			e, ok := errors.AsType[*job.PermitError](err)
			if !ok || e.Field != tt.field || e.Reason != tt.reason {
				t.Errorf("%v, want %s: %s", err, tt.field, tt.reason)
			}
		})
	}
	if entries, err := os.ReadDir(state + "/state/jobs"); err != nil || len(entries) != 0 {
		t.Errorf("refused jobs left %v, %v", entries, err)
	}
	// What a link within the grant leads to is granted.
	for _, source := range []string{dir + "/inside", dir + "/in"} {
		if _, out := runPermitted(t, w, isolationSpec("ls /data", bind(source, false)), some); out != "whole\n" {
			t.Errorf("bind of %s shows %q", source, out)
		}
	}
}

// cgroupMount is a mount of cgroup2.
func cgroupMount(t *testing.T) string {
	t.Helper()
	for line := range strings.Lines(mounts(t)) {
		if strings.Contains(line, " - cgroup2 ") {
			return strings.Fields(line)[4]
		}
	}
	t.Fatal("no mount of cgroup2")
	return ""
}

// TestNotThere: what is granted and cannot be had is a start that failed, or a
// field that is wrong here.
func TestNotThere(t *testing.T) {
	w := openWorker(t, t.TempDir())
	dir := publicDir(t)
	for _, tt := range []struct {
		change func(*job.Spec)
		want   string
	}{
		{func(s *job.Spec) { s.Binds = []job.Bind{{Source: dir + "/none", Target: "/data"}} }, "binds[0].source: lstat " + dir + "/none: no such file or directory"},
		{func(s *job.Spec) { s.Binds = []job.Bind{{Source: dir, Target: "/usr/none"}} }, "bind to /usr/none: no such file or directory"},
		{func(s *job.Spec) { s.Binds = []job.Bind{{Source: dir, Target: "/etc/passwd"}} }, "bind to /etc/passwd: move_mount: invalid argument: a directory goes over a directory"},
		{func(s *job.Spec) { s.Rootfs = dir + "/f" }, fmt.Sprintf("rootfs: %q: is not a directory", dir+"/f")},
		{func(s *job.Spec) { s.Rootfs = dir }, `exec: "sh": not found`},
		{func(s *job.Spec) { s.User = "no-such-user" }, `user: "no-such-user": is not known to the worker's host`},
		{func(s *job.Spec) { s.User = fmt.Sprint(job.DefaultUIDBase + 7) }, fmt.Sprintf(`user: "%d": is one of those that the worker gives to jobs`, job.DefaultUIDBase+7)},
	} {
		_, _, err := w.Start(t.Context(), job.StartOptions{Owner: "alice", Spec: isolationSpec("true", tt.change), Permit: everything()})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v, want %q in it", err, tt.want)
		}
	}
	if jobs, _, err := w.List(job.Filter{}); err != nil || len(jobs) != 0 {
		t.Errorf("jobs %v, %v, want none", jobs, err)
	}
}

// TestStateByAnotherMount: the worker's state is known also where another mount
// leads to it.
func TestStateByAnotherMount(t *testing.T) {
	kerneltest.VM(t) // mounts
	state := t.TempDir()
	w := openWorker(t, state)
	alias := publicDir(t)
	for _, source := range []string{state, state + "/state", state + "/state/jobs"} {
		if err := unix.Mount(source, alias, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		s := isolationSpec("true", func(s *job.Spec) { s.Binds = []job.Bind{{Source: alias, Target: "/data"}} })
		_, _, err := w.Start(t.Context(), job.StartOptions{Owner: "alice", Spec: s, Permit: everything()})
		if e, ok := errors.AsType[*job.PermitError](err); !ok || e.Reason != "the worker's own files are there" {
			t.Errorf("bind of a mount of %s: %v", source, err)
		}
		// Lazily: a child of this process may hold a descriptor there until it executes.
		if err := unix.Unmount(alias, unix.MNT_DETACH); err != nil {
			t.Fatal(err)
		}
	}
}

// TestExposeOwnFiles: what every job would see is refused as what one asks for is.
func TestExposeOwnFiles(t *testing.T) {
	kerneltest.Root(t)
	parent := publicDir(t)
	link := filepath.Join(publicDir(t), "link")
	symlink(t, parent, link)
	mkdir(t, parent+"/shown", parent+"/state/jobs")
	if err := os.Chmod(parent+"/state", 0o700); err != nil {
		t.Fatal(err)
	}
	for dir, refused := range map[string]bool{parent: true, link + "/state": true, parent + "/state/jobs": true, parent + "/shown": false} {
		w, err := job.Open(job.Config{StateDir: parent + "/state", CgroupRoot: cgroupRoot(), AllowMissingControllers: true, Expose: []string{dir}})
		if err == nil {
			err = w.Shutdown(t.Context())
		}
		if e, ok := errors.AsType[*job.FieldError](err); ok != refused || ok && e.Problem != workersOwn || !refused && err != nil {
			t.Errorf("-expose %s: %v", dir, err)
		}
	}
}

// TestWideRoot: a root whose content is a client's cannot be more mounts than is good
// for the machine.
func TestWideRoot(t *testing.T) {
	w := openWorker(t, t.TempDir())
	dir := publicDir(t)
	for i := range 300 {
		mkdir(t, filepath.Join(dir, fmt.Sprint(i)))
	}
	_, _, err := w.Start(t.Context(), job.StartOptions{Owner: "alice", Spec: isolationSpec("true", rootfs(dir)), Permit: everything()})
	if e, ok := errors.AsType[*job.StartError](err); !ok || e.Stage != "root" || !strings.Contains(e.Message, "301 entries, more than 256") {
		t.Errorf("%v, want it refused for its 301 entries", err)
	}
}

// TestCalculateElsewhere: the built-in program needs nothing of the root it runs in.
func TestCalculateElsewhere(t *testing.T) {
	kerneltest.VM(t) // where this binary is static, as the one that ships
	w := openWorker(t, t.TempDir())
	empty := publicDir(t)
	for _, change := range []func(*job.Spec){
		rootfs(empty),
		func(s *job.Spec) { s.Rootfs, s.Userns, s.User = empty, true, someUser },
		func(s *job.Spec) { s.Profile, s.User = "host", someUser },
	} {
		s := job.CalculateSpec(0.001, "done")
		change(&s)
		if j, out := runPermitted(t, w, s, everything()); out != "done\n" || verdict(j) != "exited 0" {
			t.Errorf("%+v: %q, %s", s, out, verdict(j))
		}
	}
}

// TestOwnFilesHidden: where a job sees the host's files, those of the worker are not
// among them, whatever their modes.
func TestOwnFilesHidden(t *testing.T) {
	state, key := publicDir(t), filepath.Join(publicDir(t), "key.pem")
	write(t, key, "secret\n")
	if err := os.Symlink(key, key+".link"); err != nil {
		t.Fatal(err)
	}
	w := openWorker(t, state, func(c *job.Config) { c.Private = []string{key + ".link", "/none"} })
	script := fmt.Sprintf("cat %s %[1]s.link; ls -A %s/state && echo; id -u", key, state)
	s := isolationSpec(script, func(s *job.Spec) { s.Profile, s.User = "host", someUser })
	if _, out := runPermitted(t, w, s, everything()); out != "\n"+someUser+"\n" {
		t.Errorf("the job reads %q", out)
	}
}

// TestKeyInEtc: nor are they where all jobs see the host's.
func TestKeyInEtc(t *testing.T) {
	kerneltest.VM(t) // its /etc
	const key = "/etc/jobworker-key.pem"
	write(t, key, "secret\n")
	t.Cleanup(func() { os.Remove(key) })
	w := openWorker(t, t.TempDir(), func(c *job.Config) { c.Private = []string{key} })
	for _, change := range []func(*job.Spec){func(*job.Spec) {}, func(s *job.Spec) { s.Userns = true }, bind("/usr", false)} {
		if _, out := runPermitted(t, w, isolationSpec("cat "+key+"; id -un", change), everything()); out != "job\n" {
			t.Errorf("the job reads %q", out)
		}
	}
}

// TestKeyWithoutSource: a job is found by its key also when what it was given is gone.
func TestKeyWithoutSource(t *testing.T) {
	w := openWorker(t, t.TempDir())
	dir := publicDir(t)
	mkdir(t, dir+"/gone")
	o := job.StartOptions{Owner: "alice", Key: "k", Spec: isolationSpec("exit 3", bind(dir+"/gone", false)), Permit: everything()}
	first, existing, err := w.Start(t.Context(), o)
	if err != nil || existing {
		t.Fatalf("existing %v, %v", existing, err)
	}
	if err := os.Remove(dir + "/gone"); err != nil {
		t.Fatal(err)
	}
	if j, existing, err := w.Start(t.Context(), o); err != nil || !existing || j.ID != first.ID {
		t.Errorf("job %s, existing %v, %v, want %s", j.ID, existing, err, first.ID)
	}
	o.Key = "another"
	if _, _, err := w.Start(t.Context(), o); err == nil {
		t.Error("started without its source")
	}
}
