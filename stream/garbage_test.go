//go:build !race

package stream_test

import (
	"bytes"
	"testing"

	"jobworker/stream"
)

// TestWriterMakesNoGarbage: nsinit writes for as long as the job lives and has no memory to spare.
// The race detector has sync.Pool, which encoding/json uses, drop things at random.
func TestWriterMakesNoGarbage(t *testing.T) {
	_, f := create(t)
	w := stream.NewWriter(f, 0)
	for name, p := range map[string][]byte{
		"text":   bytes.Repeat([]byte("a line of text\n"), 4000),
		"binary": bytes.Repeat([]byte{0xff}, 60000),
	} {
		if n := testing.AllocsPerRun(20, func() { must(t, w.Output(stream.Stdout, t0, p)) }); n >= 1 {
			t.Errorf("%s: %v allocations a frame", name, n)
		}
	}
}
