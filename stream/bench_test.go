package stream_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"jobworker/stream"
)

// payloads are 64 KiB of each kind; the figures are of payload bytes.
var payloads = []struct {
	name string
	data []byte
}{
	{"text", bytes.Repeat([]byte("aaaaaaa bbbbbbbbbbbbb cccccccccccccc ddddddddddddddddddd eeeeeeeeeeeeeeeee fffff\n"), 1024)[:stream.MaxFrame]},
	{"binary", noise()},
}

func noise() []byte {
	p := make([]byte, stream.MaxFrame)
	rand.NewChaCha8([32]byte{}).Read(p)
	return p
}

// BenchmarkRecord: a pipe into a log, beside a plain copy of the pipe to a file.
func BenchmarkRecord(b *testing.B) {
	for _, p := range payloads {
		b.Run(p.name, func(b *testing.B) {
			_, f := create(b)
			w := stream.NewWriter(f, 0)
			pump(b, f, p.data, func(q []byte) error { return w.Output(stream.Stdout, time.Now(), q) })
		})
	}
	b.Run("newest", func(b *testing.B) {
		_, _, w := capped(b, stream.Cap{Bytes: 64 << 20, Newest: true, Reserve: 1})
		_, other := create(b) // the log needs no emptying
		pump(b, other, payloads[0].data, func(q []byte) error { return w.Output(stream.Stdout, time.Now(), q) })
	})
	b.Run("copy", func(b *testing.B) {
		_, f := create(b)
		pump(b, f, payloads[0].data, func(q []byte) error {
			_, err := f.Write(q)
			return err
		})
	})
}

// pump writes data to a pipe b.N times and hands what is read from it to take. The file is emptied now and then, so
// that the disk's write-back is not what is measured.
func pump(b *testing.B, f *os.File, data []byte, take func([]byte) error) {
	in, out, err := os.Pipe()
	must(b, err)
	defer in.Close()
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	b.ResetTimer()
	n := b.N
	go func() {
		defer out.Close()
		for range n {
			if _, err := out.Write(data); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, stream.MaxFrame)
	for {
		n, err := in.Read(buf)
		if err == io.EOF {
			return
		}
		must(b, err)
		must(b, take(buf[:n]))
		if st, err := f.Stat(); err == nil && st.Size() > 256<<20 {
			must(b, f.Truncate(0))
		}
	}
}

// BenchmarkEncode: frames into memory alone.
func BenchmarkEncode(b *testing.B) {
	for _, p := range payloads {
		b.Run(p.name, func(b *testing.B) {
			f := stream.Frame{Type: "output", Stream: "stdout", Time: t0, Data: p.data}
			buf := make([]byte, 0, 1<<20)
			b.SetBytes(int64(len(p.data)))
			for b.Loop() {
				f.Append(buf)
			}
		})
	}
}

// BenchmarkDecode: lines into frames, as a client does, and into payload, as for plain bytes.
func BenchmarkDecode(b *testing.B) {
	for _, p := range payloads {
		line := stream.Frame{Type: "output", Stream: "stdout", Time: t0, Data: p.data}.Append(nil)
		b.Run(p.name, func(b *testing.B) {
			b.SetBytes(int64(len(p.data)))
			for b.Loop() {
				_, err := stream.Decode(line)
				must(b, err)
			}
		})
		b.Run(p.name+"/raw", func(b *testing.B) {
			buf := make([]byte, 0, 1<<20)
			b.SetBytes(int64(len(p.data)))
			for b.Loop() {
				_, err := stream.AppendPayload(buf, line)
				must(b, err)
			}
		})
	}
}

// BenchmarkReplay: a log of 16 MiB of payload through a Reader, beside a plain copy of the same file.
func BenchmarkReplay(b *testing.B) {
	for _, p := range []struct {
		name string
		data []byte
		q    stream.Query
	}{
		{"text", payloads[0].data, stream.Query{}},
		{"binary", payloads[1].data, stream.Query{}},
		{"lines", payloads[0].data[:81], stream.Query{}},
		{"filtered", payloads[0].data[:81], stream.Query{Source: stream.Stdout}},
	} {
		path, f := create(b)
		w := stream.NewWriter(f, 0)
		for w.Offset() < 16<<20 {
			must(b, w.Output(stream.Stdout, t0, p.data))
		}
		b.Run(p.name, func(b *testing.B) {
			b.SetBytes(w.Offset())
			for b.Loop() {
				r, err := stream.Open(path, nil, nil, p.q)
				must(b, err)
				for err != io.EOF {
					if _, err = r.Next(b.Context()); err != nil && err != io.EOF {
						b.Fatal(err)
					}
				}
				must(b, r.Close())
			}
		})
		b.Run(p.name+"/copy", func(b *testing.B) {
			b.SetBytes(w.Offset())
			buf := make([]byte, 256<<10)
			for b.Loop() {
				f, err := os.Open(path)
				must(b, err)
				for err == nil {
					_, err = f.Read(buf)
				}
				must(b, f.Close())
			}
		})
	}
}

// BenchmarkOpen: finding an offset, a time or the last lines in a log of 64 MiB.
func BenchmarkOpen(b *testing.B) {
	path, f := create(b)
	w := stream.NewWriter(f, 0)
	for i := 0; w.Offset() < 64<<20; i++ {
		must(b, w.Output(stream.Stdout, t0.Add(time.Duration(i)*time.Millisecond), payloads[0].data[:3*81]))
	}
	for _, c := range []struct {
		name string
		q    stream.Query
	}{{"offset", stream.Query{Offset: 40 << 20}}, {"since", stream.Query{Since: t0.Add(time.Minute)}}, {"tail", stream.Query{TailLines: 10}}} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				r, err := stream.Open(path, nil, nil, c.q)
				must(b, err)
				_, err = r.Next(b.Context())
				must(b, err)
				must(b, r.Close())
			}
		})
	}
}
