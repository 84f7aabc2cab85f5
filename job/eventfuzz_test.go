package job_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"jobworker/job"
)

// FuzzEvent: a client that keeps what it has read of an event reads the same again.
func FuzzEvent(f *testing.F) {
	f.Add([]byte(`{"seq":1,"time":"2026-11-21T20:33:28.29Z","type":"job.ended","job":"7k3q","owner":"a","verdict":{"reason":"exited","code":0},"message":""}`))
	f.Add([]byte(`{"seq":9223372036854775807,"time":"2026-11-21T20:33:28.123456789+01:00","type":"job.signalled","signal":"SIGTERM","by":"\ud800"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		var e, again job.Event
		if err := json.Unmarshal(line, &e); err != nil {
			return
		}
		out, err := json.Marshal(e)
		if err != nil {
			return // a year that RFC 3339 cannot say
		}
		if err := json.Unmarshal(out, &again); err != nil {
			t.Fatalf("%s\nwritten as %s: %v", line, out, err)
		}
		if !e.Time.Equal(again.Time) {
			t.Errorf("%s\nwritten as %s: %v is not %v", line, out, again.Time, e.Time)
		}
		again.Time = e.Time // which has a pointer to a zone
		if !reflect.DeepEqual(e, again) {
			t.Errorf("%s\nwritten as %s", line, out)
		}
	})
}
