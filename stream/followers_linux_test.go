package stream_test

import (
	"fmt"
	"io"
	"sync"
	"testing"

	"jobworker/stream"
)

// BenchmarkFollowers: 200 readers of a log while 64 MiB of text are written to it. The figure is of all they read.
func BenchmarkFollowers(b *testing.B) {
	const followers, size = 200, 64 << 20
	watch := watcher(b)
	b.SetBytes(followers * size)
	for b.Loop() {
		path, f := create(b)
		w := stream.NewWriter(f, 0)
		var all sync.WaitGroup
		for range followers {
			r, err := stream.Open(path, watch, nil, stream.Query{Follow: true})
			must(b, err)
			all.Go(func() {
				if err := readThrough(b, r, size); err != nil {
					b.Error(err)
				}
			})
		}
		for w.Offset() < size {
			must(b, w.Output(stream.Stdout, t0, payloads[0].data))
		}
		must(b, w.Exit(t0, stream.Verdict{Reason: "exited"}, nil))
		all.Wait()
	}
}

func readThrough(b *testing.B, r *stream.Reader, size int64) error {
	defer r.Close()
	for {
		_, err := r.Next(b.Context())
		if err == io.EOF && r.End().Next != size {
			return fmt.Errorf("ended at %d, want %d", r.End().Next, size)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
