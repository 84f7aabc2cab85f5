package stream_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"jobworker/stream"
)

// onDisk returns how many bytes the file takes there.
func onDisk(t testing.TB, f *os.File) int64 {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Fstat(int(f.Fd()), &st))
	return st.Blocks * 512
}

// TestCapEnd: a full log keeps what it has, refuses all that follows, however small, and says how much that was.
func TestCapEnd(t *testing.T) {
	path, f, w := capped(t, stream.Cap{Bytes: stream.MinCap})
	rng := rand.New(rand.NewPCG(10, 11))
	var m model
	kept := 0
	for {
		p := chunk(rng, 1+rng.IntN(stream.MaxFrame))
		err := w.Output(stream.Stdout, t0, p)
		m.data = append(m.data, p...)
		if errors.Is(err, stream.ErrFull) {
			break
		}
		must(t, err)
		kept = len(m.data)
	}
	for range 3 {
		if err := w.Output(stream.Stderr, t0, []byte("x")); err != stream.ErrFull {
			t.Errorf("output to a full log: %v", err)
		}
		m.data = append(m.data, 'x')
	}
	if n, why := w.Owed(); n != int64(len(m.data)-kept) || why != stream.GapOutputLimit {
		t.Errorf("owed %d bytes, %q, want %d", n, why, len(m.data)-kept)
	}
	must(t, w.Exit(t0, stream.Verdict{Reason: "output_limit"}, nil))
	if st, err := f.Stat(); err != nil || st.Size() > stream.MinCap+8<<10 || st.Size() < stream.MinCap/2 {
		t.Errorf("log of %d bytes, %v, want about %d", st.Size(), err, stream.MinCap)
	}
	if got, want := m.missing(t, path, 0), [][2]int64{{int64(kept), int64(len(m.data))}}; len(got) != 1 || got[0] != want[0] {
		t.Errorf("gaps %v, want %v", got, want)
	}
}

// TestCapNewest: a log that keeps the newest stays below its Cap on disk and in readers' hands, from whatever offset
// they read, tells its end, and still has its start frame.
func TestCapNewest(t *testing.T) {
	for _, size := range []int{20, stream.MaxFrame} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			path, f, w := capped(t, stream.Cap{Bytes: stream.MinCap, Newest: true})
			rng := rand.New(rand.NewPCG(12, uint64(size)))
			var m model
			for step := range int64(4) {
				for st, _ := f.Stat(); st.Size() < step*stream.MinCap/2; st, _ = f.Stat() {
					m.write(t, w, rng, 20, size)
				}
				if n := onDisk(t, f); n > stream.MinCap+16<<10 {
					t.Fatalf("%d bytes on disk, want at most %d", n, stream.MinCap)
				}
				if next, err := stream.Next(f); err != nil || next != int64(len(m.data)) {
					t.Fatalf("next %d, %v, want %d", next, err, len(m.data))
				}
			}
			gaps := m.missing(t, path, 0)
			if len(gaps) != 1 || int64(len(m.data))-gaps[0][1] < stream.MinCap/16 {
				t.Fatalf("gaps %v in %d bytes, want one and the newest", gaps, len(m.data))
			}
			for range 20 {
				m.missing(t, path, rng.Int64N(int64(len(m.data))))
			}
			if first := readAll(t, path, stream.Query{})[0]; first.Type != stream.TypeStart || first.Job != "job" {
				t.Errorf("the log begins with %+v", first)
			}
			q := stream.Query{TailLines: 3}
			if got := readAll(t, path, q)[0]; got.Offset != int64(m.tail(q)) {
				t.Errorf("tail begins at %d, want %d", got.Offset, m.tail(q))
			}
			last := m.frames[len(m.frames)-2]
			if got := readAll(t, path, stream.Query{Since: last.time})[0]; got.Offset != int64(last.offset) {
				t.Errorf("since begins at %d, want %d", got.Offset, last.offset)
			}
		})
	}
}

// TestCapOvertaken: a follower that is overtaken by the writer of a log that keeps the newest gets every byte or a gap
// for it, in order, while the log is being punched under it.
func TestCapOvertaken(t *testing.T) {
	path, _, w := capped(t, stream.Cap{Bytes: stream.MinCap, Newest: true})
	const total, piece = 6 << 20, 4096
	done := make(chan struct{})
	r, err := stream.Open(path, watcher(t), done, stream.Query{Follow: true})
	must(t, err)
	defer r.Close()
	write := func(from, to int64) {
		for at := from; at < to; at += piece {
			if err := w.Output(stream.Stdout, t0, sequence(at, piece)); err != nil {
				t.Error(err)
				return
			}
		}
	}
	write(0, piece)
	lines, err := r.Next(t.Context())
	must(t, err)
	next, gone := follow(t, lines, 0)
	write(piece, 4*stream.MinCap) // passes the follower by
	var writer sync.WaitGroup
	defer writer.Wait()
	writer.Go(func() {
		defer close(done)
		write(4*stream.MinCap, total)
	})
	for next < total {
		lines, err := r.Next(t.Context())
		must(t, err)
		var n int64
		next, n = follow(t, lines, next)
		gone += n
	}
	if next != total || gone == 0 {
		t.Errorf("read to %d, %d missing of %d", next, gone, total)
	}
}

// follow checks lines that go on at offset next, and returns where they end and how much is missing in them.
func follow(t *testing.T, lines []byte, next int64) (end, gone int64) {
	t.Helper()
	for line := range bytes.Lines(lines) {
		f, err := stream.Decode(line)
		must(t, err)
		if f.Type == stream.TypeStart {
			continue
		}
		if f.Offset != next || !bytes.Equal(f.Data, sequence(f.Offset, len(f.Data))) {
			t.Fatalf("%s of %d bytes at %d, want what was written at %d", f.Type, len(f.Data), f.Offset, next)
		}
		next += int64(len(f.Data)) + f.Bytes
		gone += f.Bytes
	}
	return next, gone
}

// sequence is n bytes of output that tell the offset at which they belong.
func sequence(at int64, n int) []byte {
	var p []byte
	for i := at / 16; int64(len(p)) < at%16+int64(n); i++ {
		p = fmt.Appendf(p, "%015d\n", i)
	}
	return p[at%16:][:n]
}

// TestCapRefuses: a Cap that cannot be kept is refused when it is set, with the reason.
func TestCapRefuses(t *testing.T) {
	_, f := create(t)
	w := stream.NewWriter(f, 0)
	if err := w.SetCap(stream.Cap{Bytes: stream.MinCap - 1}); err == nil {
		t.Error("a cap below MinCap: no error")
	}
	r, p, err := os.Pipe() // a file that cannot be punched
	must(t, err)
	defer r.Close()
	defer p.Close()
	err = stream.NewWriter(p, 0).SetCap(stream.Cap{Bytes: stream.MinCap, Newest: true})
	if _, ok := errors.AsType[*os.PathError](err); !ok {
		t.Errorf("a file that cannot be punched: %v", err)
	}
}

// TestReserve: where less than the reserve is free the output is lost as on a full disk, and goes on when there is
// room again; the gap frame fits into the reserve.
func TestReserve(t *testing.T) {
	path, _, w := capped(t, stream.Cap{Reserve: 1 << 62})
	if err := w.Output(stream.Stdout, t0, []byte("lost\n")); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("output into the reserve: %v", err)
	}
	must(t, w.Settle())
	if n, _ := w.Owed(); n != 0 {
		t.Errorf("%d bytes owed after Settle", n)
	}
	must(t, w.SetCap(stream.Cap{Reserve: 1}))
	must(t, w.Output(stream.Stdout, t0, []byte("kept\n")))
	if got, want := kinds(t, path), "start gap no_space output"; got != want {
		t.Errorf("log: %s, want %s", got, want)
	}
}
