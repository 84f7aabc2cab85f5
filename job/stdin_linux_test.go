package job_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"testing"
	"time"

	"jobworker/job"
)

// reading is the spec of a script with a standard input.
func reading(script string) job.Spec {
	s := sh(script)
	s.Stdin = true
	return s
}

// takeStdin takes a job's input until the end of the test.
func takeStdin(tb testing.TB, w *job.Worker, id string, offset int64) *job.Stdin {
	tb.Helper()
	in, err := w.Stdin(tb.Context(), id, offset)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { in.Close() }) // which most tests do before
	return in
}

// TestStdin: a job gets exactly the bytes that were written, and their end.
func TestStdin(t *testing.T) {
	dir := t.TempDir()
	w := openWorker(t, dir)
	random := make([]byte, 16<<20)
	rand.NewChaCha8([32]byte{2}).Read(random)
	for _, tt := range []struct {
		name  string
		input []byte
	}{{"nothing", nil}, {"a byte", random[:1]}, {"much", random}} {
		t.Run(tt.name, func(t *testing.T) {
			j := start(t, w, reading("sha256sum; cat; echo over"))
			in := takeStdin(t, w, j.ID, 0)
			if n, err := io.Copy(in, bytes.NewReader(tt.input)); err != nil || n != int64(len(tt.input)) {
				t.Fatalf("write: %d bytes, %v", n, err)
			}
			if err := errors.Join(in.End(), in.Close()); err != nil {
				t.Fatal(err)
			}
			j = wait(t, w, j.ID)
			want := fmt.Sprintf("%x  -\nover\n", sha256.Sum256(tt.input))
			if out := output(t, w, j.ID, ""); out != want || j.StdinBytes != int64(len(tt.input)) {
				t.Errorf("the job says %q of %d bytes, want %q of %d", out, j.StdinBytes, want, len(tt.input))
			}
		})
	}
	jobs, _, err := w.List(job.Filter{})
	if err := errors.Join(err, w.Shutdown(t.Context())); err != nil {
		t.Fatal(err)
	}
	w = openWorker(t, dir)
	for _, j := range jobs {
		if again := status(t, w, j.ID); again.StdinBytes != j.StdinBytes || !again.Stdin {
			t.Errorf("read back: %d bytes of input, want %d", again.StdinBytes, j.StdinBytes)
		}
		stdinRefused(t, w, j.ID, j.StdinBytes, job.ErrEnded, j.StdinBytes)
	}
}

// stdinRefused asserts that an input is not given, and why.
func stdinRefused(t *testing.T, w *job.Worker, id string, offset int64, want error, accepted int64) {
	t.Helper()
	in, err := w.Stdin(t.Context(), id, offset)
	if err == nil {
		t.Fatal("the input was given: ", in.Close())
	}
	if e, ok := errors.AsType[*job.StdinError](err); !ok || !errors.Is(err, want) || e.Accepted != accepted {
		t.Errorf("input at %d: %v, want %v after %d bytes", offset, err, want, accepted)
	}
}

// TestStdinTurns: one writer after the other, each where the last one was.
func TestStdinTurns(t *testing.T) {
	w := openWorker(t, t.TempDir())
	for id, want := range map[string]error{"x": job.ErrNotFound, "aaaaaaaaaaaaaaaaaaaaaaaaaa": job.ErrNotFound, start(t, w, sh("exec sleep 1000")).ID: job.ErrNoStdin} {
		if _, err := w.Stdin(t.Context(), id, 0); !errors.Is(err, want) {
			t.Errorf("input of job %q: %v, want %v", id, err, want)
		}
	}
	j := start(t, w, reading("cat"))
	first := takeStdin(t, w, j.ID, 0)
	if _, err := io.WriteString(first, "one "); err != nil {
		t.Fatal(err)
	}
	stdinRefused(t, w, j.ID, 4, job.ErrStdinBusy, 4)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	stdinRefused(t, w, j.ID, 0, job.ErrStdinOffset, 4)
	stdinRefused(t, w, j.ID, 5, job.ErrStdinOffset, 4)
	second := takeStdin(t, w, j.ID, 4)
	if first.Close() == nil {
		t.Error("a second Close is no error")
	}
	stdinRefused(t, w, j.ID, 4, job.ErrStdinBusy, 4) // all the same
	if _, err := io.WriteString(second, "two"); err != nil {
		t.Fatal(err)
	}
	if n := second.Accepted(); n != 7 || status(t, w, j.ID).StdinBytes != n {
		t.Errorf("accepted %d bytes, status says %d, want 7", n, status(t, w, j.ID).StdinBytes)
	}
	if err := errors.Join(second.End(), second.Close()); err != nil {
		t.Fatal(err)
	}
	if j = wait(t, w, j.ID); verdict(j) != "exited 0" || output(t, w, j.ID, "") != "one two" {
		t.Errorf("verdict %q, output %q", verdict(j), output(t, w, j.ID, ""))
	}
	stdinRefused(t, w, j.ID, 7, job.ErrEnded, 7)
}

// TestStdinHeld: a job that does not read holds its writer, at a bounded number of
// bytes, until the writer's context, the job's end or a Close ends that.
func TestStdinHeld(t *testing.T) {
	w := openWorker(t, t.TempDir())
	for name, end := range map[string]func(t *testing.T, id string, in *job.Stdin, cancel context.CancelCauseFunc) error{
		"context": func(_ *testing.T, _ string, _ *job.Stdin, cancel context.CancelCauseFunc) error {
			cancel(io.ErrNoProgress)
			return io.ErrNoProgress
		},
		"stop": func(t *testing.T, id string, _ *job.Stdin, _ context.CancelCauseFunc) error {
			if _, err := w.Stop(t.Context(), id, job.StopOptions{}); err != nil {
				t.Error(err)
			}
			return nil // closed, or ended, whichever is seen first
		},
	} {
		t.Run(name, func(t *testing.T) {
			j := started(t, w, reading("echo ready; exec sleep 1000"))
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			in, err := w.Stdin(ctx, j.ID, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer in.Close()
			written := make(chan error, 1)
			var n int
			go func() {
				var err error
				n, err = in.Write(make([]byte, 16<<20))
				written <- err
			}()
			awaitHeld(t, w, j.ID)
			want := end(t, j.ID, in, cancel)
			err = <-written
			e, ok := errors.AsType[*job.StdinError](err)
			if !ok || e.Accepted != int64(n) || n > 3<<20 || status(t, w, j.ID).StdinBytes != e.Accepted {
				t.Errorf("write: %d bytes, %v, want a few", n, err)
			}
			if want == nil && !errors.Is(err, job.ErrStdinClosed) && !errors.Is(err, job.ErrEnded) || want != nil && !errors.Is(err, want) {
				t.Errorf("write: %v, want %v", err, want)
			}
		})
	}
}

// awaitHeld returns when the job's input has not grown for a while, and has begun.
func awaitHeld(t *testing.T, w *job.Worker, id string) {
	t.Helper()
	before := int64(-1)
	for {
		n := status(t, w, id).StdinBytes
		if n > 0 && n == before {
			return
		}
		before = n
		time.Sleep(50 * time.Millisecond) // if it is too short, less than the most is held
	}
}

// TestStdinClosed: a job that has enough, or is over, ends its writer.
func TestStdinClosed(t *testing.T) {
	w := openWorker(t, t.TempDir())
	for script, want := range map[string][]error{
		"head -c 10": {job.ErrStdinClosed, job.ErrEnded},
		"head -c 10; exec < /dev/null; exec sleep 10": {job.ErrStdinClosed},
	} {
		t.Run(script, func(t *testing.T) {
			j := start(t, w, reading(script))
			in := takeStdin(t, w, j.ID, 0)
			_, err := io.Copy(in, zeros{})
			if e, ok := errors.AsType[*job.StdinError](err); !ok || !errors.Is(err, want[0]) && !errors.Is(err, want[len(want)-1]) || e.Accepted < 10 {
				t.Errorf("write: %v, want %v", err, want)
			}
			accepted := in.Accepted()
			if err := in.Close(); err != nil {
				t.Error(err)
			}
			if len(want) == 1 {
				stdinRefused(t, w, j.ID, accepted, job.ErrStdinClosed, accepted)
				if _, err := w.Stop(t.Context(), j.ID, job.StopOptions{}); err != nil {
					t.Error(err)
				}
			}
			<-in.Done()
			if out := output(t, w, j.ID, ""); out != string(make([]byte, 10)) {
				t.Errorf("output %q", out)
			}
			stdinRefused(t, w, j.ID, accepted, job.ErrEnded, accepted)
		})
	}
}

// zeros is an input without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// TestStdinView: what a job with an input sees of it.
func TestStdinView(t *testing.T) {
	w := openWorker(t, t.TempDir())
	j := start(t, w, reading(`for f in /proc/$$/fd/*; do [ -L $f ] && echo ${f##*/}; done
		readlink /proc/self/fd/0 | cut -d: -f1; stat -Lc '%u %a' /dev/stdin
		(echo x > /dev/stdin) 2>/dev/null || echo cannot be written to; chmod 600 /dev/stdin 2>/dev/null || echo cannot be changed
		cat /dev/stdin; cat`))
	in := takeStdin(t, w, j.ID, 0)
	if _, err := io.WriteString(in, "input\n"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(in.End(), in.Close()); err != nil {
		t.Fatal(err)
	}
	wait(t, w, j.ID)
	if out, want := output(t, w, j.ID, ""), "0\n1\n2\npipe\n0 440\ncannot be written to\ncannot be changed\ninput\n"; out != want {
		t.Errorf("the job says\n%s\nwant\n%s", out, want)
	}
}

// BenchmarkStdin writes to a job that reads and drops its input; beside it, the same
// bytes go through a pipe of cat into one.
func BenchmarkStdin(b *testing.B) {
	const size = 256 << 20
	b.Run("job", func(b *testing.B) {
		w := openWorker(b, tmpfsDir(b))
		b.SetBytes(size)
		for b.Loop() {
			j := start(b, w, reading("exec cat > /dev/null"))
			in := takeStdin(b, w, j.ID, 0)
			if _, err := io.CopyBuffer(struct{ io.Writer }{in}, io.LimitReader(zeros{}, size), make([]byte, 256<<10)); err != nil {
				b.Fatal(err)
			}
			if err := errors.Join(in.End(), in.Close()); err != nil {
				b.Fatal(err)
			}
			wait(b, w, j.ID)
		}
	})
	b.Run("cat", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			cmd := exec.Command("sh", "-c", "cat | cat > /dev/null")
			cmd.Stdin = io.LimitReader(zeros{}, size)
			if err := cmd.Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
