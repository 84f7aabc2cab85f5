package job_test

import (
	"strconv"
	"strings"
	"testing"

	"jobworker/job"
)

// TestSignalNames goes round over every number there is, and around it.
func TestSignalNames(t *testing.T) {
	for n := -1; n <= 66; n++ {
		name := job.SignalName(n)
		if known := n >= 1 && n <= 31 || n >= 34 && n <= 64; known != (name != "") {
			t.Errorf("signal %d is called %q", n, name)
		}
		if name == "" {
			if got, err := job.ParseSignal(strconv.Itoa(n)); err == nil {
				t.Errorf("parse %d: %d, want an error", n, got)
			}
			continue
		}
		short := strings.TrimPrefix(name, "SIG")
		for _, s := range []string{name, short, strings.ToLower(name), strings.ToLower(short), strconv.Itoa(n)} {
			if got, err := job.ParseSignal(s); err != nil || got != n {
				t.Errorf("parse %q: %d, %v, want %d", s, got, err, n)
			}
		}
	}
}

func TestParseSignalErrors(t *testing.T) {
	for _, s := range []string{"", "SIG", "0", "-1", "+15", "015", "15 ", "1e1", "32", "65", "99999999999999999999", "SIG15", "SIGSIGTERM", " TERM", "TERM\n",
		"TERMS", "ſIGTERM", "sıgterm", "RTMIN+", "RTMIN1", "RTMIN++1", "RTMIN+0", "RTMIN-0", "RTMIN+-1", "RTMIN+01", "RTMIN+31", "RTMAX", "EXIT", "NOPE"} {
		if n, err := job.ParseSignal(s); err == nil || n != 0 {
			t.Errorf("parse %q: %d, want an error", s, n)
		} else if want := "unknown signal " + strconv.Quote(s); err.Error() != want {
			t.Errorf("parse %q: %v, want %s", s, err, want)
		}
	}
}

// FuzzParseSignal: what is a signal has a name, which is that signal.
func FuzzParseSignal(f *testing.F) {
	f.Add("SIGTERM")
	f.Fuzz(func(t *testing.T, s string) {
		n, err := job.ParseSignal(s)
		if err != nil {
			return
		}
		name := job.SignalName(n)
		if back, err := job.ParseSignal(name); name == "" || err != nil || back != n {
			t.Errorf("%q is %d, which is called %q, which is %d, %v", s, n, name, back, err)
		}
		upper := strings.ToUpper(s)
		if upper != name && upper != strings.TrimPrefix(name, "SIG") && s != strconv.Itoa(n) {
			t.Errorf("%q was taken for %s", s, name)
		}
	})
}
