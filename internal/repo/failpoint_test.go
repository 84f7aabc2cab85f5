package repo_test

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"regexp"
	"testing"
)

// failpoints returns the names of those in the source.
func failpoints(t *testing.T) (names []string) {
	t.Helper()
	here := regexp.MustCompile(`failpoint\.Here\("(.*)"\)`)
	for _, s := range sources(t) {
		b, err := os.ReadFile(path.Join(root, s.path))
		if err != nil {
			t.Fatal(err)
		}
		if s.isTest() {
			continue
		}
		for _, m := range here.FindAllSubmatch(b, -1) {
			names = append(names, string(m[1]))
		}
	}
	if len(names) == 0 {
		t.Fatal("no failpoints")
	}
	return names
}

// TestFailpointsAreTested: each is in the table of job's TestFailpoints.
func TestFailpointsAreTested(t *testing.T) {
	table, err := os.ReadFile(path.Join(root, "job/fault_linux_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range failpoints(t) {
		if n := bytes.Count(table, fmt.Appendf(nil, "\t{%q, ", name)); n != 1 {
			t.Errorf("failpoint %q is in the table %d times, want once", name, n)
		}
	}
}
