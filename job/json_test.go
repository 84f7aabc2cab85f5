package job_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"jobworker/job"
)

func TestParseSpec(t *testing.T) {
	const full = `{"argv":["sh","-c",""],"env":{"A":"1","a":"2","":""},"dir":"/tmp","name":"n","labels":{"k":"v","K":"w"},
		"limits":{"cpus":5e-1,"cpu_weight":100,"memory_bytes":67108864,"pids":64,"scratch_bytes":4096,
			"io":[{"path":"/scratch","read_bps":2},{"device":"8:0","write_iops":9223372036854775807}]},
		"timeout":"1h","stop_signal":"INT","grace":"0s","merge":false,"net":"none","profile":"sandbox"}`
	s, err := job.ParseSpec(strings.NewReader(strings.Replace(full, `,"":""`, "", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if s.Env["A"] != "1" || s.Env["a"] != "2" || s.Labels["K"] != "w" || s.Limits.CPUs != 0.5 || len(s.Limits.IO) != 2 ||
		time.Duration(s.Timeout) != time.Hour || s.Grace == nil || *s.Grace != 0 {
		t.Errorf("parsed %+v", s)
	}
	if _, err := job.ParseSpec(strings.NewReader(full)); err == nil || err.Error() != `env: "": a variable's name is not empty and has no '=' or NUL` {
		t.Errorf("a variable without a name: %v", err)
	}
}

// specErrors are documents that are refused, and how the message begins.
// specErrors is a function because a variable would be filled at the start of
// every nsinit too, which is this binary.
func specErrors() []struct{ in, want string } {
	return []struct{ in, want string }{
		{``, "the JSON document ends early"},
		{` `, "the JSON document ends early"},
		{`{`, "the JSON document ends early"},
		{`{"argv":["a"`, "the JSON document ends early"},
		{`{"argv"}`, "not JSON: invalid character '}' after object key"},
		{`{"argv":["a"],}`, "not JSON: "},
		{`{argv:["a"]}`, "not JSON: "},
		{`null`, "null: leave the field out instead"},
		{`[]`, "[…: must be an object"},
		{`"argv"`, `"argv": must be an object`},
		{`1`, "1: must be an object"},
		{`true`, "true: must be an object"},
		{`{}`, "argv: is missing"},
		{`{"argv":[]}`, "argv: is missing"},
		{`{"argv":["a"]} {}`, "the document goes on after its end"},
		{`{"argv":["a"]}}`, "the document goes on after its end"},
		{`{"argv":["a"]}x`, "the document goes on after its end"},
		{"{\"argv\":[\"a\"]}\x00", "the document goes on after its end"},
		{"{\"argv\":[\"a\xff\"]}", "the document is not valid UTF-8"},
		{`{"argv":["\ud800"]}`, `"\\ud800": is half a surrogate pair`},
		{`{"argv":["\uD83D\uD83D"]}`, `"\\uD83D": is half`},
		{`{"argv":["\ude00\ud83d"]}`, `"\\ude00": is half`},
		{`{"argv":["\\\ud83d\\ude00"]}`, `"\\ud83d": is half`},
		{`{"argv":["a"],"env":{"\udfff":"x"}}`, `"\\udfff": is half`},
		{"\xef\xbb\xbf{}", "not JSON: "},

		{`{"argv":["a"],"argc":1}`, `"argc": unknown field`},
		{`{"Argv":["a"]}`, `"Argv": unknown field`},
		{`{"":1}`, `"": unknown field`},
		{`{"Spec":{}}`, `"Spec": unknown field`},
		{`{"limits":{"CPUs":1}}`, `limits."CPUs": unknown field`},
		{`{"limits":{"io":[{},{"bps":1}]}}`, `limits.io[1]."bps": unknown field`},

		{`{"argv":["a"],"argv":["b"]}`, "argv: is given twice"},
		{`{"argv":["a"],"\u0061rgv":["b"]}`, "argv: is given twice"},
		{`{"env":{"A":"1","A":"2"}}`, "env.A: is given twice"},
		{`{"labels":{"k":"1","k":"1"}}`, "labels.k: is given twice"},
		{`{"limits":{"pids":1,"pids":2}}`, "limits.pids: is given twice"},
		{`{"limits":{"io":[{"path":"/","path":"/a"}]}}`, "limits.io[0].path: is given twice"},
		{`{"grace":"1s","grace":"2s"}`, "grace: is given twice"},

		{`{"argv":["a"` + strings.Repeat(`,""`, 1<<16) + `]}`, "argv: has more than 65536 elements"},
		{`{"labels":{"a":""` + manyFields(1<<16) + `}}`, "labels: has more than 65536 elements"},

		{`{"argv":null}`, "argv: null: leave"},
		{`{"argv":["a",null]}`, "argv[1]: null: leave"},
		{`{"env":{"A":null}}`, "env.A: null: leave"},
		{`{"limits":null}`, "limits: null: leave"},
		{`{"grace":null}`, "grace: null: leave"},
		{`{"timeout":null}`, "timeout: null: leave"},

		{`{"argv":"a"}`, `argv: "a": must be an array`},
		{`{"argv":{}}`, "argv: {…: must be an array"},
		{`{"argv":[1]}`, "argv[0]: 1: must be a string"},
		{`{"argv":[["a"]]}`, "argv[0]: […: must be a string"},
		{`{"env":["A=1"]}`, "env: […: must be an object"},
		{`{"env":{"A":1}}`, "env.A: 1: must be a string"},
		{`{"dir":false}`, "dir: false: must be a string"},
		{`{"merge":"true"}`, `merge: "true": must be true or false`},
		{`{"merge":1}`, "merge: 1: must be true or false"},
		{`{"timeout":10}`, `timeout: 10: a duration is a string`},
		{`{"timeout":"10"}`, `timeout: "10": a duration is a number with a unit`},
		{`{"grace":"1 s"}`, `grace: "1 s": a duration is a number with a unit`},
		{`{"grace":{"a":1}}`, `grace: {"a":1}: a duration is a string`},

		{`{"limits":{"cpus":0}}`, "limits.cpus: 0: must not be 0"},
		{`{"limits":{"cpus":-0.0}}`, "limits.cpus: -0.0: must not be 0"},
		{`{"limits":{"cpus":1e-999}}`, "limits.cpus: 1e-999: must not be 0"},
		{`{"limits":{"cpus":1e309}}`, "limits.cpus: 1e309: must be a number"},
		{`{"limits":{"cpus":NaN}}`, "not JSON: invalid character 'N'"},
		{`{"limits":{"cpus":"1"}}`, `limits.cpus: "1": must be a number`},
		{`{"limits":{"cpus":-1},"argv":["a"]}`, "limits.cpus: -1: must be from"},
		{`{"limits":{"cpu_weight":0}}`, "limits.cpu_weight: 0: must not be 0"},
		{`{"limits":{"memory_bytes":0}}`, "limits.memory_bytes: 0: must not be 0"},
		{`{"limits":{"memory_bytes":1.5}}`, "limits.memory_bytes: 1.5: must be a whole number"},
		{`{"limits":{"memory_bytes":1e6}}`, "limits.memory_bytes: 1e6: must be a whole number"},
		{`{"limits":{"memory_bytes":9223372036854775808}}`, "limits.memory_bytes: 9223372036854775808: must be a whole number"},
		{`{"limits":{"pids":-0}}`, "limits.pids: -0: must not be 0"},
		{`{"limits":{"io":[{"path":"/","read_bps":0}]}}`, "limits.io[0].read_bps: 0: must not be 0"},

		{strings.Repeat("[", 100000), "[…: must be an object"},
		{`{"argv":[` + strings.Repeat("[", 100000), "argv[0]: […: must be a string"},
		{`{"grace":` + strings.Repeat("[", 100000), "not JSON: invalid character '[' exceeded max depth"},
	}
}

// manyFields returns n members of an object.
func manyFields(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"v%d":""`, i)
	}
	return b.String()
}

// TestParseSpecErrors: what encoding/json would let pass is refused, and the
// message names the field and the value.
func TestParseSpecErrors(t *testing.T) {
	for _, tt := range specErrors() {
		_, err := job.ParseSpec(strings.NewReader(tt.in))
		if _, ok := errors.AsType[*job.FieldError](err); !ok || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%.100s\n  got %.200v\n want %s", tt.in, err, tt.want)
		}
	}
}

func TestParseSpecReadError(t *testing.T) {
	if _, err := job.ParseSpec(iotest.ErrReader(io.ErrClosedPipe)); err != io.ErrClosedPipe {
		t.Errorf("error %v, want that of the reader as it is", err)
	}
}

// TestDecodeJSON: an empty object is a request too, where nothing is needed.
func TestDecodeJSON(t *testing.T) {
	var v struct {
		Signal string        `json:"signal,omitempty"`
		Grace  *job.Duration `json:"grace,omitempty"`
		Hidden string        `json:"-"`
		Plain  string
	}
	if err := job.DecodeJSON(strings.NewReader("\t{ }\n"), &v); err != nil {
		t.Error(err)
	}
	if err := job.DecodeJSON(strings.NewReader(`{"signal":"INT","grace":"5s"}`), &v); err != nil || v.Signal != "INT" || *v.Grace != *duration(5 * time.Second) {
		t.Errorf("%+v, %v", v, err)
	}
	for _, field := range []string{"-", "Hidden", "Plain", "plain"} {
		if err := job.DecodeJSON(strings.NewReader(fmt.Sprintf("{%q:\"x\"}", field)), &v); err == nil || err.Error() != fmt.Sprintf("%q: unknown field", field) {
			t.Errorf("field %q: %v", field, err)
		}
	}
}

func TestDuration(t *testing.T) {
	for in, want := range map[string]time.Duration{`"1h30m"`: 90 * time.Minute, `"0s"`: 0, `"0"`: 0, `"1.5s"`: 1500 * time.Millisecond, `"-1ns"`: -1} {
		var d job.Duration
		if err := json.Unmarshal([]byte(in), &d); err != nil || time.Duration(d) != want {
			t.Errorf("%s: %v, %v, want %v", in, d, err, want)
		}
		b, err := json.Marshal(d)
		if err != nil || string(b) != fmt.Sprintf("%q", want) || d.String() != want.String() {
			t.Errorf("%v is written as %s and %s, %v", want, b, d, err)
		}
	}
	for _, in := range []string{`1`, `"1"`, `""`, `"s"`, `"1d"`, `"1s "`, `"9223372036854775808ns"`, `true`, `["1s"]`, `{}`} {
		var d job.Duration
		if err := json.Unmarshal([]byte(in), &d); err == nil || !strings.HasPrefix(err.Error(), in) {
			t.Errorf("%s: %v, %v, want an error that names it", in, d, err)
		}
	}
}

// FuzzParseSpec: a Spec that was accepted is written as something that is
// accepted as the same Spec.
func FuzzParseSpec(f *testing.F) {
	f.Add([]byte(`{"argv":["true"]}`))
	f.Add([]byte(`{"argv":["\ud83d\ude00","\\ud83d","\ufffd","\u2028"]}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		s, err := job.ParseSpec(bytes.NewReader(in))
		if err != nil {
			return
		}
		first, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		again, err := job.ParseSpec(bytes.NewReader(first))
		if err != nil {
			t.Fatalf("%s\nwritten as %s\nis refused: %v", in, first, err)
		}
		second, err := json.Marshal(again)
		if err != nil || !bytes.Equal(first, second) {
			t.Errorf("%s\nwritten as %s\nread as %s, %v", in, first, second, err)
		}
	})
}
