package stream_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"jobworker/stream"
)

// TestMain fails on goroutines of this package and descriptors that are left over.
func TestMain(m *testing.M) {
	before := openFiles()
	code := m.Run()
	if after := openFiles(); code == 0 && after != before {
		fmt.Fprintf(os.Stderr, "leak: %d open files before, %d after\n", before, after)
		code = 1
	}
	if s := leftGoroutines(); code == 0 && s != "" {
		fmt.Fprintf(os.Stderr, "leak: %s\n", s)
		code = 1
	}
	os.Exit(code)
}

// openFiles counts descriptors, after the runtime has made its poller's.
func openFiles() int {
	if w, err := stream.NewWatcher(); err == nil {
		w.Close()
	}
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0 // not Linux
	}
	return len(names)
}

// leftGoroutines shows a goroutine in this package other than the one that runs TestMain, which is the first.
func leftGoroutines() string {
	var left []byte
	for end := time.Now().Add(time.Second); time.Now().Before(end); runtime.Gosched() {
		buf := make([]byte, 1<<20)
		buf = buf[:runtime.Stack(buf, true)]
		_, left, _ = bytes.Cut(buf, []byte("\n\n"))
		if !bytes.Contains(left, []byte("jobworker/stream")) {
			return ""
		}
	}
	return string(left)
}

// t0 is when the logs of the tests begin.
var t0 = time.Date(2026, 11, 21, 20, 33, 28, 290e6, time.UTC)

// create makes a log as nsinit's is made.
func create(t testing.TB) (path string, f *os.File) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "output.jsonl")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return path, f
}

// capped makes a log with a start frame and a Cap.
func capped(t testing.TB, c stream.Cap) (path string, f *os.File, w *stream.Writer) {
	t.Helper()
	path, f = create(t)
	w = stream.NewWriter(f, 0)
	must(t, w.Start("job", []string{"true"}, t0))
	must(t, w.SetCap(c))
	return path, f, w
}

// watcher makes one that ends with the test.
func watcher(t testing.TB) *stream.Watcher {
	t.Helper()
	w, err := stream.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// must fails the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
