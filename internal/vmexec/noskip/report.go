package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// An event is one line of `go test -json`; see `go doc test2json`.
type event struct {
	Action     string
	Package    string
	ImportPath string // of a build event
	Test       string
	Output     string
}

// An outcome is what became of one package.
type outcome struct {
	tests int    // tests begun
	end   string // its last action: pass, fail, skip; "" while there is none
}

// A report collects events and prints the output among them.
type report struct {
	w        io.Writer
	packages map[string]*outcome
	skipped  []string // "package test"
	failed   []string // builds
}

func newReport(w io.Writer) *report {
	return &report{w: w, packages: make(map[string]*outcome)}
}

// read reads events to the end of r. A line that is no event is an error: it
// could be the one that tells of a failure.
func (r *report) read(in io.Reader) error {
	s := bufio.NewScanner(in)
	s.Buffer(nil, 16<<20)
	for s.Scan() {
		var e event
		if err := json.Unmarshal(s.Bytes(), &e); err != nil {
			return fmt.Errorf("line %q: %w", s.Text(), err)
		}
		if err := r.add(e); err != nil {
			return err
		}
	}
	return s.Err()
}

func (r *report) add(e event) error {
	switch e.Action {
	case "output", "build-output":
		if strings.HasPrefix(e.Output, "=== ") { // "=== RUN TestX" and the like, of go test -v
			return nil
		}
		_, err := io.WriteString(r.w, e.Output)
		return err
	case "build-fail":
		r.failed = append(r.failed, e.ImportPath)
		return nil
	}
	p := r.packages[e.Package]
	if p == nil {
		p = new(outcome)
		r.packages[e.Package] = p
	}
	switch {
	case e.Action == "run":
		p.tests++
	case e.Action == "skip" && e.Test != "":
		r.skipped = append(r.skipped, e.Package+" "+e.Test)
	case e.Test == "" && (e.Action == "pass" || e.Action == "fail" || e.Action == "skip"):
		p.end = e.Action
	}
	return nil
}

// faults returns what went wrong, a line each; none means that every test of
// every package ran and passed. With some, a package may be without a test.
func (r *report) faults(some bool) []string {
	var out []string
	for _, name := range r.failed {
		out = append(out, name+": build failed")
	}
	for _, name := range r.skipped {
		out = append(out, name+": skipped, where every test must run")
	}
	total := 0
	for _, name := range slices.Sorted(maps.Keys(r.packages)) {
		p := r.packages[name]
		total += p.tests
		switch {
		case p.end == "":
			out = append(out, name+": did not end")
		case p.end == "fail":
			out = append(out, name+": failed")
		case p.tests == 0 && !some:
			out = append(out, name+": no test ran")
		}
	}
	if total == 0 {
		out = append(out, "no test ran at all")
	}
	return out
}
