package job_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"jobworker/job"
	"jobworker/stream"
)

// full returns a spec of a job of which 1 MiB of output is recorded.
func full(what, script string) job.Spec {
	s := sh(script)
	s.Limits.OutputBytes, s.Limits.OutputFull = 1<<20, what
	return s
}

// recorded returns the frames of a job that is over, after checking that they
// cover its output without a hole.
func recorded(t *testing.T, w *job.Worker, j job.Job) (frames []stream.Frame) {
	t.Helper()
	r, err := w.Output(j.ID, stream.Query{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	next := int64(0)
	for {
		lines, err := r.Next(t.Context())
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(lines) {
			f, err := stream.Decode(line)
			if err != nil || f.Type != stream.TypeStart && f.Offset != next {
				t.Fatalf("frame %.100q, %v: want one at %d", line, err, next)
			}
			next += int64(len(f.Data)) + f.Bytes
			frames = append(frames, f)
		}
	}
	if next != j.OutputBytes {
		t.Errorf("the log ends at %d, want %d", next, j.OutputBytes)
	}
	return frames
}

// logFile returns the log of a job of the worker in dir.
func logFile(dir, id string) string {
	return filepath.Join(dir, "state", "jobs", id, "output.jsonl")
}

// TestOutputLimit: a job that writes more than its limit is killed as a whole, in
// whatever sessions its processes are, and says why; what was recorded stays, and
// what was not is a gap.
func TestOutputLimit(t *testing.T) {
	dir := t.TempDir()
	w := openWorker(t, dir)
	s := full("", "trap '' TERM; setsid yes & yes >&2 & (setsid sh -c 'while :; do yes; done' &); sleep 1000")
	j := wait(t, w, start(t, w, s).ID)
	if verdict(j) != "output_limit SIGKILL" {
		t.Errorf("verdict %q", verdict(j))
	}
	frames := recorded(t, w, j)
	gap, exit := frames[len(frames)-2], frames[len(frames)-1]
	if gap.Type != stream.TypeGap || gap.Reason != stream.GapOutputLimit || exit.Reason != job.OutputLimit {
		t.Errorf("the log ends with %+v, %+v", gap, exit)
	}
	if gap.Offset < 1<<19 {
		t.Errorf("%d bytes are recorded, want nearly 1 MiB", gap.Offset)
	}
	if st, err := os.Stat(logFile(dir, j.ID)); err != nil || st.Size() > 1<<20+8<<10 {
		t.Errorf("log of %d bytes, %v", st.Size(), err)
	}
}

// TestOutputLimitAtTheEnd: a job that has ended by itself, with too much still in
// its pipe, has the same verdict and its own code.
func TestOutputLimitAtTheEnd(t *testing.T) {
	w := openWorker(t, t.TempDir())
	j := wait(t, w, start(t, w, full("", "head -c 1900000 /dev/zero")).ID)
	if j.Verdict.Reason != job.OutputLimit || (j.Verdict.Code == nil) == (j.Verdict.Signal == "") {
		t.Errorf("verdict %+v", j.Verdict)
	}
	recorded(t, w, j)
}

// TestKeepNewest: a job that writes more than its limit goes on; its log stays as
// small and ends with the newest.
func TestKeepNewest(t *testing.T) {
	const last, size = 200000, 1288895
	dir := t.TempDir()
	w := openWorker(t, dir)
	j := wait(t, w, start(t, w, full(job.KeepNewest, "exec seq "+strconv.Itoa(last))).ID)
	if verdict(j) != "exited 0" || j.OutputBytes != size {
		t.Errorf("verdict %q, %d bytes", verdict(j), j.OutputBytes)
	}
	st, err := os.Stat(logFile(dir, j.ID))
	if err != nil {
		t.Fatal(err)
	}
	if n := st.Sys().(*syscall.Stat_t).Blocks * 512; n > 1<<20+16<<10 || n < 1<<19 {
		t.Errorf("%d bytes on disk of a file of %d", n, st.Size())
	}
	gone := 0
	var end []byte
	for _, f := range recorded(t, w, j) {
		if f.Type == stream.TypeGap {
			gone++
		}
		end = append(end, f.Data...)
	}
	if gone != 1 || !strings.HasSuffix(string(end), "\n199999\n200000\n") {
		t.Errorf("%d gaps, %d bytes that end with %q", gone, len(end), end[max(0, len(end)-20):])
	}
}

// TestOutputLimits: what a job does not say is the worker's, and more than that
// records is refused.
func TestOutputLimits(t *testing.T) {
	dir := t.TempDir()
	w := openWorker(t, dir, noSpare, func(c *job.Config) { c.MaxOutput = 8 << 20 })
	if j := start(t, w, sh("true")); j.Limits.OutputBytes != 8<<20 || j.Limits.OutputFull != job.EndJob {
		t.Errorf("limits in force %+v", j.Limits)
	}
	if j := start(t, w, full(job.KeepNewest, "true")); j.Limits.OutputBytes != 1<<20 || j.Limits.OutputFull != job.KeepNewest {
		t.Errorf("limits in force %+v", j.Limits)
	}
	s := sh("true")
	s.Limits.OutputBytes = 8<<20 + 1
	_, _, err := w.Start(t.Context(), job.StartOptions{Owner: "alice", Spec: s})
	if e, ok := errors.AsType[*job.LimitError](err); !ok || e.Field != "limits.output_bytes" {
		t.Errorf("start above the most: %v", err)
	}
}
