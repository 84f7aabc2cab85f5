package job_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jobworker/job"
	"jobworker/stream"
)

// expose makes a file that the jobs of a worker see at the same path.
func expose(t *testing.T, content []byte) (name string, change func(*job.Config)) {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "jobtest-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	name = filepath.Join(dir, "f")
	if err := os.WriteFile(name, content, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return name, func(c *job.Config) { c.Expose = []string{dir} }
}

// TestOutputBytes: what a job writes is what is recorded, whatever the bytes.
func TestOutputBytes(t *testing.T) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	noise := make([]byte, 8<<20)
	rand.NewChaCha8([32]byte{}).Read(noise)
	for name, content := range map[string][]byte{
		"every byte":    bytes.Repeat(all, 1000),
		"8 MiB":         noise,
		"no newline":    []byte("x"),
		"one long line": bytes.Repeat([]byte("ä"), 1<<20),
		"NULs":          make([]byte, 1<<20),
	} {
		t.Run(name, func(t *testing.T) {
			file, change := expose(t, content)
			w := openWorker(t, t.TempDir(), change)
			j, out := run(t, w, job.Spec{Argv: []string{"cat", file}})
			if verdict(j) != "exited 0" || j.OutputBytes != int64(len(content)) {
				t.Errorf("verdict %q, %d bytes of output, want %d", verdict(j), j.OutputBytes, len(content))
			}
			if out != string(content) {
				t.Errorf("output of %d bytes differs from the %d written", len(out), len(content))
			}
		})
	}
}

func TestOutputOfNothing(t *testing.T) {
	w := openWorker(t, t.TempDir())
	if j, out := run(t, w, sh("true")); out != "" || j.OutputBytes != 0 {
		t.Errorf("output %q, %d bytes", out, j.OutputBytes)
	}
}

// TestMerge: with one pipe the order of the two streams is exact.
func TestMerge(t *testing.T) {
	w := openWorker(t, t.TempDir())
	s := sh("i=0; while [ $i -lt 500 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done")
	s.Merge = true
	j, out := run(t, w, s)
	var want strings.Builder
	for i := range 500 {
		fmt.Fprintf(&want, "out %d\nerr %d\n", i, i)
	}
	if out != want.String() {
		t.Errorf("out of order: %q", out)
	}
	if e := output(t, w, j.ID, stream.Stderr); e != "" {
		t.Errorf("standard error apart: %q", e)
	}
}

func TestSources(t *testing.T) {
	w := openWorker(t, t.TempDir())
	j, _ := run(t, w, sh("i=0; while [ $i -lt 50 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done"))
	for source, word := range map[stream.Source]string{stream.Stdout: "out", stream.Stderr: "err"} {
		var want strings.Builder
		for i := range 50 {
			fmt.Fprintf(&want, "%s %d\n", word, i)
		}
		if got := output(t, w, j.ID, source); got != want.String() {
			t.Errorf("%s: %q", source, got)
		}
	}
}

// TestOutputClosed: a job that has closed its output is not over, and still gets
// signals.
func TestOutputClosed(t *testing.T) {
	dir := t.TempDir()
	w := openWorker(t, dir)
	j := started(t, w, sh("mkfifo f; trap 'exit 3' TERM; echo ready; exec >&- 2>&-; echo closed > f; while :; do sleep .01; done"))
	fifo := filepath.Join(dir, "state", "jobs", j.ID, "scratch", "f")
	if b, err := os.ReadFile(fifo); err != nil || string(b) != "closed\n" { // blocks until the job has written it
		t.Fatalf("fifo: %q, %v", b, err)
	}
	if j := status(t, w, j.ID); j.State != job.Running || j.OutputBytes != int64(len("ready\n")) {
		t.Errorf("job %+v: want it running", j)
	}
	if err := w.Signal(j.ID, "TERM", "bob"); err != nil {
		t.Fatal(err)
	}
	if j := wait(t, w, j.ID); verdict(j) != "exited 3" {
		t.Errorf("verdict %q", verdict(j))
	}
}

// TestNothingAfterTheEnd: the log of a job that is over ends with its only exit
// frame, whatever its other processes were about to write.
func TestNothingAfterTheEnd(t *testing.T) {
	dir := t.TempDir()
	w := openWorker(t, dir)
	j, out := run(t, w, sh("(trap '' TERM HUP; while :; do echo late; done) & (setsid sh -c 'while :; do echo later >&2; done') & echo main; exit 0"))
	checkLog(t, dir, j)
	if !strings.Contains(out, "main\n") {
		t.Errorf("output of the main process is missing in %d bytes", len(out))
	}
	if again := output(t, w, j.ID, ""); again != out {
		t.Errorf("output grew from %d to %d bytes after the end", len(out), len(again))
	}
}

// checkLog fails unless the log of j, which is over, is whole: a start frame,
// output without a hole, and one exit frame with j's verdict.
func checkLog(t *testing.T, dir string, j job.Job) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "state", "jobs", j.ID, "output.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var next int64
	var last stream.Frame
	for line := range bytes.Lines(b) {
		if last.Type == stream.TypeExit {
			t.Fatalf("log of %s goes on after its exit frame: %.100q", j.ID, line)
		}
		if last, err = stream.Decode(line); err != nil {
			t.Fatalf("log of %s: %v", j.ID, err)
		}
		if last.Type != stream.TypeStart && last.Offset != next {
			t.Fatalf("log of %s: %s frame at offset %d, want %d", j.ID, last.Type, last.Offset, next)
		}
		next += int64(len(last.Data))
	}
	if last.Type != stream.TypeExit || last.Reason != j.Verdict.Reason || last.Offset != j.OutputBytes {
		t.Errorf("log of %s ends with %+v, want the exit frame of %+v", j.ID, last, j)
	}
}

// TestPipeIsLetGo: a process that outlives the main one cannot hold the output
// open. Without a PID namespace it would take as long as the process lives.
func TestPipeIsLetGo(t *testing.T) {
	w := openWorker(t, t.TempDir())
	j := started(t, w, sh("trap 'exit 0' TERM; (setsid sleep 1000 &); setsid sleep 1000 & echo ready; while :; do sleep .01; done"))
	begin := time.Now()
	if err := w.Signal(j.ID, "TERM", "bob"); err != nil {
		t.Fatal(err)
	}
	if out := output(t, w, j.ID, ""); out != "ready\n" {
		t.Errorf("output %q", out)
	}
	if j := wait(t, w, j.ID); verdict(j) != "exited 0" {
		t.Errorf("verdict %q", verdict(j))
	}
	if took := time.Since(begin); took > time.Second {
		t.Errorf("the job took %v to end", took)
	}
}

// shortJobs returns how many jobs TestShortJobs runs: 10,000 where one takes
// some milliseconds. With the race detector one takes twice as long and the
// machine's other tests wait; a virtual machine without KVM needs up to 200 ms.
func shortJobs() int {
	race := raceBuilt()
	switch vm := os.Getenv("KERNELTEST") == "vm"; {
	case vm && race:
		return 50
	case vm:
		return 200
	case race:
		return 1000
	}
	return 10_000
}

// raceBuilt reports whether the race detector is in this program.
func raceBuilt() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// TestShortJobs: no job is so short that its output is lost.
func TestShortJobs(t *testing.T) {
	w := openWorker(t, tmpfsDir(t))
	var next atomic.Int64
	count, begin := int64(shortJobs()), time.Now()
	var wg sync.WaitGroup
	for range 4 * runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for n := next.Add(1); n <= count && !t.Failed(); n = next.Add(1) {
				if err := shortJob(t, w, fmt.Sprintf("line %d", n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(begin)
	t.Logf("%d jobs in %v, %v each", count, took.Round(time.Millisecond), (took / time.Duration(count)).Round(time.Microsecond))
}

// shortJob runs a job that writes one line, and removes it.
func shortJob(t *testing.T, w *job.Worker, line string) error {
	j, _, err := w.Start(t.Context(), job.StartOptions{Owner: "alice", Spec: job.Spec{Argv: []string{"echo", line}}})
	if err != nil {
		return err
	}
	r, err := w.Output(j.ID, stream.Query{Follow: true})
	if err != nil {
		return err
	}
	defer r.Close()
	got, err := payload(t, r)
	if err != nil || string(got) != line+"\n" {
		return fmt.Errorf("job %s wrote %q, %v, want %q", j.ID, got, err, line)
	}
	j, err = w.Wait(t.Context(), j.ID)
	if err != nil || verdict(j) != "exited 0" || j.OutputBytes != int64(len(line)+1) {
		return fmt.Errorf("job %+v: %w", j, err)
	}
	return w.Remove(t.Context(), j.ID, "bob")
}
