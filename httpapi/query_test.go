package httpapi

import (
	"testing"
	"time"
)

// FuzzParams: what is accepted is known, given once, and within its bounds.
func FuzzParams(f *testing.F) {
	for _, s := range []string{"", "n=1", "n=1&n=2", "n=-1", "d=10s", "t=2026-01-02T15:04:05Z", "label=a=b&label=c=d", "%zz", "x=1", "b=true", "n=99999999999999999999"} {
		f.Add(s)
	}
	known := []string{"n", "d", "t", "b", "label"}
	f.Fuzz(func(t *testing.T, raw string) {
		p, err := parseParams(raw, known)
		if err != nil {
			return
		}
		for name, values := range p.Values {
			if name != "label" && len(values) != 1 {
				t.Errorf("%q: %d values", name, len(values))
			}
		}
		if n, err := p.int("n", 1, 10); err == nil && p.Has("n") && (n < 1 || n > 10) {
			t.Errorf("n = %d", n)
		}
		if d, err := p.duration("d", time.Minute); err == nil && (d < 0 || d > time.Minute) {
			t.Errorf("d = %s", d)
		}
		if at, err := p.time("t"); err == nil && p.Has("t") == at.IsZero() {
			t.Errorf("t = %s", at)
		}
		if m, err := p.pairs("label"); err == nil && len(m) != len(p.Values["label"]) {
			t.Errorf("labels %q of %q", m, p.Values["label"])
		}
	})
}
