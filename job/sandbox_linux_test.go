package job_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"jobworker/internal/kerneltest"
	"jobworker/job"
)

// TestView looks at the system from inside a job.
func TestView(t *testing.T) {
	w := openWorker(t, t.TempDir())
	for _, tt := range []struct{ name, script, want string }{
		{"working directory and home", "pwd; echo $HOME", "/scratch\n/scratch\n"},
		{"environment", "env -u PWD -u OLDPWD -u SHLVL -u _ | sort", "HOME=/scratch\nLANG=C.UTF-8\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n"},
		{"user", "id -un; id -gn", "job\njob\n"},
		{"user is not root, and has no groups beside its own", `test "$(id -u)" -ge 1879048192 && test "$(id -G)" = "$(id -u)" && echo ok`, "ok\n"},
		{"root directory", "ls -A / | grep -vE '^(bin|sbin|lib|lib32|lib64|libx32)$'", "dev\netc\nproc\nscratch\ntmp\nusr\n"},
		{"devices", "ls /dev", "fd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n"},
		{"device modes", "stat -c '%a' /dev/null /dev/zero /dev/urandom", "666\n666\n666\n"},
		{"devices work", "head -c 3 /dev/zero | wc -c; echo x > /dev/null; head -c 8 /dev/urandom | wc -c", "3\n8\n"},
		{"standard input", "cat; readlink /proc/self/fd/0", "/dev/null\n"},
		{"open files of the program", "for f in /proc/$$/fd/*; do [ -L $f ] && echo ${f##*/}; done", "0\n1\n2\n"},
		{"/dev/stdout and stderr can be opened", "echo a > /dev/stdout; echo b > /dev/stderr", "a\nb\n"},
		{"processes", "ps -o comm= 2>/dev/null | grep -c jobworker", "0\n"},
		{"PID 1 is hidden", "ls -d /proc/1 2>&1 >/dev/null | grep -o 'No such file or directory'", "No such file or directory\n"},
		{"PID 1 cannot be signalled", "kill -KILL 1 2>/dev/null || echo refused", "refused\n"},
		{"cgroup", "grep ^0: /proc/self/cgroup", "0::/\n"},
		{"capabilities", "grep -E '^Cap' /proc/self/status | grep -v 0000000000000000 | wc -l", "0\n"},
		{"no new privileges", "grep NoNewPrivs /proc/self/status | tr -d '\\t'", "NoNewPrivs:1\n"},
		{"system call filter", "grep ^Seccomp: /proc/self/status | tr -d '\\t'", "Seccomp:2\n"},
		{"umask", "umask", "0022\n"},
		{"core dumps", "ulimit -c", "0\n"},
		{"OOM score", "cat /proc/self/oom_score_adj", "0\n"},
		{"user namespace", "unshare -U true 2>/dev/null || echo refused", "refused\n"},
		{"mounts are read-only but for the job's own", "grep -E '^[^ ]+ [^ ]+ [^ ]+ rw' /proc/mounts | cut -d' ' -f2 | sort", "/dev/pts\n/dev/shm\n/scratch\n/tmp\n"},
		{"mounts have no setuid", "grep -vc nosuid /proc/mounts", "0\n"},
		{"writable places", "for d in /scratch /tmp /dev/shm; do echo x > $d/f && cat $d/f; done", "x\nx\nx\n"},
		{"host is not writable", "for d in / /usr /etc /dev /proc; do (echo x > $d/f) 2>/dev/null || echo refused; done", strings.Repeat("refused\n", 5)},
		{"a program from /scratch runs", "printf '#!/bin/sh\\necho ran\\n' > p; chmod +x p; ./p", "ran\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, out := run(t, w, sh(tt.script)); out != tt.want {
				t.Errorf("%s\nwrote %q\n want %q", tt.script, out, tt.want)
			}
		})
	}
}

// TestMasks: what /proc tells of the whole machine is covered in a job, by
// nothing that it could write to or take off.
func TestMasks(t *testing.T) {
	w := openWorker(t, t.TempDir())
	var script, want strings.Builder
	for kind, names := range map[string][]string{
		"character special file 1:3": {"kcore", "keys", "timer_list", "interrupts", "kallsyms", "config.gz", "sysrq-trigger", "latency_stats", "sched_debug", "kmsg", "slabinfo"},
		"directory 0:0":              {"acpi", "asound", "scsi", "bus", "fs", "irq", "driver"},
	} {
		for _, name := range names {
			if _, err := os.Lstat("/proc/" + name); err != nil {
				continue // not in this kernel
			}
			fmt.Fprintf(&script, "stat -c '%%n %%F %%t:%%T' /proc/%s; cat /proc/%[1]s 2>/dev/null; ls -A /proc/%[1]s/; (umount -l /proc/%[1]s) 2>/dev/null && echo taken off; grep -c ' /proc/%[1]s tmpfs ro,nosuid' /proc/mounts\n", name)
			fmt.Fprintf(&want, "/proc/%s %s\n1\n", name, kind)
		}
	}
	if want.Len() == 0 {
		t.Fatal("no file of the list is in this kernel's /proc")
	}
	if _, out := run(t, w, sh("{ "+script.String()+"} 2>&1 | grep -v 'Not a directory'")); out != want.String() {
		t.Errorf("wrote\n%s\nwant\n%s", out, want.String())
	}
}

func TestSpecReachesJob(t *testing.T) {
	w := openWorker(t, t.TempDir())
	s := job.Spec{Argv: []string{"sh", "-c", `echo "$0|$1|$A|$HOME|$(pwd)"`, "zero", "two words\nand a line"}, Dir: "/tmp", Env: map[string]string{"A": "ä=b", "HOME": "/tmp"}}
	if _, out := run(t, w, s); out != "zero|two words\nand a line|ä=b|/tmp|/tmp\n" {
		t.Errorf("wrote %q", out)
	}
	j, _ := run(t, w, sh("hostname > h; exec cmp h - <<-end\n\t$(hostname)\n\tend"))
	if verdict(j) != "exited 0" {
		t.Errorf("host name: %s", verdict(j))
	}
	if j, out := run(t, w, sh("hostname")); out != j.ID+"\n" {
		t.Errorf("host name %q, want the id %q", out, j.ID)
	}
}

func TestScratch(t *testing.T) {
	w := openWorker(t, t.TempDir())
	a := started(t, w, sh("echo secret > hidden-of-a; echo ready; exec sleep 1000"))
	if _, out := run(t, w, sh("ls -A /scratch; find / -name hidden-of-a 2>/dev/null")); out != "" {
		t.Errorf("another job's files are seen: %q", out)
	}
	s := sh("dd if=/dev/zero of=big bs=64k count=64 2>/dev/null && echo full || echo stopped; wc -c < big")
	s.Limits.ScratchBytes = 1 << 20
	if _, out := run(t, w, s); out != "stopped\n1048576\n" {
		t.Errorf("scratch of 1 MiB: %q", out)
	}
	if _, err := w.Stop(t.Context(), a.ID, job.StopOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestExpose(t *testing.T) {
	dir, err := os.MkdirTemp("/var/tmp", "jobtest-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("shown\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	w := openWorker(t, t.TempDir(), func(c *job.Config) { c.Expose = []string{dir} })
	if _, out := run(t, w, sh(fmt.Sprintf("cd %s; cat f; (echo x > g) 2>/dev/null || echo refused", dir))); out != "shown\nrefused\n" {
		t.Errorf("wrote %q", out)
	}
}

// TestHostUntouched: no mount, process or file of a job is left on the host, or
// seen there while it runs.
func TestHostUntouched(t *testing.T) {
	w := openWorker(t, t.TempDir())
	before := mounts(t)
	j := started(t, w, sh("echo ready; exec sleep 1000"))
	if after := mounts(t); after != before {
		t.Errorf("mounts of the host changed:\n%s\nwas:\n%s", after, before)
	}
	if _, err := w.Stop(t.Context(), j.ID, job.StopOptions{}); err != nil {
		t.Fatal(err)
	}
	if after := mounts(t); after != before {
		t.Errorf("mounts of the host changed:\n%s\nwas:\n%s", after, before)
	}
}

func mounts(t *testing.T) string {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestTreeIsGone: no process survives the end of its job, whatever it did to
// hide, and none can hold the output open.
func TestTreeIsGone(t *testing.T) {
	// Users that no other test program has at the same time.
	w := openWorker(t, t.TempDir(), func(c *job.Config) {
		c.UIDBase, c.UIDCount = job.DefaultUIDBase+job.DefaultUIDCount+2*uint32(os.Getpid()), 2
	})
	tree := "trap '' TERM HUP INT; (setsid sh -c '(trap \"\" TERM HUP; while :; do sleep .1; done) & exec sleep 1000' &) ; setsid sleep 1000 & id -u; "
	t.Run("after stop", func(t *testing.T) {
		j := started(t, w, sh(tree+"echo ready; while :; do sleep .01; done"))
		j, err := w.Stop(t.Context(), j.ID, job.StopOptions{Grace: duration(0)})
		if err != nil || verdict(j) != "stopped SIGKILL" {
			t.Fatalf("stop: %q, %v", verdict(j), err)
		}
		checkGone(t, strings.Fields(output(t, w, j.ID, ""))[0])
	})
	t.Run("after the main process", func(t *testing.T) {
		j, out := run(t, w, sh(tree+"exit 4"))
		if verdict(j) != "exited 4" {
			t.Errorf("verdict %q", verdict(j))
		}
		checkGone(t, strings.Fields(out)[0])
	})
}

// checkGone fails if there is a process of the user.
func checkGone(t *testing.T, uid string) {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil || len(names) == 0 {
		t.Fatalf("processes: %v, %v", names, err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err == nil && strings.Contains(string(b), "Uid:\t"+uid+"\t") {
			t.Errorf("a process of user %s is left:\n%s", uid, b)
		}
	}
}

func TestNetwork(t *testing.T) {
	w := openWorker(t, t.TempDir())
	_, out := run(t, w, sh("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '; cat /proc/net/route /proc/net/ipv6_route 2>/dev/null | grep -vE 'Iface|lo$'"))
	if out != "lo\n" {
		t.Errorf("interfaces and routes: %q, want only lo", out)
	}
}

func TestIPLink(t *testing.T) {
	kerneltest.VM(t) // ip comes with the machine
	w := openWorker(t, t.TempDir())
	_, out := run(t, w, sh("ip link | grep -E '^[0-9]'; ps -o pid,args"))
	links, processes, _ := strings.Cut(out, "PID")
	if strings.Count(links, "\n") != 1 || !strings.HasPrefix(links, "1: lo: <LOOPBACK,UP,LOWER_UP>") {
		t.Errorf("links: %q, want lo alone, and up", links)
	}
	if n := strings.Count(processes, "\n") - 1; n < 1 || n > 3 || !strings.Contains(processes, "ps") || strings.Contains(processes, "nsinit") {
		t.Errorf("processes: %q, want the job's own", processes)
	}
}

// TestInitCapabilities: while a job runs, no thread of its nsinit can do more
// than send signals.
func TestInitCapabilities(t *testing.T) {
	if _, _, errno := syscall.AllThreadsSyscall(syscall.SYS_GETPID, 0, 0, 0); errno == syscall.ENOTSUP {
		return // built with cgo, for -race: the static binary is what counts, in the virtual machine and with plain go test
	}
	w := openWorker(t, t.TempDir(), noSpare)
	started(t, w, sh("echo ready; exec sleep 1000"))
	threads := initThreads(t)
	const kill = "0000000000000020" // 1 << CAP_KILL
	var left []string
	for end := time.Now().Add(limit); time.Now().Before(end); runtime.Gosched() {
		left = left[:0]
		for _, name := range threads {
			b, err := os.ReadFile(name)
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			for _, set := range []string{"CapPrm", "CapEff"} {
				if err == nil && !strings.Contains(string(b), set+":\t"+kill+"\n") {
					left = append(left, name+" "+set)
				}
			}
		}
		if len(left) == 0 {
			return // the program may be ready a moment before nsinit has given up the rest
		}
	}
	t.Errorf("capabilities beyond CAP_KILL: %v", left)
}

// initThreads returns the status files of the threads of the nsinit that this
// process has as a child.
func initThreads(t *testing.T) []string {
	t.Helper()
	inits := nsinits(t)
	if len(inits) != 1 {
		t.Fatalf("nsinit among the processes: %v, want one", inits)
	}
	threads, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(inits[0]), "task/*/status"))
	if err != nil || len(threads) < 2 {
		t.Fatalf("threads of nsinit: %v, %v", threads, err)
	}
	return threads
}

// nsinits returns the process ids of the nsinits that this process has as
// children.
func nsinits(t *testing.T) (pids []int) {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		cmdline, _ := os.ReadFile(name) // of a process that may have gone
		status, _ := os.ReadFile(filepath.Join(filepath.Dir(name), "status"))
		if strings.HasPrefix(string(cmdline), "jobworker-nsinit\x00") && strings.Contains(string(status), fmt.Sprintf("\nPPid:\t%d\n", os.Getpid())) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
	}
	return pids
}
