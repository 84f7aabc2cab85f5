package repo_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestModule: golang.org/x/sys is the one requirement, and the go line is not
// an older one, which would switch off X25519MLKEM768 (GODEBUG defaults follow
// the go line, https://go.dev/doc/godebug).
func TestModule(t *testing.T) {
	// Seen by this process, the file counts for go test's cache.
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "mod", "edit", "-json")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go mod edit -json: %v", err)
	}
	var m struct {
		Module  struct{ Path string }
		Go      string
		Require []struct {
			Path     string
			Indirect bool
		}
		Replace, Exclude []any
		Tool             []struct{ Path string }
		Godebug          []any
	}
	if err := json.Unmarshal(out, &m); err != nil {
		t.Fatal(err)
	}
	if m.Module.Path != module {
		t.Errorf("module %s, want %s", m.Module.Path, module)
	}
	if m.Go != "1.26" && !strings.HasPrefix(m.Go, "1.26.") {
		t.Errorf("go %s, want 1.26", m.Go)
	}
	if len(m.Require) != 1 || m.Require[0].Path != "golang.org/x/sys" || m.Require[0].Indirect {
		t.Errorf("go.mod requires %v, want golang.org/x/sys alone, directly", m.Require)
	}
	if len(m.Replace)+len(m.Exclude)+len(m.Godebug) > 0 {
		t.Errorf("go.mod has replace, exclude or godebug lines: %s", out)
	}
	for _, tool := range m.Tool {
		if !strings.HasPrefix(tool.Path, prefix) {
			t.Errorf("go.mod names the foreign tool %s", tool.Path)
		}
	}
}
