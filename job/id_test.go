package job_test

import (
	"strings"
	"testing"

	"jobworker/job"
)

func TestParseID(t *testing.T) {
	const good = "abcdefghijklmnopqrstuvwxyz"
	for _, s := range []string{good, "234567" + good[6:]} {
		if id, ok := job.ParseID(s); !ok || id != s {
			t.Errorf("%q: %q, %v, want it accepted", s, id, ok)
		}
	}
	for _, s := range []string{"", good[1:], good + "a", strings.ToUpper(good), "0" + good[1:], "1" + good[1:], "8" + good[1:],
		good[1:] + "/", "../" + good[3:], good[1:] + "\n", good[1:] + "\x00", "ä" + good[2:], good[:12] + "." + good[13:]} {
		if id, ok := job.ParseID(s); ok || id != "" {
			t.Errorf("%q was accepted as %q", s, id)
		}
	}
}

// FuzzParseID: an id is one path element, and is not changed.
func FuzzParseID(f *testing.F) {
	f.Add("abcdefghijklmnopqrstuvwxyz")
	f.Fuzz(func(t *testing.T, s string) {
		id, ok := job.ParseID(s)
		if ok != (id == s && s != "") || ok && (len(id) != 26 || strings.ContainsAny(id, "/\\.\x00 ")) {
			t.Errorf("%q: %q, %v", s, id, ok)
		}
	})
}
