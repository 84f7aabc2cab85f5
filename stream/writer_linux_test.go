package stream_test

import (
	"bytes"
	"errors"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"jobworker/stream"
)

// capFileSize makes writes beyond n bytes of a file fail, half done if they began before: what a full disk does,
// but without one to fill (RLIMIT_FSIZE in getrlimit(2)). Tests that call it are not parallel.
func capFileSize(t *testing.T, n uint64) (lift func()) {
	t.Helper()
	var old syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old))
	signal.Ignore(syscall.SIGXFSZ)
	must(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: n, Max: old.Max}))
	lift = func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
			t.Error(err)
		}
		signal.Reset(syscall.SIGXFSZ)
	}
	return lift
}

func kinds(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	var s []string
	for line := range bytes.Lines(b) {
		f, err := stream.Decode(line)
		must(t, err)
		s = append(s, f.Type)
		if f.Type == stream.TypeGap {
			s = append(s, f.Reason)
		}
	}
	return strings.Join(s, " ")
}

// TestShortWrite: half a line is cut off again, the loss is marked once, and the offsets go on.
func TestShortWrite(t *testing.T) {
	path, f := create(t)
	w := stream.NewWriter(f, 0)
	must(t, w.Start("job", []string{"true"}, t0))
	must(t, w.Output(stream.Stdout, t0, []byte("before\n")))
	st, err := f.Stat()
	must(t, err)
	lift := capFileSize(t, uint64(st.Size()+50))
	for range 2 {
		if err := w.Output(stream.Stdout, t0, []byte("lost\n")); !errors.Is(err, syscall.EFBIG) {
			t.Errorf("output beyond the limit: %v", err)
		}
		if now, err := f.Stat(); err != nil || now.Size() != st.Size() {
			t.Errorf("%d bytes after a short write, %v, want %d", now.Size(), err, st.Size())
		}
	}
	if err := w.Sync(); !errors.Is(err, syscall.EFBIG) {
		t.Errorf("sync with a gap owed: %v", err)
	}
	lift()
	must(t, w.Output(stream.Stdout, t0, []byte("after\n")))
	must(t, w.Exit(t0, stream.Verdict{Reason: "exited"}, nil))
	if got, want := kinds(t, path), "start output gap write_error output exit"; got != want {
		t.Errorf("log: %s, want %s", got, want)
	}
	got := readAll(t, path, stream.Query{Offset: 9})
	want := []stream.Frame{
		{Type: "gap", Offset: 9, Bytes: 8, Reason: "write_error"},
		{Type: "output", Stream: "stdout", Offset: 17, Time: t0, Data: []byte("after\n")},
		{Type: "exit", Offset: 23, Time: t0, Reason: "exited", Verdict: &stream.Verdict{Reason: "exited"}},
	}
	equalFrames(t, got, want)
	if n, err := stream.Next(f); err != nil || n != 23 {
		t.Errorf("next %d, %v, want 23", n, err)
	}
}

// TestFullToTheEnd: a log on a full disk gets the gap when space is back, at the latest with the exit frame.
func TestFullToTheEnd(t *testing.T) {
	for _, end := range []struct {
		name, want string
		call       func(*stream.Writer) error
	}{
		{"exit", "start gap write_error exit", func(w *stream.Writer) error {
			return w.Exit(t0, stream.Verdict{Reason: "exited"}, nil)
		}},
		{"sync", "start gap write_error", (*stream.Writer).Sync},
		{"gap", "start gap write_error gap output_limit", func(w *stream.Writer) error { return w.Gap(3, "output_limit") }},
	} {
		t.Run(end.name, func(t *testing.T) {
			path, f := create(t)
			w := stream.NewWriter(f, 0)
			must(t, w.Start("job", []string{"true"}, t0))
			st, err := f.Stat()
			must(t, err)
			lift := capFileSize(t, uint64(st.Size()+1))
			err = w.Output(stream.Stderr, t0, make([]byte, stream.MaxFrame))
			lift()
			if err == nil || w.Offset() != stream.MaxFrame {
				t.Errorf("output: %v, offset %d", err, w.Offset())
			}
			must(t, end.call(w))
			if got := kinds(t, path); got != end.want {
				t.Errorf("log: %s, want %s", got, end.want)
			}
		})
	}
}

// TestNoSpace: the kernel's own full device gives the reason its name.
func TestNoSpace(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	defer full.Close()
	w := stream.NewWriter(full, 0)
	for n := int64(1); n < 3; n++ {
		if err := w.Output(stream.Stdout, t0, []byte("a")); !errors.Is(err, syscall.ENOSPC) || w.Offset() != n {
			t.Errorf("output: %v, offset %d, want %d", err, w.Offset(), n)
		}
	}
	if err := w.Exit(t0, stream.Verdict{Reason: "exited"}, nil); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("exit: %v", err)
	}
}
