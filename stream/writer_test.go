package stream_test

import (
	"bytes"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"

	"jobworker/stream"
)

// readAll gives the frames that q asks for.
func readAll(t testing.TB, path string, q stream.Query) (frames []stream.Frame) {
	t.Helper()
	r, err := stream.Open(path, nil, nil, q)
	must(t, err)
	defer r.Close()
	for {
		lines, err := r.Next(t.Context())
		if err == io.EOF {
			return frames
		}
		must(t, err)
		for line := range bytes.Lines(lines) {
			f, err := stream.Decode(line)
			must(t, err)
			frames = append(frames, f)
		}
	}
}

func equalFrames(t testing.TB, got, want []stream.Frame) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("frames:\n got %+v\nwant %+v", got, want)
	}
}

// TestWriter: each method writes the frame it is named after.
func TestWriter(t *testing.T) {
	path, f := create(t)
	w := stream.NewWriter(f, 0)
	must(t, w.Start(golden[0].Job, golden[0].Argv, golden[0].Time))
	for _, g := range golden[1:5] {
		must(t, w.Output(g.Stream, g.Time, g.Data))
	}
	must(t, w.Output(stream.Stdout, t0, nil))
	must(t, w.Gap(0, "nothing"))
	must(t, w.Gap(golden[5].Bytes, golden[5].Reason))
	must(t, w.Exit(golden[7].Time, *golden[7].Verdict, golden[7].Usage))
	must(t, w.Sync())
	got, err := os.ReadFile(path)
	must(t, err)
	want := bytes.Join(append(goldenLines(t)[:6:6], goldenLines(t)[7]), nil)
	if !bytes.Equal(got, want) {
		t.Errorf("log:\n got %s\nwant %s", got, want)
	}
	equalFrames(t, readAll(t, path, stream.Query{}), append(golden[:6:6], golden[7]))
}

// TestWriterRefuses: what cannot be written leaves the log as it was.
func TestWriterRefuses(t *testing.T) {
	path, f := create(t)
	w := stream.NewWriter(f, 0)
	for name, err := range map[string]error{
		"argv not UTF-8": w.Start("job", []string{"\xff"}, t0),
		"argv empty":     w.Start("job", nil, t0),
		"argv too long":  w.Start("job", []string{strings.Repeat("a", stream.MaxLine)}, t0),
		"gap negative":   w.Gap(-1, "x"),
		"no reason":      w.Exit(t0, stream.Verdict{}, nil),
		"usage":          w.Exit(t0, stream.Verdict{Reason: "exited"}, []byte("{")),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if b, err := os.ReadFile(path); err != nil || len(b) > 0 {
		t.Errorf("log: %q, %v", b, err)
	}
	if err := w.Output(stream.Stdout, t0, make([]byte, stream.MaxFrame+1)); err == nil {
		t.Error("output over MaxFrame: no error")
	}
	must(t, w.Exit(t0, stream.Verdict{Reason: "exited"}, nil))
	equalFrames(t, readAll(t, path, stream.Query{})[:1], []stream.Frame{
		{Type: "gap", Bytes: stream.MaxFrame + 1, Reason: "write_error"},
	})
}

// TestRecover: a crash at any byte leaves a log that goes on where its last whole frame ended.
func TestRecover(t *testing.T) {
	path, f := create(t)
	w := stream.NewWriter(f, 0)
	must(t, w.Start("job", []string{"true"}, t0))
	must(t, w.Output(stream.Stdout, t0, []byte("one\n")))
	must(t, w.Output(stream.Stderr, t0, []byte("\xfftwo\n")))
	must(t, w.Gap(7, "x"))
	must(t, w.Exit(t0, stream.Verdict{Reason: "exited"}, nil))
	whole, err := os.ReadFile(path)
	must(t, err)
	offsets := []int64{0, 0, 4, 9, 16, 16} // after so many lines
	for _, tail := range []string{"", "\x00\x00\x00", "\x00\n\x00"} {
		for n := range len(whole) + 1 {
			must(t, os.WriteFile(path, append(whole[:n:n], tail...), 0o600))
			lines := bytes.Count(whole[:n], []byte("\n"))
			next, exit, err := stream.Recover(f)
			if err != nil || next != offsets[lines] || (exit != nil) != (lines == 5) {
				t.Fatalf("cut at %d, tail %q: next %d, exit %+v, %v, want %d", n, tail, next, exit, err, offsets[lines])
			}
			if exit != nil {
				equalFrames(t, []stream.Frame{*exit}, []stream.Frame{{Type: "exit", Offset: 16, Time: t0, Reason: "exited", Verdict: &stream.Verdict{Reason: "exited"}}})
			}
			kept, err := os.ReadFile(path)
			must(t, err)
			if want := whole[:bytes.LastIndexByte(whole[:n], '\n')+1]; !bytes.Equal(kept, want) {
				t.Fatalf("cut at %d, tail %q: %q left, want %q", n, tail, kept, want)
			}
		}
	}
}

// TestRecoverRefuses: what is no log is left alone.
func TestRecoverRefuses(t *testing.T) {
	for _, s := range []string{"hello\n", strings.Repeat("hello ", 100), golden[0].Argv[0] + "\n" + string(golden[1].Append(nil))} {
		path, f := create(t)
		must(t, os.WriteFile(path, []byte(s), 0o600))
		if next, exit, err := stream.Recover(f); err == nil {
			t.Errorf("recover %.50q: %d %v", s, next, exit)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != s {
			t.Errorf("recover %.50q left %.50q, %v", s, b, err)
		}
	}
}
