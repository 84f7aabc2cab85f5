package nsinit_test

import (
	"os"
	"testing"

	"jobworker/stream"
)

// TestFullLog: nsinit itself, with nobody to ask, ends the job whose log is full, and
// leaves it at that where the newest is kept.
func TestFullLog(t *testing.T) {
	for _, tt := range []struct {
		name, script string
		newest       bool
		signal       int
	}{
		{"end", "setsid yes & yes", false, 9},
		{"keep the newest", "head -c 3000000 /dev/zero | tr '\\0' x", true, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fx := newFixture(t)
			c := fx.config(tt.script)
			c.Output = stream.Cap{Bytes: stream.MinCap, Newest: tt.newest}
			p, err := fx.launch(t.Context(), c)
			must(t, err)
			defer p.Close()
			must(t, p.Wait())
			fx.empty()
			e := fx.exited()
			if e == nil || e.Signal != tt.signal || e.OutputLimit == tt.newest || e.LogError != "" || e.Unmarked != "" {
				t.Fatalf("exit file %s", fx.read(fx.exit))
			}
			log, err := os.Open(fx.log)
			must(t, err)
			defer log.Close()
			if next, err := stream.Next(log); err != nil || next != e.OutputBytes || next < stream.MinCap/2 {
				t.Errorf("%d bytes by the log, %v, %d by the exit file", next, err, e.OutputBytes)
			}
		})
	}
}
