package repo_test

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"testing"
)

// cited is a test as documents name it: `TestName` or `package: TestName`.
var cited = regexp.MustCompile("`(?:([a-z0-9/]+): )?((?:Test|Fuzz|Benchmark)[A-Z][A-Za-z0-9]*)`")

// TestCitedTests: each test that a document names is there, in the package that it names.
func TestCitedTests(t *testing.T) {
	there := tests(t)
	files, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(files) == 0 {
		t.Fatalf("documents: %v, %v", files, err)
	}
	found := 0
	for _, file := range append(files, filepath.Join(root, "README.md")) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range cited.FindAllSubmatch(text, -1) {
			found++
			if dir, name := string(c[1]), string(c[2]); !there[name] || dir != "" && !there[dir+": "+name] {
				t.Errorf("%s: there is no %s", filepath.Base(file), c[0])
			}
		}
	}
	if found == 0 {
		t.Error("no document names a test")
	}
}

// tests returns the tests of the repository, by name and with their directory.
func tests(t *testing.T) map[string]bool {
	t.Helper()
	there := make(map[string]bool)
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)[A-Z][A-Za-z0-9]*)\(`)
	for _, s := range sources(t) {
		if !s.isTest() {
			continue
		}
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(s.path)))
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range declared.FindAllSubmatch(text, -1) {
			there[string(d[1])] = true
			there[path.Dir(s.path)+": "+string(d[1])] = true
		}
	}
	return there
}
