package nsinit_test

import (
	"bytes"
	"os"
	"strings"
	"testing"
	"time"

	"jobworker/nsinit"
)

// The objects of the lines of an exit file, without their seals.
const (
	startObject raw = `{"v":1,"pid":2,"time":"2026-11-21T20:33:28.25Z","init":{"pid":4711,"start_ticks":345678},"clock_ns":3456789000000}`
	exitObject  raw = `{"v":1,"time":"2026-11-21T20:33:28.29Z","code":3,"output_bytes":42}`
)

// sealed returns objects as the lines of a file.
func sealed(t testing.TB, objects ...raw) (b []byte) {
	t.Helper()
	for _, o := range objects {
		var err error
		if b, err = appendSealed(b, o); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func appendSealed(b []byte, objects ...any) ([]byte, error) {
	for _, o := range objects {
		line, err := nsinit.Seal(o)
		if err != nil {
			return b, err
		}
		b = append(b, line...)
	}
	return b, nil
}

// raw is JSON already.
type raw string

func (r raw) MarshalJSON() ([]byte, error) { return []byte(r), nil }

// replace replaces the first old in r.
func replace(r raw, old, new string) raw { return raw(strings.Replace(string(r), old, new, 1)) }

func TestParseExitFile(t *testing.T) {
	three, zero := 3, 0
	for _, tt := range []struct {
		in   raw
		want nsinit.Exit // but for Version and Time
	}{
		{exitObject, nsinit.Exit{Code: &three, OutputBytes: 42}},
		{replace(exitObject, `:3,`, `:0,`), nsinit.Exit{Code: &zero, OutputBytes: 42}},
		{replace(exitObject, `"code":3`, `"signal":9`), nsinit.Exit{Signal: 9, OutputBytes: 42}},
		{replace(exitObject, `42`, `42,"log_error":"no space"`), nsinit.Exit{Code: &three, OutputBytes: 42, LogError: "no space"}},
		{replace(exitObject, `42`, `42,"output_limit":true,"unmarked":"no_space"`), nsinit.Exit{Code: &three, OutputBytes: 42, OutputLimit: true, Unmarked: "no_space"}},
		{replace(exitObject, `42`, `42,"stdin_bytes":7,"new":"in a later version"`), nsinit.Exit{Code: &three, OutputBytes: 42, StdinBytes: 7}},
	} {
		start, e, err := nsinit.ParseExitFile(sealed(t, startObject, tt.in))
		if err != nil || start == nil || start.PID != 2 || start.Init != (nsinit.Identity{PID: 4711, Ticks: 345678}) || start.Clock != 3456789*time.Millisecond {
			t.Errorf("%s: start %+v, %v", tt.in, start, err)
		}
		if e == nil || e.Time.Nanosecond() != 290e6 || e.Signal != tt.want.Signal || e.OutputBytes != tt.want.OutputBytes || e.LogError != tt.want.LogError || e.StdinBytes != tt.want.StdinBytes ||
			e.OutputLimit != tt.want.OutputLimit || e.Unmarked != tt.want.Unmarked {
			t.Errorf("%s: %+v, %v", tt.in, e, err)
			continue
		}
		if (e.Code == nil) != (tt.want.Code == nil) || e.Code != nil && *e.Code != *tt.want.Code {
			t.Errorf("%s: code %v", tt.in, e.Code)
		}
	}
}

// TestParseExitFileErrors: the message shows the line, and a good first line counts.
func TestParseExitFileErrors(t *testing.T) {
	for _, in := range []raw{
		`{"v":1}`, `{"v":1,"code":"3"}`,
		replace(exitObject, `"v":1`, `"v":2`),
		replace(exitObject, `"code":3`, `"x":3`),
		replace(exitObject, `"code":3`, `"code":3,"signal":9`),
		replace(exitObject, `2026`, `26`),
	} {
		start, e, err := nsinit.ParseExitFile(sealed(t, startObject, in))
		if err == nil || start == nil || e != nil || !strings.HasPrefix(err.Error(), "exit file: ") {
			t.Errorf("%s: %+v, %+v, %v, want an error", in, start, e, err)
		}
		if start, _, err := nsinit.ParseExitFile(sealed(t, in)); err == nil || start != nil {
			t.Errorf("%s: start %+v, %v, want an error", in, start, err)
		}
	}
	for _, in := range []string{"\n", "{}\n", "null\n", "[]\n", "3\n", "x\n", "\x00\n", string(exitObject) + "\n"} {
		if start, e, err := nsinit.ParseExitFile([]byte(in)); err == nil || start != nil || e != nil {
			t.Errorf("%q: %+v, %+v, %v, want an error", in, start, e, err)
		}
	}
}

// TestDamagedExitFile: a line counts once its newline is there, and a flipped bit is
// never believed.
func TestDamagedExitFile(t *testing.T) {
	whole := sealed(t, startObject, exitObject)
	first := bytes.IndexByte(whole, '\n')
	for n := range len(whole) {
		start, e, err := nsinit.ParseExitFile(whole[:n])
		if (start != nil) != (n > first) || e != nil || err != nil {
			t.Errorf("%q: %+v, %+v, %v", whole[:n], start, e, err)
		}
	}
	for i := range whole {
		for bit := range 8 {
			damaged := bytes.Clone(whole)
			damaged[i] ^= 1 << bit
			start, e, err := nsinit.ParseExitFile(damaged)
			if e != nil || start != nil && i < first || err == nil && damaged[len(whole)-1] == '\n' {
				t.Errorf("%q: %+v, %+v, %v", damaged, start, e, err)
			}
		}
	}
}

// FuzzParseExitFile: what is accepted is read as it is written, and has one cause. The
// input is the objects of two lines: behind a checksum nothing would be found.
func FuzzParseExitFile(f *testing.F) {
	f.Add([]byte(startObject), []byte(exitObject))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		nsinit.ParseExitFile(first) // as it is: does not panic
		in, err := appendSealed(nil, raw(first))
		if err == nil {
			in, err = appendSealed(in, raw(second))
		}
		start, e, parseErr := nsinit.ParseExitFile(in)
		if start == nil || e == nil || err != nil {
			return
		}
		if (e.Code == nil) == (e.Signal == 0) || (start.PID > 0) != (start.Stage == "") || parseErr != nil {
			t.Errorf("%s: %+v, %+v, %v", in, start, e, parseErr)
		}
		once, err := appendSealed(nil, start, e)
		if err != nil {
			t.Fatalf("%s: %v", in, err)
		}
		start, e, err = nsinit.ParseExitFile(once)
		if err != nil {
			t.Fatalf("%s\nwritten as %s: %v", in, once, err)
		}
		if twice, err := appendSealed(nil, start, e); err != nil || string(twice) != string(once) {
			t.Errorf("%s\nwritten as %s\nand then as %s, %v", in, once, twice, err)
		}
	})
}

// TestSeal: what is unsealed is what was sealed, even with a seal in it.
func TestSeal(t *testing.T) {
	for _, o := range []raw{`{"a":1}`, `{"a":"\n,\"crc32c\":\""}`, raw(bytes.TrimSpace(sealed(t, `{"a":1}`)))} {
		if got, err := nsinit.Unseal(sealed(t, o)); err != nil || raw(got) != o {
			t.Errorf("%s: %s, %v", o, got, err)
		}
	}
	if b, err := nsinit.Seal(os.Stdout.Close); err == nil {
		t.Errorf("a function was sealed as %s", b)
	}
}
