package cgroupv2

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"jobworker/internal/kerneltest"
)

// TestReadBack: a limit that reads back different is an error. A file that every cgroup has
// stands in for a limit, since no kernel is known to change one unasked.
func TestReadBack(t *testing.T) {
	kerneltest.Root(t)
	tree, err := Open(Config{Root: fmt.Sprintf("cgroupv2-test-%d-readback", os.Getpid()), AllowMissing: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tree.Close(); err != nil {
			t.Error(err)
		}
	})
	g, err := tree.Create("job")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.remove(); err != nil {
			t.Error(err)
		}
	})
	if err := g.set(setting{Pids, "payload/cgroup.max.depth", "5", "5"}); err != nil {
		t.Errorf("as wanted: %v", err)
	}
	err = g.set(setting{Pids, "payload/cgroup.max.depth", "6", "7"})
	var different *LimitError
	if !errors.As(err, &different) || !strings.Contains(err.Error(), `cgroup.max.depth: set "6": wanted "7", got "6"`) {
		t.Errorf("different: %v", err)
	}
	err = g.set(setting{Pids, "payload/cgroup.max.depth", "x", "x"})
	if !errors.As(err, &different) || different.Err == nil {
		t.Errorf("refused by the kernel: %v", err)
	}
}
