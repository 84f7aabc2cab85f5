package main

import (
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"jobworker/httpapi"
	"jobworker/stream"
)

func TestPrintable(t *testing.T) {
	for s, want := range map[string]string{
		"plain text, käse 日本": "plain text, käse 日本",
		"\x1b[2J":             `\x1b[2J`,
		"a\nb\tc\r":           `a\nb\tc\r`,
		"\x9b31m\xff":         `\x9b31m\xff`,
		"\u009b":              `\u009b`,
		"a\u202eb\u200b":      `a\u202eb\u200b`,
		"\ufffd":              `\ufffd`,
		"\x7f\x00":            `\x7f\x00`,
		"it's \"so\"":         `it's "so"`,
	} {
		if got := printable(s); got != want {
			t.Errorf("%q: %q, not %q", s, got, want)
		}
	}
}

// FuzzPrintable: nothing that a terminal would act on passes.
func FuzzPrintable(f *testing.F) {
	f.Add("a\x1b[2J\xff\u202e")
	f.Fuzz(func(t *testing.T, s string) {
		got := printable(s)
		if !utf8.ValidString(got) || strings.IndexFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) >= 0 {
			t.Errorf("%q: %q", s, got)
		}
		if again := printable(got); again != got {
			t.Errorf("%q: %q, then %q", s, got, again)
		}
	})
}

func TestShorten(t *testing.T) {
	for _, test := range []struct {
		s    string
		n    int
		want string
	}{{"abc", 3, "abc"}, {"abcd", 3, "ab…"}, {"äöüß", 3, "äö…"}, {"äöü", 3, "äöü"}, {"", 3, ""}} {
		if got := shorten(test.s, test.n); got != test.want {
			t.Errorf("%q: %q, not %q", test.s, got, test.want)
		}
	}
}

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0s", 0: "0s", 59 * time.Second: "59s", time.Minute: "1m", 119 * time.Minute: "119m", 2 * time.Hour: "2h",
		47 * time.Hour: "47h", 48 * time.Hour: "2d", 1000 * time.Hour: "41d",
	} {
		if got := age(d); got != want {
			t.Errorf("%s: %q, not %q", d, got, want)
		}
	}
}

// TestStamp: a line has one time, that of its first byte, however it is cut and
// whatever comes in between.
func TestStamp(t *testing.T) {
	c := newTerminal()
	p := printer{env: c.env(), times: true}
	at := time.Date(2026, 11, 21, 20, 33, 28, 290_000_000, time.UTC)
	for i, f := range []struct {
		source stream.Source
		data   string
	}{
		{stream.Stdout, "one\ntw"}, {stream.Stderr, "err"}, {stream.Stdout, "o"}, {stream.Stdout, "\n"}, {stream.Stderr, "or\n\n"}, {stream.Stdout, "end"},
	} {
		if err := p.frame(stream.Frame{Type: stream.TypeOutput, Stream: f.source, Time: at.Add(time.Duration(i)), Data: []byte(f.data)}); err != nil {
			t.Fatal(err)
		}
	}
	const stamp = "2026-11-21T20:33:28.29000000"
	if got, want := c.out.String(), stamp+"0Z one\n"+stamp+"0Z two\n"+stamp+"5Z end"; got != want {
		t.Errorf("stdout:\n%s\nnot\n%s", got, want)
	}
	if got, want := c.err.String(), stamp+"1Z error\n"+stamp+"4Z \n"; got != want {
		t.Errorf("stderr:\n%s\nnot\n%s", got, want)
	}
}

func TestGap(t *testing.T) {
	c := newTerminal()
	p := printer{env: c.env()}
	if err := p.frame(stream.Frame{Type: stream.TypeGap, Offset: 7, Bytes: 3, Reason: "no_space"}); err != nil {
		t.Fatal(err)
	}
	if got, want := c.err.String(), "jobcli: 3 bytes of output are missing at offset 7: no_space\n"; got != want || c.out.String() != "" {
		t.Errorf("stderr %q, not %q; stdout %q", got, want, c.out)
	}
}

// TestVerdictStatus is the table of exit statuses of run and wait.
func TestVerdictStatus(t *testing.T) {
	code := func(n int) *int { return &n }
	for _, test := range []struct {
		v    httpapi.Verdict
		want int
	}{
		{httpapi.Verdict{Reason: "exited", Code: code(0)}, 0},
		{httpapi.Verdict{Reason: "exited", Code: code(255)}, 255},
		{httpapi.Verdict{Reason: "signaled", Signal: "SIGTERM"}, 143},
		{httpapi.Verdict{Reason: "signaled", Signal: "SIGRTMIN+1"}, 163},
		{httpapi.Verdict{Reason: "oom_killed", Signal: "SIGKILL"}, 137},
		{httpapi.Verdict{Reason: "oom_killed", Code: code(1)}, 137},
		{httpapi.Verdict{Reason: "timed_out", Signal: "SIGKILL"}, 124},
		{httpapi.Verdict{Reason: "timed_out", Code: code(0)}, 124},
		{httpapi.Verdict{Reason: "stopped", Code: code(7), By: "alice"}, 7},
		{httpapi.Verdict{Reason: "stopped", Signal: "SIGKILL"}, 137},
		{httpapi.Verdict{Reason: "stopped"}, 125},
		{httpapi.Verdict{Reason: "output_limit", Signal: "SIGKILL"}, 125},
		{httpapi.Verdict{Reason: "lost", Stage: "running"}, 125},
		{httpapi.Verdict{Reason: "start_failed", Stage: "exec"}, 125},
		{httpapi.Verdict{Reason: "something new", Code: code(0)}, 125},
	} {
		if got := verdictStatus(&test.v); got != test.want {
			t.Errorf("%+v: %d, not %d", test.v, got, test.want)
		}
	}
}

// TestStartStatus: why a program could not be executed.
func TestStartStatus(t *testing.T) {
	for _, test := range []struct {
		p    httpapi.Problem
		want int
	}{
		{httpapi.Problem{Type: httpapi.TypeStartFailed, Stage: "exec", Errno: 2}, 127},
		{httpapi.Problem{Type: httpapi.TypeStartFailed, Stage: "exec", Errno: 13}, 126},
		{httpapi.Problem{Type: httpapi.TypeStartFailed, Stage: "exec", Errno: 8}, 126},
		{httpapi.Problem{Type: httpapi.TypeStartFailed, Stage: "dir", Errno: 2}, 125},
		{httpapi.Problem{Type: httpapi.TypeStartFailed, Stage: "clone", Errno: 38}, 125},
		{httpapi.Problem{Type: httpapi.TypeForbidden}, 125},
	} {
		if got := newTerminal().env().fail(&test.p, unknown); got != test.want {
			t.Errorf("%+v: %d, not %d", test.p, got, test.want)
		}
	}
}
