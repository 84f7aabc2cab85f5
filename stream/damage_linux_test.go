package stream_test

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"jobworker/stream"
)

// holes writes a log of 2 MiB and punches a hole of a few blocks and a cut-off in the middle of frames.
func holes(t *testing.T) (path string, f *os.File, m *model) {
	t.Helper()
	path, f = create(t)
	w := stream.NewWriter(f, 0)
	must(t, w.Start("job", []string{"true"}, t0))
	m = new(model)
	rng := rand.New(rand.NewPCG(4, 5))
	m.write(t, w, rng, 40, 30000)
	m.write(t, w, rng, 2000, 50)
	must(t, w.Exit(t0, stream.Verdict{Reason: "exited"}, nil))
	m.ended = true
	for _, h := range []struct{ at, n int64 }{{4 << 10, 200 << 10}, {400 << 10, 4 << 10}, {408 << 10, 4 << 10}, {512<<10 + 123, 7}} {
		must(t, unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, h.at, h.n))
	}
	return path, f, m
}

// TestHoles: from whatever offset, what is there comes as it was and what is not as gap frames, and together they
// cover all of the output.
func TestHoles(t *testing.T) {
	path, f, m := holes(t)
	total := int64(len(m.data))
	if n, err := stream.Next(f); err != nil || n != total {
		t.Errorf("next %d, %v, want %d", n, err, total)
	}
	rng := rand.New(rand.NewPCG(6, 7))
	gone := m.missing(t, path, 0)
	if len(gone) < 3 {
		t.Errorf("gaps %v, want at least 3", gone)
	}
	for range 50 {
		from := rng.Int64N(total + 1)
		var want [][2]int64
		for _, g := range gone {
			if g[1] > from {
				want = append(want, [2]int64{max(g[0], from), g[1]})
			}
		}
		got := m.missing(t, path, from)
		if len(got) != len(want) {
			t.Fatalf("from %d: gaps %v, want %v", from, got, want)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("from %d: gaps %v, want %v", from, got, want)
			}
		}
	}
}

// missing reads the log from an offset and returns its gaps, after holding everything else against the model.
func (m *model) missing(t *testing.T, path string, from int64) (gaps [][2]int64) {
	t.Helper()
	next := from
	for _, f := range readAll(t, path, stream.Query{Offset: from}) {
		if f.Type != stream.TypeStart && f.Offset != next {
			t.Fatalf("from %d: %s at %d, want %d", from, f.Type, f.Offset, next)
		}
		switch f.Type {
		case stream.TypeGap:
			gaps = append(gaps, [2]int64{next, next + f.Bytes})
			next += f.Bytes
		case stream.TypeOutput:
			if !bytes.HasPrefix(m.data[next:], f.Data) {
				t.Fatalf("from %d: wrong bytes at %d", from, next)
			}
			next += int64(len(f.Data))
		}
	}
	if next != int64(len(m.data)) {
		t.Fatalf("from %d: ends at %d, want %d", from, next, len(m.data))
	}
	return gaps
}

// TestHoleTail: counting lines backward passes holes.
func TestHoleTail(t *testing.T) {
	path, _, m := holes(t)
	for _, n := range []int{1, 50, 1 << 30} {
		q := stream.Query{TailLines: n}
		frames := readAll(t, path, q)
		if n < 1<<30 && frames[0].Offset != int64(m.tail(q)) || n == 1<<30 && frames[0].Offset != 0 {
			t.Errorf("tail of %d begins at %d, want %d", n, frames[0].Offset, m.tail(q))
		}
	}
}

// TestHugeHole: a hole is skipped, not read, wherever one starts.
func TestHugeHole(t *testing.T) {
	path, f := create(t)
	w := stream.NewWriter(f, 0)
	must(t, w.Start("job", []string{"true"}, t0))
	must(t, w.Output(stream.Stdout, t0, []byte("one\n")))
	must(t, f.Truncate(1<<40))
	w = stream.NewWriter(f, 1<<39)
	must(t, w.Output(stream.Stdout, t0, []byte("two\n"))) // in the middle of a line: lost with it
	must(t, w.Output(stream.Stdout, t0, []byte("three\n")))
	for _, c := range []struct {
		q    stream.Query
		want string
	}{
		{stream.Query{}, "one\ntwo\nthree\n"},
		{stream.Query{Offset: 1}, "ne\ntwo\nthree\n"},
		{stream.Query{Offset: 5}, "two\nthree\n"},
		{stream.Query{Offset: 1<<39 + 4}, "three\n"},
		{stream.Query{TailLines: 1}, "three\n"},
		{stream.Query{TailLines: 3}, "one\ntwo\nthree\n"},
		{stream.Query{Since: t0}, "one\ntwo\nthree\n"},
	} {
		var got []byte
		for _, f := range readAll(t, path, c.q) {
			got = append(got, f.Data...)
		}
		if string(got) != c.want {
			t.Errorf("%+v: %q, want %q", c.q, got, c.want)
		}
	}
}

// FuzzCorrupt: whatever is done to a log, reading it ends, in an error or in whole lines of rising offsets.
func FuzzCorrupt(f *testing.F) {
	f.Add(uint16(0), []byte("\x00\x00"), uint16(3), uint8(1))
	f.Add(uint16(900), []byte("\n{\"type\":\"output\",\"stream\":\"stdout\",\"offset\":9"), uint16(0), uint8(3))
	f.Fuzz(func(t *testing.T, at uint16, patch []byte, offset uint16, tail uint8) {
		path, file := create(t)
		defer file.Close()
		w := stream.NewWriter(file, 0)
		must(t, w.Start("job", []string{"true"}, t0))
		var m model
		m.write(t, w, rand.New(rand.NewPCG(8, 9)), 20, 300)
		must(t, os.Truncate(path, max(1, int64(offset)*4)))
		raw, err := os.OpenFile(path, os.O_WRONLY, 0)
		must(t, err)
		_, err = raw.WriteAt(patch, int64(at))
		must(t, err)
		must(t, raw.Close())
		for _, q := range []stream.Query{{Offset: int64(offset)}, {TailLines: int(tail)}, {Since: t0.Add(5e9), Limit: 100}} {
			drain(t, path, q)
		}
		stream.Next(file)
		if next, _, err := stream.Recover(file); err == nil {
			if again, err := stream.Next(file); err != nil || again != next {
				t.Errorf("recovered at %d, then %d, %v", next, again, err)
			}
		}
	})
}

// drain reads until the end or an error.
func drain(t *testing.T, path string, q stream.Query) {
	r, err := stream.Open(path, nil, nil, q)
	if err != nil {
		return
	}
	defer r.Close()
	for {
		lines, err := r.Next(context.Background())
		if err == io.EOF {
			if r.End().Next < 0 {
				t.Errorf("end %+v", r.End())
			}
			return
		}
		if err != nil {
			return
		}
		if len(lines) == 0 || lines[len(lines)-1] != '\n' {
			t.Fatalf("not whole lines: %q", lines)
		}
	}
}
