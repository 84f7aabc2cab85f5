package main

import (
	"slices"
	"strings"
	"testing"
)

const pass = `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:3: 0.2 CPU\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
{"Action":"pass","Package":"p"}
`

func TestFaults(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		some     bool
		want     []string
	}{
		{"pass", pass, false, nil},
		{"skip", strings.Replace(pass, `{"Action":"pass","Package":"p","Test"`, `{"Action":"skip","Package":"p","Test"`, 1), false,
			[]string{"p TestA: skipped, where every test must run"}},
		{"fail", strings.Replace(pass, `{"Action":"pass","Package":"p"}`, `{"Action":"fail","Package":"p"}`, 1), false,
			[]string{"p: failed"}},
		{"cut off", strings.TrimSuffix(pass, "{\"Action\":\"pass\",\"Package\":\"p\"}\n"), false, []string{"p: did not end"}},
		{"build", `{"ImportPath":"p [p.test]","Action":"build-fail"}`, false, []string{"p [p.test]: build failed", "no test ran at all"}},
		{"nothing", "", false, []string{"no test ran at all"}},
		{"nothing, some", "", true, []string{"no test ran at all"}},
		{"empty package", pass + `{"Action":"pass","Package":"q"}`, false, []string{"q: no test ran"}},
		{"empty package, some", pass + `{"Action":"pass","Package":"q"}`, true, nil},
		{"no test files", pass + `{"Action":"skip","Package":"q"}`, false, []string{"q: no test ran"}},
	} {
		var out strings.Builder
		r := newReport(&out)
		if err := r.read(strings.NewReader(tt.in)); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if got := r.faults(tt.some); !slices.Equal(got, tt.want) {
			t.Errorf("%s: faults %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestOutput(t *testing.T) {
	var out strings.Builder
	if err := newReport(&out).read(strings.NewReader(pass + `{"Action":"build-output","Output":"x.go:1: bad\n"}`)); err != nil {
		t.Fatal(err)
	}
	if want := "    a_test.go:3: 0.2 CPU\nok  \tp\t0.1s\nx.go:1: bad\n"; out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
}

func TestNotAnEvent(t *testing.T) {
	if err := newReport(new(strings.Builder)).read(strings.NewReader(pass + "panic: oh\n")); err == nil {
		t.Error("a line that is no event was accepted")
	}
}
