package stream_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"jobworker/stream"
)

// model is what a log should hold: each byte of output, where it came from and the frame it came in.
type model struct {
	data   []byte
	source []stream.Source
	frames []modelFrame
	ended  bool
}

type modelFrame struct {
	offset int
	time   time.Time
}

// write records n random chunks of up to size bytes in both the log and the model.
func (m *model) write(t testing.TB, w *stream.Writer, rng *rand.Rand, n, size int) {
	t.Helper()
	for range n {
		p := chunk(rng, 1+rng.IntN(size))
		s := []stream.Source{stream.Stdout, stream.Stderr}[rng.IntN(2)]
		at := t0.Add(time.Duration(len(m.frames)) * time.Second)
		must(t, w.Output(s, at, p))
		m.frames = append(m.frames, modelFrame{len(m.data), at})
		m.data = append(m.data, p...)
		m.source = append(m.source, repeat(s, len(p))...)
	}
}

// chunk makes lines of text, of text beyond ASCII, of controls, or anything.
func chunk(rng *rand.Rand, n int) []byte {
	alphabet := []string{"abc defg\n", "aé→😀\u2028\n\"\\", "\x00\x01\x1b\n", ""}[rng.IntN(4)]
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(rng.Uint32())
	}
	if alphabet == "" {
		return p
	}
	runes := []rune(alphabet)
	text := make([]byte, 0, n+4)
	for i := 0; len(text) < n; i++ {
		text = append(text, string(runes[int(p[i])%len(runes)])...)
	}
	return text[:n] // may end inside a character: then it is not text
}

func repeat(s stream.Source, n int) []stream.Source {
	all := make([]stream.Source, n)
	for i := range all {
		all[i] = s
	}
	return all
}

// answer is what a reader gave, or should.
type answer struct {
	data        []byte
	start, exit bool
	end         stream.Frame
}

func (m *model) answer(q stream.Query) answer {
	a := answer{
		start: q.Offset == 0 && q.TailLines == 0 && q.Since.IsZero(),
		end:   stream.Frame{Type: "end", Next: int64(len(m.data)), Reason: stream.EndSnapshot},
	}
	from := max(int(q.Offset), m.tail(q), m.since(q))
	for i := from; i < len(m.data); i++ {
		if q.Source != "" && m.source[i] != q.Source {
			continue
		}
		a.data = append(a.data, m.data[i])
		if int64(len(a.data)) == q.Limit {
			a.end.Next, a.end.Reason = int64(i+1), stream.EndLimit
			return a
		}
	}
	if a.exit = m.ended; a.exit {
		a.end.Reason = stream.EndComplete
	}
	return a
}

func (m *model) tail(q stream.Query) int {
	if q.TailLines == 0 {
		return 0
	}
	lines, last := 0, true
	for i := len(m.data) - 1; i >= 0; i-- {
		if q.Source != "" && m.source[i] != q.Source {
			continue
		}
		if m.data[i] == '\n' && !last {
			if lines++; lines == q.TailLines {
				return i + 1
			}
		}
		last = false
	}
	return 0
}

func (m *model) since(q stream.Query) int {
	if q.Since.IsZero() {
		return 0
	}
	for _, f := range m.frames {
		if !f.time.Before(q.Since) {
			return f.offset
		}
	}
	return len(m.data)
}

// read follows a reader to its end, checking each line on the way.
func (m *model) read(ctx context.Context, r *stream.Reader) (a answer, err error) {
	next := int64(-1)
	for {
		lines, err := r.Next(ctx)
		if err == io.EOF {
			a.end = r.End()
			return a, nil
		}
		if err != nil {
			return a, err
		}
		if len(lines) == 0 || lines[len(lines)-1] != '\n' {
			return a, fmt.Errorf("not whole lines: %.100q", lines)
		}
		if a.data, err = stream.AppendPayload(a.data, lines); err != nil {
			return a, err
		}
		for line := range bytes.Lines(lines) {
			f, err := stream.Decode(line)
			if err != nil {
				return a, err
			}
			if f.Offset < next {
				return a, fmt.Errorf("offset %d after %d", f.Offset, next)
			}
			switch f.Type {
			case stream.TypeStart:
				a.start = true
			case stream.TypeExit:
				a.exit = true
			case stream.TypeOutput:
				next = f.Offset + int64(len(f.Data))
				if !bytes.HasPrefix(m.data[f.Offset:], f.Data) || m.source[f.Offset] != f.Stream {
					return a, fmt.Errorf("frame at %d is not what was written", f.Offset)
				}
			default:
				return a, fmt.Errorf("unexpected frame: %s", line)
			}
		}
	}
}

func (a *answer) diff(want answer) error {
	if !bytes.Equal(a.data, want.data) {
		return fmt.Errorf("%d bytes, want %d", len(a.data), len(want.data))
	}
	if a.start != want.start || a.exit != want.exit {
		return fmt.Errorf("start %t exit %t, want %t %t", a.start, a.exit, want.start, want.exit)
	}
	if a.end.Next != want.end.Next || a.end.Reason != want.end.Reason {
		return fmt.Errorf("end %d %s, want %d %s", a.end.Next, a.end.Reason, want.end.Next, want.end.Reason)
	}
	return nil
}

// queries mixes every kind of restriction, at borders of frames and anywhere.
func (m *model) query(rng *rand.Rand) stream.Query {
	var q stream.Query
	offset := func() int64 {
		f := m.frames[rng.IntN(len(m.frames))].offset
		return []int64{0, int64(f), int64(rng.IntN(len(m.data) + 1)), int64(len(m.data)), min(int64(f+1), int64(len(m.data)))}[rng.IntN(5)]
	}
	if rng.IntN(2) == 0 {
		q.Offset = offset()
	}
	if rng.IntN(3) == 0 {
		q.TailLines = []int{1, 2, 10, 1000, 1 << 30}[rng.IntN(5)]
	}
	if rng.IntN(4) == 0 {
		q.Since = t0.Add(time.Duration(rng.IntN(2*len(m.frames)+4)-2) * time.Second / 2)
	}
	if rng.IntN(3) == 0 {
		q.Limit = 1 + offset()
	}
	q.Source = []stream.Source{"", stream.Stdout, stream.Stderr}[rng.IntN(3)]
	return q
}

// TestQueries: every combination of restrictions gives what the model gives, on logs of few large and of many small
// frames, before and after the exit frame.
func TestQueries(t *testing.T) {
	for _, c := range []struct{ frames, size, queries int }{
		{1, 1, 50}, {3, 20, 300}, {20, stream.MaxFrame, 40}, {3000, 40, 60}, {300, 2000, 60},
	} {
		t.Run(fmt.Sprintf("%dx%d", c.frames, c.size), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, uint64(c.size)))
			path, f := create(t)
			w := stream.NewWriter(f, 0)
			must(t, w.Start("job", []string{"true"}, t0))
			var m model
			m.write(t, w, rng, c.frames, c.size)
			m.compare(t, path, rng, c.queries)
			must(t, w.Exit(t0.Add(time.Hour), stream.Verdict{Reason: "exited", Code: code(0)}, nil))
			m.ended = true
			m.compare(t, path, rng, c.queries)
			if next, err := stream.Next(f); err != nil || next != int64(len(m.data)) || next != w.Offset() {
				t.Errorf("next %d, %v; writer at %d, want %d", next, err, w.Offset(), len(m.data))
			}
		})
	}
}

func (m *model) compare(t *testing.T, path string, rng *rand.Rand, queries int) {
	t.Helper()
	for range queries {
		q := m.query(rng)
		r, err := stream.Open(path, nil, nil, q)
		if err != nil {
			t.Fatalf("%+v: %v", q, err)
		}
		got, err := m.read(t.Context(), r)
		if err == nil {
			err = got.diff(m.answer(q))
		}
		if err != nil {
			t.Errorf("%+v: %v", q, err)
		}
		must(t, r.Close())
	}
}

// TestResume: a stream broken anywhere and resumed at its end frame's offset loses and repeats nothing.
func TestResume(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 3))
	path, f := create(t)
	w := stream.NewWriter(f, 0)
	must(t, w.Start("job", []string{"true"}, t0))
	var m model
	m.write(t, w, rng, 40, 20000)
	var got []byte
	for offset := int64(0); offset < int64(len(m.data)); {
		r, err := stream.Open(path, nil, nil, stream.Query{Offset: offset, Limit: 1 + rng.Int64N(30000)})
		must(t, err)
		a, err := m.read(t.Context(), r)
		must(t, err)
		must(t, r.Close())
		got, offset = append(got, a.data...), a.end.Next
	}
	if !bytes.Equal(got, m.data) {
		t.Errorf("%d bytes, want %d", len(got), len(m.data))
	}
}

func TestOpenErrors(t *testing.T) {
	path, f := create(t)
	w := stream.NewWriter(f, 0)
	must(t, w.Start("job", []string{"true"}, t0))
	must(t, w.Output(stream.Stdout, t0, []byte("hello")))
	link := path + ".link"
	must(t, os.Symlink(path, link))
	for _, c := range []struct {
		path string
		q    stream.Query
		is   error
	}{
		{path, stream.Query{Offset: -1}, nil},
		{path, stream.Query{Offset: 6}, stream.ErrOffset},
		{path, stream.Query{TailLines: -1}, nil},
		{path, stream.Query{Limit: -1}, nil},
		{path, stream.Query{Source: "stdin"}, nil},
		{path, stream.Query{Follow: true}, nil},
		{path + ".none", stream.Query{}, os.ErrNotExist},
		{link, stream.Query{}, nil},
		{t.TempDir(), stream.Query{}, nil},
		{"/dev/null", stream.Query{}, nil},
	} {
		r, err := stream.Open(c.path, nil, nil, c.q)
		if err == nil {
			r.Close()
		}
		if err == nil || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("open %s %+v: %v, want %v", c.path, c.q, err, c.is)
		}
	}
}
