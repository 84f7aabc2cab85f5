package httpapi_test

import (
	"slices"
	"testing"
	"time"

	"jobworker/httpapi"
)

// floodBytes is what each of the flooding jobs of BenchmarkPingBusy writes: enough
// to go on for longer than it takes.
const floodBytes = "400000000"

// BenchmarkPingBusy times POST /v1/ping over a connection that is open: of a worker
// that does nothing else, while 100 calculates run, and while 10 jobs flood their
// output as well.
func BenchmarkPingBusy(b *testing.B) {
	f := newFixture(b, nil)
	c := f.client("alice", operator)
	b.Run("idle", func(b *testing.B) { pingQuantiles(b, c) })
	for range 100 {
		if _, err := c.Calculate(b.Context(), httpapi.CalculateRequest{Seconds: 1000, Message: "x"}, ""); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("calculates", func(b *testing.B) { pingQuantiles(b, c) })
	b.Run("floods", func(b *testing.B) {
		var floods []httpapi.Job
		for range 10 {
			floods = append(floods, f.startReady(c, shell("echo ready; yes | head -c "+floodBytes)))
		}
		pingQuantiles(b, c)
		for _, j := range floods {
			if now, err := c.Status(b.Context(), j.ID); err != nil || now.State != httpapi.Running {
				b.Errorf("a flood was over before the end: %s, %v", now.State, err)
			}
			if _, err := c.Stop(b.Context(), j.ID, httpapi.StopRequest{Grace: new(httpapi.Duration(0))}); err != nil {
				b.Fatal(err)
			}
			if err := c.Remove(b.Context(), j.ID); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// pingQuantiles reports the median and the 99th percentile.
func pingQuantiles(b *testing.B, c *httpapi.Client) {
	var times []time.Duration
	for b.Loop() {
		begin := time.Now()
		if _, err := c.Ping(b.Context()); err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(begin))
	}
	slices.Sort(times)
	b.ReportMetric(0, "ns/op") // the mean, which the slowest make
	b.ReportMetric(milliseconds(times[len(times)/2]), "p50-ms")
	b.ReportMetric(milliseconds(times[len(times)*99/100]), "p99-ms")
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
