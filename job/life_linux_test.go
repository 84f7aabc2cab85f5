package job_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"jobworker/job"
	"jobworker/stream"
)

func TestVerdicts(t *testing.T) {
	w := openWorker(t, t.TempDir())
	for _, tt := range []struct {
		name string
		spec job.Spec
		want string // reason, code or signal
	}{
		{"success", sh("true"), "exited 0"},
		{"code", sh("exit 3"), "exited 3"},
		{"largest code", sh("exit 255"), "exited 255"},
		{"own signal", sh("kill -USR1 $$"), "signaled SIGUSR1"},
		{"own SIGKILL", sh("kill -KILL $$"), "signaled SIGKILL"},
		{"code that looks like a signal", sh("exit 137"), "exited 137"},
		{"timeout", job.Spec{Argv: []string{"sleep", "1000"}, Timeout: job.Duration(50 * time.Millisecond)}, "timed_out SIGTERM"},
		{"timeout and a trap", job.Spec{Argv: sh("trap 'exit 7' TERM; while :; do sleep .01; done").Argv,
			Timeout: job.Duration(200 * time.Millisecond)}, "timed_out 7"},
		{"timeout and no mercy", job.Spec{Argv: sh("trap '' TERM; while :; do sleep .01; done").Argv,
			Timeout: job.Duration(200 * time.Millisecond), Grace: duration(0)}, "timed_out SIGKILL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j := wait(t, w, start(t, w, tt.spec).ID)
			if got := verdict(j); got != tt.want {
				t.Errorf("verdict %q, want %q (%+v)", got, tt.want, j.Verdict)
			}
			if j.State != job.Ended || j.EndedAt == nil || j.StartedAt == nil || j.EndedAt.Before(*j.StartedAt) {
				t.Errorf("job %+v: want it ended after it started", j)
			}
		})
	}
}

// verdict words a verdict for comparison.
func verdict(j job.Job) string {
	v := j.Verdict
	switch {
	case v == nil:
		return "none"
	case v.Code != nil:
		return fmt.Sprintf("%s %d", v.Reason, *v.Code)
	}
	return v.Reason + " " + v.Signal
}

// TestStartErrors: the reason is known when Start returns, and nothing is left.
func TestStartErrors(t *testing.T) {
	dir := t.TempDir()
	w := openWorker(t, dir, noSpare)
	for _, tt := range []struct {
		spec  job.Spec
		stage string
		errno syscall.Errno
		want  string
	}{
		{job.Spec{Argv: []string{"foo"}}, "exec", syscall.ENOENT, `exec: "foo": not found`},
		{job.Spec{Argv: []string{"/no/such"}}, "exec", syscall.ENOENT, `exec: "/no/such": not found`},
		{job.Spec{Argv: []string{"./no"}}, "exec", syscall.ENOENT, `exec: "./no": not found`},
		{job.Spec{Argv: []string{"/etc/passwd"}}, "exec", syscall.EACCES, `exec: "/etc/passwd": permission denied`},
		{job.Spec{Argv: []string{"/usr"}}, "exec", syscall.EACCES, `exec: "/usr": permission denied`},
		{job.Spec{Argv: []string{"/proc/self/exe"}}, "exec", syscall.EXDEV, `exec: "/proc/self/exe": invalid cross-device link`},
		{job.Spec{Argv: []string{"true"}, Dir: "/nowhere"}, "dir", syscall.ENOENT, `dir: "/nowhere": no such file or directory`},
		{job.Spec{Argv: []string{"true"}, Dir: "/etc/passwd"}, "dir", syscall.ENOTDIR, `dir: "/etc/passwd": not a directory`},
		{job.Spec{Argv: []string{"true"}, Env: map[string]string{"PATH": "/nowhere"}}, "exec", syscall.ENOENT, `exec: "true": not found`},
		{job.Spec{Argv: []string{"true"}, Env: map[string]string{"PATH": "usr/bin:"}}, "exec", syscall.ENOENT, `exec: "true": not found`},
	} {
		_, _, err := w.Start(t.Context(), job.StartOptions{Owner: "alice", Spec: tt.spec})
		e, ok := errors.AsType[*job.StartError](err)
		if !ok || e.Stage != tt.stage || e.Errno != int(tt.errno) || e.Message != tt.want {
			t.Errorf("start %q in %q: %#v, want stage %q, errno %d, %q", tt.spec.Argv, tt.spec.Dir, err, tt.stage, tt.errno, tt.want)
		}
	}
	entries, err := os.ReadDir(filepath.Join(dir, "state", "jobs"))
	if err != nil || len(entries) != 0 {
		t.Errorf("left in the state directory: %v, %v", entries, err)
	}
	if jobs, _, err := w.List(job.Filter{}); err != nil || len(jobs) != 0 {
		t.Errorf("left in the list: %v, %v", jobs, err)
	}
}

func TestStartCanceled(t *testing.T) {
	w := openWorker(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := w.Start(ctx, job.StartOptions{Owner: "alice", Spec: sh("true")}); !errors.Is(err, context.Canceled) {
		t.Fatalf("start: %v, want canceled", err)
	}
	if jobs, _, err := w.List(job.Filter{}); err != nil || len(jobs) != 0 {
		t.Errorf("left in the list: %v, %v", jobs, err)
	}
}

func TestStop(t *testing.T) {
	w := openWorker(t, t.TempDir())
	polite := "trap 'exit 5' TERM; echo ready; while :; do sleep .01; done"
	deaf := "trap '' TERM INT; echo ready; while :; do sleep .01; done"
	for _, tt := range []struct {
		name   string
		script string
		stop   job.StopOptions
		want   string
	}{
		{"by its own handler", polite, job.StopOptions{By: "bob"}, "stopped 5"},
		{"by default action", "echo ready; exec sleep 1000", job.StopOptions{By: "bob"}, "stopped SIGTERM"},
		{"another signal", "echo ready; exec sleep 1000", job.StopOptions{By: "bob", Signal: "int"}, "stopped SIGINT"},
		{"deaf", deaf, job.StopOptions{By: "bob", Grace: duration(50 * time.Millisecond)}, "stopped SIGKILL"},
		{"at once", deaf, job.StopOptions{By: "bob", Grace: duration(0)}, "stopped SIGKILL"},
		{"by SIGKILL", deaf, job.StopOptions{By: "bob", Signal: "KILL"}, "stopped SIGKILL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j := started(t, w, sh(tt.script))
			begin := time.Now()
			j, err := w.Stop(t.Context(), j.ID, tt.stop)
			if err != nil {
				t.Fatal(err)
			}
			if got := verdict(j); got != tt.want || j.Verdict.By != "bob" {
				t.Errorf("verdict %q by %q, want %q by bob", got, j.Verdict.By, tt.want)
			}
			if d := time.Since(begin); d > job.DefaultGrace {
				t.Errorf("stop took %v, the whole grace period", d)
			}
			if again, err := w.Stop(t.Context(), j.ID, job.StopOptions{By: "eve"}); err != nil || again.Verdict.By != "bob" {
				t.Errorf("stop of a stopped job: %+v, %v", again.Verdict, err)
			}
		})
	}
}

// TestStopRaces has many stops race with each other and with the natural end:
// all succeed, and see the same verdict.
func TestStopRaces(t *testing.T) {
	w := openWorker(t, t.TempDir())
	for range 20 {
		j := start(t, w, sh("sleep .02"))
		var wg sync.WaitGroup
		verdicts := make([]string, 8)
		for i := range verdicts {
			wg.Go(func() {
				j, err := w.Stop(t.Context(), j.ID, job.StopOptions{By: "bob"})
				if err != nil {
					t.Error(err)
				}
				verdicts[i] = verdict(j)
			})
		}
		wg.Wait()
		for _, v := range verdicts {
			if v != verdicts[0] || v == "none" {
				t.Fatalf("verdicts %q differ", verdicts)
			}
		}
	}
}

func TestStopTwiceIsFaster(t *testing.T) {
	w := openWorker(t, t.TempDir())
	j := started(t, w, sh("trap '' TERM; echo ready; while :; do sleep .01; done"))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := w.Stop(ctx, j.ID, job.StopOptions{By: "bob", Grace: duration(time.Hour)}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("stop: %v, want its context's error", err)
	}
	if j, err := w.Status(j.ID); err != nil || j.State != job.Stopping {
		t.Fatalf("state %q, %v: want it stopping", j.State, err)
	}
	j, err := w.Stop(t.Context(), j.ID, job.StopOptions{By: "eve", Grace: duration(0)})
	if err != nil || verdict(j) != "stopped SIGKILL" || j.Verdict.By != "bob" {
		t.Errorf("second stop: %+v, %v", j.Verdict, err)
	}
}

// TestSignals: any signal reaches the main process, also those that nsinit as a
// Go program could not be notified of.
func TestSignals(t *testing.T) {
	w := openWorker(t, t.TempDir())
	j := started(t, w, sh("for s in HUP INT USR1 URG CHLD CONT WINCH PROF; do trap \"echo got $s\" $s; done; trap 'echo got 34' 34; trap 'exit 9' TERM; "+
		"echo ready; while :; do sleep .01; done"))
	r, err := w.Output(j.ID, stream.Query{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := ""
	for _, s := range []string{"HUP", "int", "SIGUSR1", "URG", "WINCH", "PROF", "SIGRTMIN"} {
		if err := w.Signal(j.ID, s, "bob"); err != nil {
			t.Fatalf("signal %s: %v", s, err)
		}
		want := "got " + strings.TrimPrefix(strings.ToUpper(s), "SIG") + "\n"
		if s == "SIGRTMIN" {
			want = "got 34\n"
		}
		for !strings.Contains(got, want) {
			lines, err := r.Next(t.Context())
			if err != nil {
				t.Fatalf("no %q in %q: %v", want, got, err)
			}
			payload, err := stream.AppendPayload(nil, lines)
			if err != nil {
				t.Fatal(err)
			}
			got += string(payload)
		}
	}
	for _, s := range []string{"STOP", "CONT", "TERM"} {
		if err := w.Signal(j.ID, s, "bob"); err != nil {
			t.Fatalf("signal %s: %v", s, err)
		}
	}
	if j := wait(t, w, j.ID); verdict(j) != "exited 9" {
		t.Errorf("verdict %q, want exited 9", verdict(j))
	}
	if err := w.Signal(j.ID, "TERM", "bob"); !errors.Is(err, job.ErrEnded) {
		t.Errorf("signal to an ended job: %v, want ErrEnded", err)
	}
	if _, ok := errors.AsType[*job.FieldError](w.Signal(j.ID, "SIGNOPE", "bob")); !ok {
		t.Error("SIGNOPE was accepted")
	}
}

// TestInheritedSignals: what this process ignores is not ignored in a job.
func TestInheritedSignals(t *testing.T) {
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGPIPE, unix.Signal(40))
	t.Cleanup(func() { signal.Reset(unix.SIGHUP, unix.SIGINT, unix.SIGPIPE, unix.Signal(40)) })
	w := openWorker(t, t.TempDir())
	_, out := run(t, w, job.Spec{Argv: []string{"grep", "-E", "Sig(Ign|Blk)|ShdPnd", "/proc/self/status"}})
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); f[1] != "0000000000000000" {
			t.Errorf("%s, want none", strings.TrimSpace(line))
		}
	}
	if strings.Count(out, "\n") != 3 {
		t.Errorf("status: %q, want three lines", out)
	}
}

func TestKeys(t *testing.T) {
	w := openWorker(t, t.TempDir())
	opts := job.StartOptions{Owner: "alice", Key: "k", Spec: sh("sleep 1000")}
	var mu sync.Mutex
	ids, fresh := make(map[string]bool), 0
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			j, existing, err := w.Start(t.Context(), opts)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			ids[j.ID] = true
			if !existing {
				fresh++
			}
		})
	}
	wg.Wait()
	if len(ids) != 1 || fresh != 1 {
		t.Fatalf("50 starts with one key: %d jobs, %d of them new", len(ids), fresh)
	}
	other := opts
	other.Spec = sh("sleep 1001")
	if _, _, err := w.Start(t.Context(), other); !errors.Is(err, job.ErrKeyReused) {
		t.Errorf("another spec: %v, want ErrKeyReused", err)
	}
	other.Owner = "bob"
	if j, existing, err := w.Start(t.Context(), other); err != nil || existing || ids[j.ID] {
		t.Errorf("another owner: %v, %v, %v, want a job of his own", j.ID, existing, err)
	}
}

// A page ends when what its jobs were asked to run is large, and the next one goes on.
func TestListPageBytes(t *testing.T) {
	w := openWorker(t, t.TempDir())
	large := sh("true")
	large.Argv = append(large.Argv, slices.Repeat([]string{strings.Repeat("x", 100<<10)}, 2)...)
	var want []string
	for range 3 {
		want = append([]string{start(t, w, large).ID}, want...)
	}
	var got, pages []string
	for token := ""; len(pages) == 0 || token != ""; {
		jobs, next, err := w.List(job.Filter{PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range jobs {
			got = append(got, j.ID)
		}
		pages, token = append(pages, fmt.Sprint(len(jobs))), next
	}
	if fmt.Sprint(pages) != "[2 1]" || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("pages of %v jobs: %v, want %v", pages, got, want)
	}
}

func TestListPages(t *testing.T) {
	w := openWorker(t, t.TempDir())
	var want []string
	for i := range 7 {
		s := sh("true")
		s.Labels = map[string]string{"parity": []string{"even", "odd"}[i%2]}
		j := start(t, w, s)
		wait(t, w, j.ID)
		want = append([]string{j.ID}, want...)
	}
	var got []string
	for token, page := "", 0; ; page++ {
		jobs, next, err := w.List(job.Filter{Limit: 3, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range jobs {
			got = append(got, j.ID)
		}
		if page == 0 { // a page's last job may go away between two pages
			if err := w.Remove(t.Context(), jobs[2].ID, "bob"); err != nil {
				t.Fatal(err)
			}
		}
		if token = next; token == "" {
			break
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("pages %v, want %v", got, want)
	}
	odd, _, err := w.List(job.Filter{Labels: map[string]string{"parity": "odd"}})
	if err != nil || len(odd) != 3 {
		t.Errorf("label: %d jobs, %v, want 3", len(odd), err)
	}
	if none, _, err := w.List(job.Filter{Owner: "bob"}); err != nil || len(none) != 0 {
		t.Errorf("bob's: %v, %v", none, err)
	}
	for _, token := range []string{"!", "AAAA", "MSBhYmM"} {
		if _, _, err := w.List(job.Filter{PageToken: token}); !errors.Is(err, job.ErrPageToken) {
			t.Errorf("token %q: %v, want ErrPageToken", token, err)
		}
	}
}

func TestRemove(t *testing.T) {
	dir := t.TempDir()
	w := openWorker(t, dir, noSpare, func(c *job.Config) { c.UIDCount = 1 })
	// A job's files are deleted, never what they point to.
	victim := filepath.Join(dir, "victim")
	if err := os.WriteFile(victim, []byte("here"), 0o666); err != nil {
		t.Fatal(err)
	}
	j := started(t, w, sh("mkdir -p a/b; ln -s "+dir+" a/link; ln -s "+victim+" a/b/link; echo ready; exec sleep 1000"))
	if err := w.Remove(t.Context(), j.ID, "bob"); !errors.Is(err, job.ErrRunning) {
		t.Fatalf("remove of a running job: %v", err)
	}
	if _, _, err := w.Start(t.Context(), job.StartOptions{Owner: "alice", Spec: sh("true")}); !errors.Is(err, job.ErrNoUID) {
		t.Fatalf("second job with one uid: %v, want ErrNoUID", err)
	}
	if _, err := w.Stop(t.Context(), j.ID, job.StopOptions{By: "bob"}); err != nil {
		t.Fatal(err)
	}
	if err := w.Remove(t.Context(), j.ID, "bob"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Status(j.ID); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("status of a removed job: %v", err)
	}
	if b, err := os.ReadFile(victim); err != nil || string(b) != "here" {
		t.Errorf("victim: %q, %v", b, err)
	}
	if entries, err := os.ReadDir(filepath.Join(dir, "state", "jobs")); err != nil || len(entries) != 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
	wait(t, w, start(t, w, sh("true")).ID) // the uid is free again
}

// TestRemoveDeep: a job cannot make a tree that takes all of the worker's
// descriptors to remove.
func TestRemoveDeep(t *testing.T) {
	w := openWorker(t, t.TempDir())
	j, _ := run(t, w, sh("i=0; while [ $i -lt 1000 ]; do mkdir d; : > f; ln -s / l; cd -P d || exit 1; i=$((i+1)); done"))
	if verdict(j) != "exited 0" {
		t.Fatalf("verdict %q", verdict(j))
	}
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 256, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	err := w.Remove(t.Context(), j.ID, "bob")
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Errorf("remove: %v", err)
	}
}

// TestSignalFlood: signals that nobody takes do not stop anybody.
func TestSignalFlood(t *testing.T) {
	w := openWorker(t, t.TempDir())
	j := started(t, w, sh("trap '' USR1; echo ready; exec sleep 1000"))
	for range 100_000 {
		if err := w.Signal(j.ID, "USR1", "bob"); err != nil && !errors.Is(err, unix.EAGAIN) {
			t.Fatal(err)
		}
	}
	if j, err := w.Stop(t.Context(), j.ID, job.StopOptions{Grace: duration(0)}); err != nil || j.State != job.Ended {
		t.Errorf("stop: %+v, %v", j, err)
	}
}

func TestUnknownIDs(t *testing.T) {
	w := openWorker(t, t.TempDir())
	for _, id := range []string{"", ".", "..", "../x", "lock", strings.Repeat("a", 26), strings.Repeat("A", 26), strings.Repeat("a", 25) + "/", strings.Repeat("a", 27)} {
		_, status := w.Status(id)
		_, stop := w.Stop(t.Context(), id, job.StopOptions{})
		_, wait := w.Wait(t.Context(), id)
		_, out := w.Output(id, stream.Query{})
		for _, err := range []error{status, stop, wait, out, w.Signal(id, "TERM", "bob"), w.Remove(t.Context(), id, "bob")} {
			if !errors.Is(err, job.ErrNotFound) {
				t.Errorf("id %q: %v, want ErrNotFound", id, err)
			}
		}
	}
}

func TestShutdown(t *testing.T) {
	dir := t.TempDir()
	w := openWorker(t, dir)
	polite := started(t, w, sh("trap 'exit 5' TERM; echo ready; while :; do sleep .01; done"))
	deaf := started(t, w, sh("trap '' TERM; echo ready; while :; do sleep .01; done"))
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if err := w.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.Start(t.Context(), job.StartOptions{Owner: "alice", Spec: sh("true")}); !errors.Is(err, job.ErrClosed) {
		t.Errorf("start after shutdown: %v, want ErrClosed", err)
	}
	w = openWorker(t, dir)
	for id, want := range map[string]string{polite.ID: "stopped 5", deaf.ID: "stopped SIGKILL"} {
		if j, err := w.Status(id); err != nil || verdict(j) != want {
			t.Errorf("job %s: %q, %v, want %q", id, verdict(j), err, want)
		}
	}
}
