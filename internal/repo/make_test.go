package repo_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestMakefile: make says of a target without a rule, if that is .PHONY, that there is
// nothing to be done, and succeeds.
func TestMakefile(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`(?m)^\.PHONY: (.*)$`).FindSubmatch(b)
	if names == nil {
		t.Fatal("no .PHONY")
	}
	for name := range strings.FieldsSeq(string(names[1])) {
		if !regexp.MustCompile(`(?m)^` + name + `:.*\n\t`).Match(b) {
			t.Errorf("%s: has no recipe", name)
		}
	}
}
