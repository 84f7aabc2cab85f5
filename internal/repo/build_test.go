package repo_test

import (
	"bytes"
	"debug/elf"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"jobworker/internal/failpoint"
)

// commands are what `make build` builds.
func commands() []string {
	var out []string
	for _, l := range layers {
		if strings.HasPrefix(l.pkg, "cmd/") {
			out = append(out, "./"+l.pkg)
		}
	}
	return out
}

// TestReproducibleBuild: two copies of the tree in different directories give
// the same bytes, and what they give needs nothing of the host it runs on.
func TestReproducibleBuild(t *testing.T) {
	cmds := commands()
	one, two := buildCopy(t, cmds), buildCopy(t, cmds)
	for _, c := range cmds {
		name := filepath.Base(c)
		a, err := os.ReadFile(filepath.Join(one, name))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(two, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Errorf("%s: two builds of %d and %d bytes differ", name, len(a), len(b))
		}
		if bytes.Contains(a, []byte(filepath.Dir(one))) {
			t.Errorf("%s: holds the name of the directory it was built in", name)
		}
		checkNoFailpoints(t, name, a)
		checkStatic(t, name, a)
	}
}

// checkNoFailpoints: in what is shipped nobody can have a worker killed half way.
func checkNoFailpoints(t *testing.T, name string, b []byte) {
	t.Helper()
	for _, s := range append(failpoints(t), failpoint.Variable) {
		if bytes.Contains(b, []byte(s)) {
			t.Errorf("%s: holds %q, of a failpoint", name, s)
		}
	}
}

// buildCopy copies the tree to a directory of its own, builds cmds there, and
// returns where the binaries are.
func buildCopy(t *testing.T, cmds []string) string {
	t.Helper()
	dir := t.TempDir()
	copyTree(t, dir)
	cmd := exec.CommandContext(t.Context(), "make", "-C", dir, "build", "BIN=bin", "CMDS="+strings.Join(cmds, " "))
	// This test may itself run under make: its flags and job server are not ours.
	cmd.Env = append(os.Environ(), "MAKEFLAGS=", "MAKELEVEL=", "MFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make build: %v\n%s", err, out)
	}
	return filepath.Join(dir, "bin")
}

// copyTree copies what a build reads: no test, no hidden file, no earlier build.
func copyTree(t *testing.T, dst string) {
	t.Helper()
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil || rel == "." {
			return err
		}
		hidden := strings.HasPrefix(d.Name(), ".")
		if d.IsDir() {
			if hidden || rel == "bin" {
				return fs.SkipDir
			}
			return os.Mkdir(filepath.Join(dst, rel), 0o755)
		}
		if hidden || !d.Type().IsRegular() || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dst, rel), b, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// checkStatic: a dynamic linker is named by a PT_INTERP segment, elf(5).
func checkStatic(t *testing.T, name string, b []byte) {
	t.Helper()
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Errorf("%s: asks for a dynamic linker", name)
		}
	}
	if libs, err := f.ImportedLibraries(); err != nil || len(libs) > 0 {
		t.Errorf("%s: imports libraries %q, %v", name, libs, err)
	}
}
