package job_test

import (
	"encoding/json"
	"testing"

	"jobworker/job"
)

// FuzzDuration: what is read as a duration is written as one that is read as the same.
func FuzzDuration(f *testing.F) {
	for _, s := range []string{`"1h30m"`, `"-0.5s"`, `"0"`, `"9223372036854775807ns"`, `"2562047h47m16.854775807s"`, `1`, `null`, `"1\u0068"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var d, again job.Duration
		if err := json.Unmarshal(in, &d); err != nil {
			return
		}
		out, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(out, &again); err != nil || again != d {
			t.Errorf("%s is %v, written as %s, which is %v, %v", in, d, out, again, err)
		}
	})
}
