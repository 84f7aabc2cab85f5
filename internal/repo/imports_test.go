package repo_test

import (
	"path"
	"slices"
	"strings"
	"testing"
)

// layers is the table of docs/design.md: which of our packages a package may
// import. A package that is not here, nor below internal/, must not exist, and
// one that is here must.
var layers = []struct {
	pkg     string
	imports []string
}{
	{"cmd/jobworker", []string{"httpapi", "authz", "job", "nsinit"}},
	{"cmd/jobcli", []string{"httpapi", "authz", "stream"}},
	{"httpapi", []string{"authz", "job", "stream"}},
	{"job", []string{"cgroupv2", "nsinit", "stream", "internal/failpoint"}},
	{"nsinit", []string{"stream", "internal/failpoint"}},
	{"authz", nil},
	{"cgroupv2", nil},
	{"stream", nil},
}

// exceptions are single files that may import more than their package: the
// embedded worker of `jobcli run -local`, which exists on Linux only.
var exceptions = map[string][]string{
	"cmd/jobcli/local_linux.go": {"job", "nsinit"},
}

// allowed returns what the file may import of ours, and whether its package is
// in the table.
func allowed(s source) ([]string, bool) {
	for _, l := range layers {
		if l.pkg == s.dir() {
			return slices.Concat(l.imports, exceptions[s.path]), true
		}
	}
	return nil, false
}

func TestImports(t *testing.T) {
	found := map[string]bool{}
	for _, s := range sources(t) {
		if s.isTest() || strings.HasPrefix(s.path, "internal/") {
			continue
		}
		may, ok := allowed(s)
		if !ok {
			t.Errorf("%s: package is not in the table of imports", s.path)
			continue
		}
		found[s.dir()] = true
		for _, imp := range s.imports() {
			if ours, ok := strings.CutPrefix(imp, prefix); ok && !slices.Contains(may, ours) {
				t.Errorf("%s imports %s: it may import %q", s.path, ours, may)
			}
		}
	}
	for _, l := range layers {
		if !found[l.pkg] {
			t.Errorf("package %s does not exist", l.pkg)
		}
	}
}

// TestForeignImports: in tests too, nothing but the standard library and
// golang.org/x/sys.
func TestForeignImports(t *testing.T) {
	for _, s := range sources(t) {
		for _, imp := range s.imports() {
			first, _, _ := strings.Cut(imp, "/")
			standard := !strings.Contains(first, ".") && first != module
			if !standard && !strings.HasPrefix(imp, prefix) && !strings.HasPrefix(imp, "golang.org/x/sys/") {
				t.Errorf("%s imports %s", s.path, imp)
			}
		}
	}
}

// TestPackageComments: a package's comment is its contract, a command's its
// manual; it begins as `go doc` expects.
func TestPackageComments(t *testing.T) {
	documented := map[string]bool{}
	for _, s := range sources(t) {
		if s.isTest() {
			continue
		}
		documented[s.dir()] = documented[s.dir()] || introduces(s)
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("%s: no comment that begins with \"Package name \", or with \"Name \" or \"Command name \" for a command", dir)
		}
	}
}

// introduces reports whether the file holds its package's comment.
func introduces(s source) bool {
	doc := s.Doc.Text()
	if s.Name.Name != "main" {
		return strings.HasPrefix(doc, "Package "+s.Name.Name+" ")
	}
	name := path.Base(s.dir())
	return strings.HasPrefix(doc, "Command "+name+" ") ||
		strings.HasPrefix(doc, strings.ToUpper(name[:1])+name[1:]+" ")
}
