package stream_test

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"jobworker/stream"
)

func code(n int) *int { return &n }

// golden are the frames of testdata/frames.jsonl, in order.
var golden = []stream.Frame{
	{Type: "start", V: 1, Job: "7k3qabcdefghijklmnopqrstuv", Time: t0, Argv: []string{"make", `<test> & "q"`, "zażółć\n"}},
	{Type: "output", Stream: "stdout", Offset: 0, Time: t0.Add(1), Data: []byte("ok  \tpkg/a\n")},
	{Type: "output", Stream: "stderr", Offset: 11, Time: t0.Add(10 * time.Millisecond), Data: []byte("\xff\xfe\n")},
	{Type: "output", Stream: "stdout", Offset: 14, Time: t0.Add(710 * time.Millisecond),
		Data: []byte("\x00\x01\b\f\r\x1b[31m\x1f \"\\/<>&\u2028\u2029é→😀")},
	{Type: "output", Stream: "stdout", Offset: 47, Time: t0.Add(710 * time.Millisecond), Data: []byte("\x00\xff")},
	{Type: "gap", Offset: 49, Bytes: 65536, Reason: "no_space"},
	{Type: "exit", Offset: 65585, Time: t0.Add(1710 * time.Millisecond), Reason: "exited",
		Verdict: &stream.Verdict{Reason: "exited", Code: code(0)}},
	{Type: "exit", Offset: 65585, Time: t0.Add(1710 * time.Millisecond), Reason: "stopped",
		Verdict: &stream.Verdict{Reason: "stopped", Code: code(143), Signal: "SIGKILL", By: "alice", Stage: "exec",
			Error: `exec: "foo": not found`},
		Usage: json.RawMessage(`{"cpu_seconds":0.1,"pids":1}`)},
	{Type: "ping"},
	{Type: "end", Next: 65585, Reason: "complete"},
}

func goldenLines(t testing.TB) [][]byte {
	t.Helper()
	b, err := os.ReadFile("testdata/frames.jsonl")
	must(t, err)
	return bytes.SplitAfter(bytes.TrimSuffix(b, []byte("\n")), []byte("\n"))
}

// TestGolden pins the format.
func TestGolden(t *testing.T) {
	lines := goldenLines(t)
	if len(lines) != len(golden) {
		t.Fatalf("%d lines for %d frames", len(lines), len(golden))
	}
	for i, line := range lines {
		line = append(bytes.TrimSuffix(line, []byte("\n")), '\n')
		if got := golden[i].Append([]byte("x")); string(got) != "x"+string(line) {
			t.Errorf("append:\n got %s\nwant %s", got, line)
		}
		for _, l := range [][]byte{line, line[:len(line)-1]} {
			got, err := stream.Decode(l)
			if err != nil {
				t.Error(err)
			} else if !reflect.DeepEqual(got, golden[i]) {
				t.Errorf("decode %s:\n got %+v\nwant %+v", l, got, golden[i])
			}
		}
	}
}

// TestDecodeLenient: other layouts of the same object mean the same.
func TestDecodeLenient(t *testing.T) {
	want := golden[1]
	for _, line := range []string{
		`{"offset":0, "type":"output","time":"2026-11-21T20:33:28.290000001Z","text":"ok  \u0009pkg\/a\u000A","stream":"stdout"}`,
		`{"type":"output","stream":"stdout","offset":0,"time":"2026-11-21T20:33:28.290000001Z","text":"ok  \tpkg\/a\n"}`,
		" {\"type\":\"output\",\"stream\":\"stdout\",\"offset\":0,\"time\":\"2026-11-21T20:33:28.290000001Z\",\"data\":\"b2sgIAlwa2cvYQo=\"}\r\n",
	} {
		got, err := stream.Decode([]byte(line))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("decode %s: %+v, %v", line, got, err)
		}
	}
}

func TestDecodeStrict(t *testing.T) {
	const at = `"time":"2026-11-21T20:33:28.290000000Z"`
	out := func(rest string) string { return `{"type":"output","stream":"stdout","offset":0,` + at + rest }
	for _, line := range []string{
		``, `null`, `[]`, `"output"`, `{}`, `{`, `{"type":1}`, `{"type":"pong"}`, `{"Type":"ping"}`,
		`{"type":"ping","type":"ping"}`, `{"type":"ping","time":0}`, `{"type":"ping"} {}`, `{"type":"ping"}}`,
		out(`}`), out(`,"text":"a","data":"YQ=="}`), out(`,"data":"YQ==","text":"a"}`), out(`,"text":""}`), out(`,"data":""}`),
		out(`,"text":null}`), out(`,"text":1}`), out(`,"text":"a","extra":1}`), out(`,"text":"a","Text":"b"}`),
		out(`,"text":"a"}x`), out(`,"text":"a"}` + "\n\n" + `{}`), out(`,"text":"a` + "\x00" + `"}`), out(`,"text":"a` + "\xff" + `"}`),
		out(`,"text":"a` + "\n" + `"}`), out(`,"text":"a"b"}`), out(`,"text":"\x"}`), out(`,"text":"\u12"}`), out(`,"text":"\"}`),
		out(`,"data":"YQ"}`), out(`,"data":"YR=="}`), out(`,"data":"Y\n\nQ=="}`), out(`,"data":"*"}`), out(`,"data":"====" }`),
		out(`,"text":"` + strings.Repeat("a", stream.MaxFrame+1) + `"}`),
		strings.Replace(out(`,"text":"a"}`), "stdout", "stdin", 1),
		strings.Replace(out(`,"text":"a"}`), `"offset":0`, `"offset":-1`, 1),
		strings.Replace(out(`,"text":"a"}`), `"offset":0`, `"offset":01`, 1),
		strings.Replace(out(`,"text":"a"}`), `"offset":0`, `"offset":9223372036854775807`, 1),
		strings.Replace(out(`,"text":"a"}`), `"offset":0`, `"offset":9223372036854775808`, 1),
		strings.Replace(out(`,"text":"a"}`), `.290000000Z`, `Z`, 1),
		strings.Replace(out(`,"text":"a"}`), `00000Z`, `+01:00`, 1),
		strings.Replace(out(`,"text":"a"}`), `2026-11`, `2026-13`, 1),
		`{"type":"start","v":2,"job":"a",` + at + `,"argv":["a"]}`,
		`{"type":"start","v":1,"job":"a",` + at + `,"argv":[]}`,
		`{"type":"gap","offset":0,"bytes":0,"reason":"x"}`,
		`{"type":"gap","offset":1,"bytes":9223372036854775807,"reason":"x"}`,
		`{"type":"exit","offset":0,` + at + `}`,
		`{"type":"exit","offset":0,` + at + `,"reason":"exited","usage":[]}`,
		`{"type":"exit","offset":0,` + at + `,"reason":"exited","code":"0"}`,
		`{"type":"end","next":-1,"reason":"complete"}`,
	} {
		if f, err := stream.Decode([]byte(line)); err == nil {
			t.Errorf("decode %.200q: %+v, want an error", line, f)
		}
	}
}

func TestAppendPanics(t *testing.T) {
	for _, f := range []stream.Frame{
		{}, {Type: "pong"}, {Type: "output", Stream: "stdout"}, {Type: "output", Data: []byte("a")},
		{Type: "end", Next: -1}, {Type: "exit"}, {Type: "start", V: 1, Argv: []string{"\xff"}},
		{Type: "output", Stream: "stdout", Data: []byte("a"), Time: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("append %+v: no panic", f)
				}
			}()
			f.Append(nil)
		}()
	}
}

// FuzzDecode: what decodes, encodes to one line without NULs that decodes to the same.
func FuzzDecode(f *testing.F) {
	for _, line := range goldenLines(f) {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		got, err := stream.Decode(line)
		if err != nil {
			return
		}
		again := got.Append(nil)
		if bytes.IndexByte(again, 0) >= 0 || bytes.IndexByte(again, '\n') != len(again)-1 {
			t.Errorf("not one line: %q", again)
		}
		back, err := stream.Decode(again)
		if err != nil {
			t.Fatalf("%q became %v", line, err)
		}
		if !reflect.DeepEqual(got, back) {
			t.Errorf("%q:\n got %+v\nback %+v", line, got, back)
		}
	})
}

// FuzzOutput: any payload comes back, and encoding/json reads it as we do.
func FuzzOutput(f *testing.F) {
	f.Add([]byte("a\n"), int64(0))
	f.Add([]byte(strings.Repeat("é\u2028\x00\x1b\"\\", 2000)), int64(1<<40))
	f.Add([]byte("\xff\xfe"), int64(7))
	f.Fuzz(func(t *testing.T, data []byte, offset int64) {
		if len(data) == 0 || len(data) > stream.MaxFrame || offset < 0 || offset > 1<<60 {
			return
		}
		want := stream.Frame{Type: "output", Stream: "stderr", Offset: offset, Time: t0, Data: data}
		line := want.Append(nil)
		got, err := stream.Decode(line)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("decode %q: %+v, %v", line, got, err)
		}
		if p, err := stream.AppendPayload([]byte("x"), line); err != nil || string(p) != "x"+string(data) {
			t.Fatalf("payload of %q: %q, %v", line, p, err)
		}
		var members struct {
			Text *string
			Data []byte
		}
		must(t, json.Unmarshal(line, &members))
		if members.Text != nil {
			members.Data = []byte(*members.Text)
		}
		if !bytes.Equal(members.Data, data) {
			t.Fatalf("encoding/json reads %q", members.Data)
		}
	})
}
