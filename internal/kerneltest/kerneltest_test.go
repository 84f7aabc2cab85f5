package kerneltest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"jobworker/internal/kerneltest"
)

// A recorder stands in for a test, to see how it would have ended.
type recorder struct {
	testing.TB
	skipped, failed string
}

// ended stops the recorded test, as SkipNow and FailNow do.
type ended struct{}

func (r *recorder) Helper()      {}
func (r *recorder) Name() string { return "TestThing/sub" }
func (r *recorder) Skipf(format string, args ...any) {
	r.skipped = fmt.Sprintf(format, args...)
	panic(ended{})
}
func (r *recorder) Fatalf(format string, args ...any) {
	r.failed = fmt.Sprintf(format, args...)
	panic(ended{})
}

func record(need func(testing.TB)) *recorder {
	r := new(recorder)
	func() {
		defer func() {
			if v := recover(); v != nil && v != (ended{}) {
				panic(v)
			}
		}()
		need(r)
	}()
	return r
}

func TestVMSkipsElsewhere(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "a", "b")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(top, "go.mod"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	t.Setenv("KERNELTEST", "")
	r := record(kerneltest.VM)
	const command = "make test-vm PKG=./a/b RUN='^TestThing$'"
	if !strings.Contains(r.skipped, command) || r.failed != "" {
		t.Errorf("skipped %q, failed %q: want skipped with %q", r.skipped, r.failed, command)
	}
}

// In the machine both return or fail; on a host that claims to be one they
// fail, unless it really is as capable.
func TestNeverSkipsInside(t *testing.T) {
	t.Setenv("KERNELTEST", "vm")
	for name, need := range map[string]func(testing.TB){"VM": kerneltest.VM, "Root": kerneltest.Root} {
		if r := record(need); r.skipped != "" {
			t.Errorf("%s skipped: %s", name, r.skipped)
		}
	}
}

func TestRoot(t *testing.T) {
	r := record(kerneltest.Root)
	kerneltest.Root(t) // ends here where the machine is not capable
	if r.skipped != "" || r.failed != "" {
		t.Errorf("skipped %q, failed %q, then let the test pass", r.skipped, r.failed)
	}
}
