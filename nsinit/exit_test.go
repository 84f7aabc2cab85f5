package nsinit_test

import (
	"encoding/json"
	"strings"
	"testing"

	"jobworker/nsinit"
)

const exitLine = `{"v":1,"time":"2026-11-21T20:33:28.29Z","code":3,"output_bytes":42}` + "\n"

func TestParseExit(t *testing.T) {
	three, zero := 3, 0
	for _, tt := range []struct {
		in   string
		want nsinit.Exit // but for Version and Time
	}{
		{exitLine, nsinit.Exit{Code: &three, OutputBytes: 42}},
		{strings.Replace(exitLine, `:3,`, `:0,`, 1), nsinit.Exit{Code: &zero, OutputBytes: 42}},
		{strings.Replace(exitLine, `"code":3`, `"signal":9`, 1), nsinit.Exit{Signal: 9, OutputBytes: 42}},
		{strings.Replace(exitLine, `42`, `42,"log_error":"no space"`, 1), nsinit.Exit{Code: &three, OutputBytes: 42, LogError: "no space"}},
		{strings.Replace(exitLine, `42`, `42,"output_limit":true,"unmarked":"no_space"`, 1), nsinit.Exit{Code: &three, OutputBytes: 42, OutputLimit: true, Unmarked: "no_space"}},
	} {
		e, ok, err := nsinit.ParseExit([]byte(tt.in))
		if err != nil || !ok || e.Time.Nanosecond() != 290e6 || e.Signal != tt.want.Signal || e.OutputBytes != tt.want.OutputBytes || e.LogError != tt.want.LogError ||
			e.OutputLimit != tt.want.OutputLimit || e.Unmarked != tt.want.Unmarked {
			t.Errorf("%s: %+v, %v, %v", tt.in, e, ok, err)
		}
		if (e.Code == nil) != (tt.want.Code == nil) || e.Code != nil && *e.Code != *tt.want.Code {
			t.Errorf("%s: code %v", tt.in, e.Code)
		}
	}
}

// TestParseExitErrors: the message shows the line.
func TestParseExitErrors(t *testing.T) {
	for _, in := range []string{
		"\n", "{}\n", "null\n", "[]\n", "3\n", "x\n", "\x00\n",
		strings.Replace(exitLine, `"v":1`, `"v":2`, 1),
		strings.Replace(exitLine, `"code":3`, `"x":3`, 1),
		strings.Replace(exitLine, `"code":3`, `"code":3,"signal":9`, 1),
		strings.Replace(exitLine, `"code":3`, `"code":"3"`, 1),
		strings.Replace(exitLine, `2026`, `26`, 1),
	} {
		e, ok, err := nsinit.ParseExit([]byte(in))
		if err == nil || ok || e != (nsinit.Exit{}) || !strings.HasPrefix(err.Error(), "exit file: ") {
			t.Errorf("%q: %+v, %v, %v, want an error", in, e, ok, err)
		}
	}
}

// TestTornExit: without its newline the line does not count, and is no error.
func TestTornExit(t *testing.T) {
	for n := range len(exitLine) {
		if e, ok, err := nsinit.ParseExit([]byte(exitLine[:n])); ok || err != nil || e != (nsinit.Exit{}) {
			t.Errorf("%q: %+v, %v, %v, want none", exitLine[:n], e, ok, err)
		}
	}
}

// FuzzParseExit: an exit has one cause, and is read as it is written.
func FuzzParseExit(f *testing.F) {
	f.Add([]byte(exitLine))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, ok, err := nsinit.ParseExit(b)
		if !ok {
			if e != (nsinit.Exit{}) {
				t.Errorf("%q: %+v beside %v", b, e, err)
			}
			return
		}
		if err != nil || (e.Code == nil) == (e.Signal == 0) {
			t.Errorf("%q: %+v, %v", b, e, err)
		}
		first, err := json.Marshal(e)
		if err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		again, ok, err := nsinit.ParseExit(append(first, '\n'))
		if second, _ := json.Marshal(again); !ok || err != nil || string(second) != string(first) {
			t.Errorf("%q\nwritten as %s\nread as %s, %v, %v", b, first, second, ok, err)
		}
	})
}
