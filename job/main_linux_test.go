package job_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"jobworker/nsinit"
)

// TestMain fails when the tests leave goroutines, descriptors or cgroups behind.
func TestMain(m *testing.M) {
	nsinit.MaybeRun()
	if h := helpers[os.Getenv(helperEnv)]; h.run != nil {
		if err := help(h); err != nil {
			fmt.Fprintln(os.Stderr, "helper:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	before := held()
	code := m.Run()
	// The fuzzing engine of package testing has goroutines and files of its own.
	if fuzzing := flag.Lookup("test.fuzz").Value.String() != ""; code == 0 && !fuzzing {
		code = checkLeaks(before)
	}
	os.Exit(code)
}

// A holding is what a process can leave behind.
type holding struct {
	goroutines int
	files      []string
	cgroups    []string
}

// held says what this process holds, after the runtime's poller has opened its
// own descriptors.
func held() holding {
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
	h := holding{goroutines: runtime.NumGoroutine(), cgroups: testCgroups()}
	names, err := filepath.Glob("/proc/self/fd/*")
	if err != nil || len(names) == 0 {
		panic(fmt.Sprintf("open files: %v, %v", names, err))
	}
	for _, name := range names {
		if target, err := os.Readlink(name); err == nil { // not the directory that was read
			h.files = append(h.files, filepath.Base(name)+" "+target)
		}
	}
	return h
}

// testCgroups returns the cgroups that the tests of this process have made, by
// the names that cgroupRoot and Example give them.
func testCgroups() []string {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		panic(err)
	}
	var found []string
	for line := range strings.Lines(string(b)) {
		if !strings.Contains(line, " - cgroup2 ") {
			continue
		}
		for _, pattern := range []string{"jobworker-test-%d-*", "jobworker-%d"} {
			names, err := filepath.Glob(filepath.Join(strings.Fields(line)[4], fmt.Sprintf(pattern, os.Getpid())))
			if err != nil {
				panic(err)
			}
			found = append(found, names...)
		}
	}
	return found
}

// checkLeaks returns the exit status: 1 if there is more than before.
func checkLeaks(before holding) int {
	after := held()
	// A goroutine that was told to end may need a moment to be gone.
	for end := time.Now().Add(5 * time.Second); after.goroutines > before.goroutines && time.Now().Before(end); after = held() {
		runtime.Gosched()
	}
	code := 0
	if after.goroutines > before.goroutines {
		stacks := make([]byte, 1<<20)
		fmt.Printf("leaked goroutines: %d before, %d after:\n%s\n", before.goroutines, after.goroutines, stacks[:runtime.Stack(stacks, true)])
		code = 1
	}
	for what, lists := range map[string][2][]string{"files": {before.files, after.files}, "cgroups": {before.cgroups, after.cgroups}} {
		if left := slices.DeleteFunc(lists[1], func(s string) bool { return slices.Contains(lists[0], s) }); len(left) > 0 {
			fmt.Printf("leaked %s: %q\n", what, left)
			code = 1
		}
	}
	return code
}
