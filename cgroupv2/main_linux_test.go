package cgroupv2_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"jobworker/cgroupv2"
	"jobworker/internal/kerneltest"

	"golang.org/x/sys/unix"
)

// helperEnv names the helper that this test binary is to be, instead of tests.
const helperEnv = "CGROUPV2_TEST_HELPER"

// helpers are the programs that run inside cgroups. Each is given its arguments, and
// prints what it found; an error ends it with status 1.
var helpers = map[string]func(args []string) error{
	"wait":      func([]string) error { waitForever(); return nil },
	"spin":      spin,
	"hog":       hog,
	"fork":      forkAll,
	"nest":      nest,
	"write":     writeDirect,
	"read":      readDirect,
	"escape":    escape,
	"open":      openTree,
	"private":   openPrivate,
	"container": container,
	"live":      live,
}

func TestMain(m *testing.M) {
	if name := os.Getenv(helperEnv); name != "" {
		if err := helpers[name](os.Args[1:]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// The runtime's poller opens its own descriptors on first use.
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
	fds, goroutines, groups := countFDs(), runtime.NumGoroutine(), testGroups()
	code := m.Run()
	// The fuzzing engine of the testing package leaves a goroutine of its own.
	if code == 0 && flag.Lookup("test.fuzz").Value.String() == "" {
		code = checkLeaks(fds, goroutines, groups)
	}
	os.Exit(code)
}

// checkLeaks says what the tests left behind.
func checkLeaks(fds, goroutines int, groups []string) int {
	code := 0
	report := func(what string, before, after any) {
		fmt.Printf("leaked %s: before the tests %v, after %v\n", what, before, after)
		code = 1
	}
	// A goroutine that was told to end may need a moment to be gone.
	for end := time.Now().Add(5 * time.Second); runtime.NumGoroutine() > goroutines && time.Now().Before(end); {
		runtime.Gosched()
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		report("goroutines", goroutines, n)
	}
	if n := countFDs(); n > fds {
		report("file descriptors", fds, n)
	}
	if g := testGroups(); !slices.Equal(g, groups) {
		report("cgroups", groups, g)
	}
	return code
}

func countFDs() int {
	e, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		panic(err)
	}
	return len(e)
}

// testGroups returns the cgroups of this process's tests that are there.
func testGroups() []string {
	var found []string
	if mount, err := mountPoint(); err == nil {
		found, _ = filepath.Glob(filepath.Join(mount, testName("*")))
	}
	return found
}

func testName(suffix string) string { return fmt.Sprintf("cgroupv2-test-%d-%s", os.Getpid(), suffix) }

// mountPoint returns the first mount of cgroup2.
func mountPoint() (string, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, " - cgroup2 ") {
			return strings.Fields(line)[4], nil
		}
	}
	return "", fmt.Errorf("no cgroup2 mount")
}

// sandbox returns a new cgroup of the test directly below the mount, handing down the
// given controllers.
func sandbox(t *testing.T, controllers ...string) string {
	t.Helper()
	mount, err := mountPoint()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(mount, testName(strings.ReplaceAll(t.Name(), "/", "-")))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	for _, c := range controllers {
		put(t, filepath.Join(mount, "cgroup.subtree_control"), "+"+c)
		put(t, filepath.Join(dir, "cgroup.subtree_control"), "+"+c)
	}
	return dir
}

func put(t *testing.T, file, data string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(data), 0); err != nil {
		t.Fatal(err)
	}
}

// openTest opens a tree that is closed, and must then be gone, after the test.
func openTest(t testing.TB, cfg cgroupv2.Config) *cgroupv2.Tree {
	t.Helper()
	tree, err := cgroupv2.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tree.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(tree.Path()); !os.IsNotExist(err) {
			t.Errorf("%s is there after Close (%v)", tree.Path(), err)
		}
	})
	return tree
}

// anyTree opens a tree with the controllers that this machine happens to have.
func anyTree(t testing.TB) *cgroupv2.Tree {
	t.Helper()
	kerneltest.Root(t)
	return openTest(t, cgroupv2.Config{Root: testName(t.Name()), AllowMissing: true})
}

// fullTree opens a tree with all controllers.
func fullTree(t testing.TB) *cgroupv2.Tree {
	t.Helper()
	kerneltest.VM(t)
	return openTest(t, cgroupv2.Config{Root: testName(t.Name())})
}

// create makes a group that is killed and removed after the test.
func create(t testing.TB, tree *cgroupv2.Tree, id string) *cgroupv2.Group {
	t.Helper()
	g, err := tree.Create(id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		for _, err := range []error{g.KillAll(), g.WaitEmpty(ctx), g.Remove(ctx)} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	return g
}

// process is a helper that runs in a cgroup.
type process struct {
	*exec.Cmd
	lines *lineReader
}

// start runs a helper directly in an open cgroup, which it closes.
func start(t *testing.T, dir *os.File, openErr error, name string, args ...string) *process {
	t.Helper()
	if openErr != nil {
		t.Fatal(openErr)
	}
	defer dir.Close()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = []string{helperEnv + "=" + name, "GOMAXPROCS=2", "GORACE=atexit_sleep_ms=0"}
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = w
	err = cmd.Start()
	w.Close()
	if err != nil {
		r.Close()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait() // again, or for a process that was just killed
		r.Close()
	})
	return &process{cmd, newLineReader(t, r)}
}

// inPayload starts a helper in the payload of a group.
func inPayload(t *testing.T, g *cgroupv2.Group, name string, args ...string) *process {
	t.Helper()
	dir, err := g.OpenPayload()
	return start(t, dir, err, name, args...)
}

// inDir starts a helper in the cgroup at a path.
func inDir(t *testing.T, dir, name string, args ...string) *process {
	t.Helper()
	f, err := os.Open(dir)
	return start(t, f, err, name, args...)
}

// succeed waits for the helper's end and fails the test with its output if it failed.
func (p *process) succeed(t *testing.T) {
	t.Helper()
	out := p.lines.rest()
	if err := p.Wait(); err != nil {
		t.Fatalf("helper: %v: %s", err, out)
	}
}

// waitForever ends only by a signal that it cannot ignore.
func waitForever() {
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	fmt.Println("waiting")
	for {
		unix.Pause()
	}
}

// spin uses one CPU for the time given, on a clock on the wall.
func spin(args []string) error {
	d, err := time.ParseDuration(args[0])
	if err != nil {
		return err
	}
	for end := time.Now().Add(d); time.Now().Before(end); {
	}
	return nil
}

// child starts another helper as a child of this one, and waits for its first line.
func child(name string, args ...string) error {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = []string{helperEnv + "=" + name}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	_, err = out.Read(make([]byte, 64))
	return err
}

// hog starts a child that does nothing, then uses memory until it is stopped.
func hog([]string) error {
	if err := child("wait"); err != nil {
		return err
	}
	fmt.Println("hogging")
	for {
		m, err := unix.Mmap(-1, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_POPULATE)
		if err != nil {
			return err
		}
		m[0] = 1
	}
}

// forkAll starts children until it cannot, and prints why.
func forkAll([]string) error {
	for {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = []string{helperEnv + "=wait"}
		if err := cmd.Start(); err != nil {
			fmt.Println(err)
			waitForever()
		}
	}
}

// nest starts a child that does the same, n deep, each in a session of its own.
func nest(args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	if n > 0 {
		if err := child("nest", strconv.Itoa(n-1)); err != nil {
			return err
		}
	}
	waitForever()
	return nil
}

// direct opens a file around the page cache, does n pieces of 64 KiB of I/O, and prints how
// long that took.
func direct(args []string, flags int, io func(fd int, p []byte) (int, error)) error {
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	fd, err := unix.Open(args[0], flags|unix.O_DIRECT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	// A mapping is aligned as O_DIRECT needs it.
	buf, err := unix.Mmap(-1, 0, 64<<10, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return err
	}
	began := time.Now()
	for range n {
		if got, err := io(fd, buf); err != nil || got != len(buf) {
			return fmt.Errorf("%d bytes: %v", got, err)
		}
	}
	fmt.Println(time.Since(began))
	return nil
}

func writeDirect(args []string) error { return direct(args, unix.O_WRONLY|unix.O_CREAT, unix.Write) }
func readDirect(args []string) error  { return direct(args, unix.O_RDONLY, unix.Read) }

// escape tries, from a cgroup namespace of its own, to lift a limit of its own cgroup.
func escape(args []string) error {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return err
	}
	b, err := os.ReadFile("/proc/thread-self/cgroup")
	fmt.Println(strings.TrimSpace(string(b)), err)
	fd, err := unix.Open(args[0], unix.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = unix.Write(fd, []byte("max"))
	fmt.Println(err)
	return nil
}

// openTree opens a tree at the root given, and prints where that is and where it is itself,
// before and after it closes the tree.
func openTree(args []string) error {
	tree, err := cgroupv2.Open(cgroupv2.Config{Root: args[0], AllowMissing: true})
	if err != nil {
		printSelf()
		return err
	}
	fmt.Println(tree.Path())
	printSelf()
	fmt.Println(tree.Missing())
	if err := tree.Close(); err != nil {
		return err
	}
	printSelf()
	return nil
}

func printSelf() {
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		fmt.Println(err)
	}
	for line := range strings.Lines(string(b)) {
		if p, ok := strings.CutPrefix(line, "0::"); ok {
			fmt.Print(p)
		}
	}
}

// openPrivate opens a tree where no cgroup2 mount is visible, and runs a job's life in it.
func openPrivate(args []string) error {
	runtime.LockOSThread()
	if err := hideMounts(); err != nil {
		return err
	}
	tree, err := cgroupv2.Open(cgroupv2.Config{Root: args[0], AllowMissing: true})
	if err != nil {
		return err
	}
	fmt.Println(tree.Path())
	if err := liveOnce(tree, "job"); err != nil {
		return err
	}
	if at, err := mountPoint(); err == nil {
		return fmt.Errorf("the mount is visible at %s", at)
	}
	return tree.Close()
}

// hideMounts gives this thread a mount namespace without any mount of cgroup2.
func hideMounts() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	for at, err := mountPoint(); err == nil; at, err = mountPoint() {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			return err
		}
	}
	return nil
}

// container lays out what a container sees, its own cgroup as the top of all that are
// visible, mounted with the flags given, and goes on there as the helper live.
func container(args []string) error {
	flags, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	runtime.LockOSThread() // exec takes this thread's namespaces along
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return err
	}
	if err := hideMounts(); err != nil {
		return err
	}
	if err := unix.Mount("cgroup", "/sys/fs/cgroup", "cgroup2", uintptr(flags), ""); err != nil {
		return err
	}
	return unix.Exec("/proc/self/exe", []string{"live"}, []string{helperEnv + "=live"})
}

// live opens a tree where none is asked for, and runs a job's life in it.
func live([]string) error {
	tree, err := cgroupv2.Open(cgroupv2.Config{})
	if err != nil {
		return err
	}
	fmt.Println(tree.Path())
	if err := liveOnce(tree, "job"); err != nil {
		return err
	}
	return tree.Close()
}

// liveOnce starts a helper in a new group, kills it and removes the group.
func liveOnce(tree *cgroupv2.Tree, id string) error {
	g, err := tree.Create(id)
	if err != nil {
		return err
	}
	dir, err := g.OpenPayload()
	if err != nil {
		return err
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{helperEnv + "=wait"}
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	if err := cmd.Start(); err != nil {
		return err
	}
	dir.Close()
	if err := g.Kill(); err != nil {
		return err
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		return fmt.Errorf("killed helper: %v", err)
	}
	if err := g.WaitEmpty(context.Background()); err != nil {
		return err
	}
	return g.Remove(context.Background())
}
