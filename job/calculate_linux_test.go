package job_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"jobworker/job"
)

// TestCalculate: a calculate is a job whose output is its message, after its time.
func TestCalculate(t *testing.T) {
	w := openWorker(t, t.TempDir())
	e := all(t, w)
	const message = "two\nlines, \x1b[31mä\x7f and 100 %"
	begin := time.Now()
	j, out := run(t, w, job.CalculateSpec(0.2, message))
	if d := time.Since(begin); d < 200*time.Millisecond {
		t.Errorf("took %v", d)
	}
	if verdict(j) != "exited 0" || out != message+"\n" || !j.Builtin || j.Argv[1] != "0.2" {
		t.Errorf("%+v wrote %q", j, out)
	}
	list := until(t, e, job.JobEnded)
	if m := list[len(list)-1].Message; m == nil || *m != message {
		t.Errorf("message of %s: %v", words(list), m)
	}
}

// TestCalculateIsConfined: it is a process of the job's own user without privileges, in
// namespaces of its own, and its executable is the sealed image.
func TestCalculateIsConfined(t *testing.T) {
	root := cgroupRoot()
	w := openWorker(t, t.TempDir(), func(c *job.Config) { c.CgroupRoot = root })
	j := start(t, w, job.CalculateSpec(1000, "never"))
	tree := openTree(t, root)
	defer tree.Close()
	procs, err := os.ReadFile(filepath.Join(tree.Path(), "jobs", j.ID, "payload", "cgroup.procs"))
	pids := strings.Fields(string(procs))
	if err != nil || len(pids) != 1 {
		t.Fatalf("processes %q, %v, want one", pids, err)
	}
	proc := filepath.Join("/proc", pids[0])
	status, err := os.ReadFile(filepath.Join(proc, "status"))
	if err != nil {
		t.Fatal(err)
	}
	uid := fmt.Sprint(job.DefaultUIDBase)
	for _, want := range []string{
		"Uid:\t" + strings.Repeat(uid+"\t", 3) + uid, "NoNewPrivs:\t1",
		"CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "CapBnd:\t0000000000000000",
	} {
		if !strings.Contains(string(status), want+"\n") {
			t.Errorf("no %q in its status:\n%s", want, status)
		}
	}
	for _, ns := range []string{"pid", "mnt", "net", "ipc", "uts", "cgroup"} {
		ours, err := os.Readlink("/proc/self/ns/" + ns)
		theirs, theirErr := os.Readlink(filepath.Join(proc, "ns", ns))
		if err != nil || theirErr != nil || ours == theirs {
			t.Errorf("%s namespace %s, ours is %s (%v, %v)", ns, theirs, ours, theirErr, err)
		}
	}
	if exe, err := os.Readlink(filepath.Join(proc, "exe")); err != nil || exe != "/memfd:jobworker (deleted)" {
		t.Errorf("executable %q, %v", exe, err)
	}
}

// TestStopCalculate: SIGTERM ends it at once, and then nothing is printed.
func TestStopCalculate(t *testing.T) {
	w := openWorker(t, t.TempDir())
	e := all(t, w)
	j := start(t, w, job.CalculateSpec(1000, "never"))
	begin := time.Now()
	stopped, err := w.Stop(t.Context(), j.ID, job.StopOptions{By: "bob"})
	if d := time.Since(begin); err != nil || verdict(stopped) != "stopped SIGTERM" || d > job.DefaultGrace {
		t.Errorf("stop: %+v, %v after %v", stopped.Verdict, err, d)
	}
	if out := output(t, w, j.ID, ""); out != "" {
		t.Errorf("it has written %q", out)
	}
	list := until(t, e, job.JobEnded)
	if list[len(list)-1].Message != nil {
		t.Errorf("it has printed its message: %s", words(list))
	}
}

// TestManyCalculates: a hundred at once, and then the bound.
func TestManyCalculates(t *testing.T) {
	n := 100
	if raceBuilt() && os.Getenv("KERNELTEST") == "vm" {
		n = 20 // emulated, so many starts at once take longer than a start may
	}
	w := openWorker(t, t.TempDir(), func(c *job.Config) { c.MaxCalculates = n })
	e := all(t, w)
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if _, _, err := w.Start(t.Context(), job.StartOptions{Owner: "alice", Spec: job.CalculateSpec(1000, "x")}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if i := w.Info(); i.Calculating != n || i.Jobs != n {
		t.Errorf("%+v, want %d calculating", i, n)
	}
	one := job.StartOptions{Owner: "alice", Spec: job.CalculateSpec(0, "x")}
	if _, _, err := w.Start(t.Context(), one); !errors.Is(err, job.ErrBusy) {
		t.Errorf("one more: %v, want ErrBusy", err)
	}
	wait(t, w, start(t, w, sh("true")).ID) // others are not concerned
	jobs, _, err := w.List(job.Filter{State: job.Running})
	if err != nil || len(jobs) != n {
		t.Fatalf("%d jobs run, %v", len(jobs), err)
	}
	if _, err := w.Stop(t.Context(), jobs[0].ID, job.StopOptions{Grace: duration(0)}); err != nil {
		t.Fatal(err)
	}
	wait(t, w, start(t, w, one.Spec).ID)
	until(t, e, job.JobEnded)
}

// TestCalculateErrors: what cannot be is refused before anything is made.
func TestCalculateErrors(t *testing.T) {
	w := openWorker(t, t.TempDir(), func(c *job.Config) { c.MaxCalculate = time.Minute })
	argv := func(a ...string) job.Spec { return job.Spec{Builtin: true, Argv: a} }
	long := strings.Repeat("x", job.MaxMessage+1)
	for _, tt := range []struct {
		spec job.Spec
		want string
	}{
		{argv(), "argv: is missing"},
		{argv("true"), `argv: ["true"]: the only built-in program is`},
		{argv("calculate"), `argv: ["calculate"]: the only`},
		{argv("calculate", "1"), "argv: "},
		{argv("calculate", "1", "m", "n"), "argv: "},
		{argv("/bin/calculate", "1", "m"), "argv: "},
		{argv("nsinit", "1", "m"), "argv: "},
		{argv("calculate", "", "m"), `argv[1]: "": must be a number of seconds`},
		{argv("calculate", "x", "m"), `argv[1]: "x": must be`},
		{argv("calculate", "1s", "m"), `argv[1]: "1s": must be`},
		{argv("calculate", "-1", "m"), `argv[1]: "-1": must be`},
		{argv("calculate", "-0", "m"), `argv[1]: "-0": must be`},
		{argv("calculate", "+1", "m"), `argv[1]: "+1": must be`},
		{argv("calculate", "01", "m"), `argv[1]: "01": must be`},
		{argv("calculate", "1.0", "m"), `argv[1]: "1.0": must be`},
		{argv("calculate", ".5", "m"), `argv[1]: ".5": must be`},
		{argv("calculate", "1e1", "m"), `argv[1]: "1e1": must be`},
		{argv("calculate", "0x1", "m"), `argv[1]: "0x1": must be`},
		{argv("calculate", "NaN", "m"), `argv[1]: "NaN": must be`},
		{argv("calculate", "Inf", "m"), `argv[1]: "Inf": must be`},
		{argv("calculate", "+Inf", "m"), `argv[1]: "+Inf": must be`},
		{argv("calculate", "60.000000001", "m"), `argv[1]: "60.000000001": must be at most 60 here: 1m0s`},
		{argv("calculate", "1"+strings.Repeat("0", 308), "m"), `argv[1]: "1` + strings.Repeat("0", 63) + `…": must be at most`},
		{argv("calculate", "1", "a\x00b"), `argv[2]: "a\x00b": contains a NUL`},
		{argv("calculate", "1", "a\xff"), `argv[2]: "a\xff": is not valid UTF-8`},
		{argv("calculate", "1", long), `argv[2]: "` + long[:64] + `…": is longer than 4096 bytes`},
		{job.Spec{Builtin: true, Argv: []string{"calculate", "1", "m"}, Env: map[string]string{"GODEBUG": "x"}}, "env: a built-in program has no environment"},
	} {
		_, _, err := w.Start(t.Context(), job.StartOptions{Owner: "alice", Spec: tt.spec})
		if _, ok := errors.AsType[*job.FieldError](err); !ok || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%.100q: %.200v\n want %s", tt.spec.Argv, err, tt.want)
		}
	}
	if i := w.Info(); i.Jobs != 0 {
		t.Errorf("left: %+v", i)
	}
	for _, s := range []job.Spec{job.CalculateSpec(0, ""), job.CalculateSpec(1e-9, long[1:]), argv("calculate", "0.25", "m")} {
		if j, out := run(t, w, s); verdict(j) != "exited 0" || out != s.Argv[2]+"\n" {
			t.Errorf("%.100q: %s, %d bytes", s.Argv, verdict(j), len(out))
		}
	}
	if _, _, err := w.Start(t.Context(), job.StartOptions{Owner: "alice", Spec: spec(func(s *job.Spec) { *s = job.CalculateSpec(0, ""); s.Dir = "/nowhere" })}); err == nil || !strings.Contains(err.Error(), `dir: "/nowhere"`) {
		t.Errorf("a directory that is not there: %v", err)
	}
}
