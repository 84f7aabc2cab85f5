package nsinit_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"jobworker/cgroupv2"
	"jobworker/internal/kerneltest"
	"jobworker/nsinit"
	"jobworker/stream"
)

// TestMain fails when the tests leave goroutines, descriptors or children.
func TestMain(m *testing.M) {
	nsinit.MaybeRun()
	if os.Getenv(probeEnv) != "" {
		if err := probeAll(); err != nil {
			panic(err)
		}
		os.Exit(0)
	}
	forbidMemfds()
	files, goroutines := openFiles(), runtime.NumGoroutine()
	code := m.Run()
	// The fuzzing engine of package testing has goroutines and files of its own.
	if fuzzing := flag.Lookup("test.fuzz").Value.String() != ""; code == 0 && !fuzzing {
		code = checkLeaks(files, goroutines)
	}
	os.Exit(code)
}

func checkLeaks(files, goroutines int) int {
	// A goroutine that was told to end may need a moment to be gone.
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > goroutines && time.Now().Before(end); {
		runtime.Gosched()
	}
	_, err := unix.Wait4(-1, nil, unix.WNOHANG, nil)
	if f, g := openFiles(), runtime.NumGoroutine(); f > files || g > goroutines || err != unix.ECHILD {
		fmt.Printf("leaked: %d files before the tests, %d after; %d goroutines, %d after; children: wait4 says %v\n", files, f, goroutines, g, err)
		return 1
	}
	return 0
}

// openFiles counts descriptors, after the runtime's poller has opened its own.
func openFiles() int {
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		panic(err)
	}
	return len(names)
}

const (
	limit = 30 * time.Second // for what takes milliseconds
	uid   = 1879048192
	path  = "PATH=/usr/bin:/bin"
)

// hostDirs are what a program needs of the host.
var hostDirs = []string{"/usr", "/bin", "/lib", "/lib64", "/etc"}

// A fixture is all that one nsinit needs, and gone at the end of the test.
type fixture struct {
	t       *testing.T
	image   *nsinit.Image
	group   *cgroupv2.Group
	setup   nsinit.Setup
	files   nsinit.Files
	scratch string // the job's /scratch
	log     string // names of the files
	exit    string
	control string
	stdin   string // FIFO of the input, made by startWithStdin
	count   string // FIFO of the answers about it
}

var fixtures atomic.Int32

func newFixture(t *testing.T) *fixture {
	t.Helper()
	kerneltest.Root(t)
	dir := t.TempDir()
	fx := &fixture{t: t, scratch: filepath.Join(dir, "scratch"), log: filepath.Join(dir, "log"), exit: filepath.Join(dir, "exit"), control: filepath.Join(dir, "control")}
	must(t, os.Mkdir(fx.scratch, 0o700))
	must(t, os.Chown(fx.scratch, uid, uid))
	var err error
	fx.image, err = nsinit.NewImage()
	must(t, err)
	t.Cleanup(func() { fx.image.Close() })

	tree, err := cgroupv2.Open(cgroupv2.Config{Root: fmt.Sprintf("nsinit-test-%d-%d", os.Getpid(), fixtures.Add(1)), AllowMissing: true})
	must(t, err)
	t.Cleanup(func() {
		if err := tree.Close(); err != nil {
			t.Error(err)
		}
	})
	fx.group, err = tree.Create("job")
	must(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if err := fx.group.Remove(ctx); err != nil {
			t.Error(err)
		}
	})
	fx.setup.ReadOnly = hostDirs
	fx.open()
	return fx
}

// launch makes an nsinit and starts c in it.
func (fx *fixture) launch(ctx context.Context, c nsinit.Config) (*nsinit.Process, error) {
	s, err := fx.image.Prepare(fx.setup)
	if err != nil {
		return nil, err
	}
	return s.Start(ctx, c, fx.files)
}

// open opens what the daemon opens for nsinit.
func (fx *fixture) open() {
	fx.t.Helper()
	const flags = os.O_WRONLY | os.O_APPEND | os.O_CREATE
	for _, f := range []struct {
		file **os.File
		open func() (*os.File, error)
	}{
		{&fx.files.Log, func() (*os.File, error) { return os.OpenFile(fx.log, flags, 0o600) }},
		{&fx.files.Exit, func() (*os.File, error) { return os.OpenFile(fx.exit, flags, 0o600) }},
		{&fx.files.Control, func() (*os.File, error) { return nsinit.MakeControl(fx.control) }},
		{&fx.setup.InitCgroup, fx.group.OpenInit},
		{&fx.setup.PayloadCgroup, fx.group.OpenPayload},
	} {
		file, err := f.open()
		must(fx.t, err)
		fx.t.Cleanup(func() { file.Close() })
		*f.file = file
	}
}

// config is that of a shell script.
func (fx *fixture) config(script string) nsinit.Config {
	return nsinit.Config{ID: "job", Argv: []string{"sh", "-c", script}, Env: []string{path}, Dir: "/scratch", UID: uid, GID: uid, User: "job", ScratchDir: fx.scratch}
}

// start starts a script, which must succeed, and kills what is left of it at
// the end of the test.
func (fx *fixture) start(script string) *nsinit.Process {
	fx.t.Helper()
	p, err := fx.launch(fx.t.Context(), fx.config(script))
	must(fx.t, err)
	fx.t.Cleanup(func() { p.Close() })
	return p
}

// fifo makes a FIFO in /scratch that both sides can use.
func (fx *fixture) fifo() string {
	fx.t.Helper()
	name := filepath.Join(fx.scratch, "fifo")
	must(fx.t, unix.Mkfifo(name, 0o600))
	must(fx.t, os.Chown(name, uid, uid))
	return name
}

// read returns a file of the job.
func (fx *fixture) read(name string) []byte {
	fx.t.Helper()
	b, err := os.ReadFile(name)
	must(fx.t, err)
	return b
}

// exited returns what the exit file says about the end, nil if nothing.
func (fx *fixture) exited() *nsinit.Exit {
	fx.t.Helper()
	_, e, err := nsinit.ParseExitFile(fx.read(fx.exit))
	must(fx.t, err)
	return e
}

// output returns what the log says the job wrote.
func (fx *fixture) output() string {
	fx.t.Helper()
	b, err := stream.AppendPayload(nil, fx.read(fx.log))
	must(fx.t, err)
	return string(b)
}

// empty fails if there is a process in the job's cgroups.
func (fx *fixture) empty() {
	fx.t.Helper()
	if b := fx.read(filepath.Join(fx.group.Path(), "cgroup.events")); !strings.Contains(string(b), "populated 0") {
		fx.t.Errorf("cgroup.events %q: want no process", b)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
