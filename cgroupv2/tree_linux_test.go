package cgroupv2_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"jobworker/cgroupv2"
	"jobworker/internal/kerneltest"

	"golang.org/x/sys/unix"
)

// lineReader reads the output of a helper.
type lineReader struct {
	t *testing.T
	b *bufio.Reader
}

func newLineReader(t *testing.T, r io.Reader) *lineReader { return &lineReader{t, bufio.NewReader(r)} }

// next returns the next line.
func (r *lineReader) next() string {
	r.t.Helper()
	s, err := r.b.ReadString('\n')
	if err != nil {
		r.t.Fatalf("helper said %q: %v", s, err)
	}
	return strings.TrimSpace(s)
}

// rest returns what is left at the helper's end.
func (r *lineReader) rest() string {
	b, err := io.ReadAll(r.b)
	if err != nil {
		r.t.Error(err)
	}
	return string(b)
}

func TestOpenRefusesPlace(t *testing.T) {
	kerneltest.Root(t)
	mount, err := mountPoint()
	if err != nil {
		t.Fatal(err)
	}
	tmp, none := t.TempDir(), filepath.Join(mount, testName("none"))
	const outside = "is not below a cgroup2 mount"
	for root, want := range map[string]string{
		tmp:                     tmp + ": " + outside,
		tmp + "/not-there":      tmp + "/not-there: " + outside,
		"/":                     "/: " + outside,
		"/not-there/at-all":     "/not-there: no such file or directory",
		none + "/below":         none + ": no such file or directory",
		testName("none") + "/x": none + "/x: no such file or directory",
		"../outside":            `"../outside": is not below the cgroup2 mount`,
		".":                     `".": is not below the cgroup2 mount`,
	} {
		tree, err := cgroupv2.Open(cgroupv2.Config{Root: root, AllowMissing: true})
		if err == nil {
			t.Errorf("Open(%q): opened %s", root, tree.Path())
			tree.Close()
		} else if !strings.HasPrefix(err.Error(), "open cgroup tree: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("Open(%q): %v, want %q", root, err, want)
		}
	}
}

// TestOpenMissing: below a cgroup that hands nothing down, every controller is missing,
// and the error says where it is.
func TestOpenMissing(t *testing.T) {
	kerneltest.Root(t)
	dir := sandbox(t)
	root := filepath.Join(dir, "root")
	_, err := cgroupv2.Open(cgroupv2.Config{Root: root})
	var missing *cgroupv2.MissingError
	if !errors.As(err, &missing) {
		t.Fatalf("Open: %v, want a MissingError", err)
	}
	if _, err := os.Stat(root); !os.IsNotExist(err) {
		t.Errorf("%s is left behind (%v)", root, err)
	}
	var names []cgroupv2.Controller
	for _, m := range missing.Missing {
		names = append(names, m.Controller)
		if want := wantReason(t, m.Controller, dir); m.Reason != want {
			t.Errorf("%s: reason %q, want %q", m.Controller, m.Reason, want)
		}
		if !strings.Contains(err.Error(), "("+m.Reason+")") || !strings.Contains(err.Error(), string(m.Controller)) || m.Fix == "" || !strings.Contains(err.Error(), m.Fix) {
			t.Errorf("%q: lacks %q or %q", err, m, m.Fix)
		}
	}
	if !slices.Equal(names, cgroupv2.Controllers()) {
		t.Errorf("missing: %v, want all", names)
	}
}

// wantReason finds out by other means why a controller is not in a cgroup that hands
// nothing down.
func wantReason(t *testing.T, c cgroupv2.Controller, dir string) string {
	top, err := os.ReadFile(filepath.Join(filepath.Dir(dir), "cgroup.controllers"))
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if slices.Contains(strings.Fields(string(top)), string(c)) {
		handed, err := os.ReadFile(filepath.Join(filepath.Dir(dir), "cgroup.subtree_control"))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(strings.Fields(string(handed)), string(c)) {
			dir = filepath.Dir(dir)
		}
		return "not delegated: not in " + filepath.Join(dir, "cgroup.subtree_control")
	}
	v1 := map[cgroupv2.Controller]string{"cpu": "cpu", "memory": "memory", "io": "blkio", "pids": "pids"}[c]
	for line := range strings.Lines(string(mounts)) {
		if _, fsys, _ := strings.Cut(line, " - "); strings.HasPrefix(fsys, "cgroup ") && slices.Contains(strings.Split(strings.TrimSpace(fsys), ","), v1) {
			return "bound to cgroup v1 at " + strings.Fields(line)[4]
		}
	}
	return "not built into the kernel"
}

// TestOpenPartial: what a parent hands down can be used, what it does not is refused.
func TestOpenPartial(t *testing.T) {
	kerneltest.VM(t)
	dir := sandbox(t, "memory", "pids")
	tree := openTest(t, cgroupv2.Config{Root: filepath.Join(dir, "root"), AllowMissing: true})
	for c, want := range map[cgroupv2.Controller]bool{"cpu": false, "memory": true, "io": false, "pids": true} {
		if got := tree.Has(c); got != want {
			t.Errorf("Has(%s) = %t, want %t", c, got, want)
		}
	}
	g := create(t, tree, "job")
	if err := g.SetLimits(cgroupv2.Limits{MemoryBytes: 64 << 20, Pids: 20}); err != nil {
		t.Error(err)
	}
	for _, l := range []cgroupv2.Limits{
		{CPUs: 0.5, Pids: 10},
		{CPUWeight: 50, Pids: 10},
		{IO: []cgroupv2.IOLimit{{Major: 259, ReadBPS: 2}}, Pids: 10},
	} {
		var refused *cgroupv2.LimitError
		err := g.SetLimits(l)
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), "not in "+dir+"/cgroup.subtree_control") {
			t.Errorf("SetLimits(%+v): %v, want a LimitError that names %s", l, err, dir)
		}
	}
	if _, _, err := g.CPUMax(cgroupv2.Limits{CPUs: 1}); err == nil {
		t.Error("CPUMax without the controller: no error")
	}
	l, err := g.Limits()
	if want := (cgroupv2.Limits{MemoryBytes: 64 << 20, Pids: 20}); err != nil || fmt.Sprint(l) != fmt.Sprint(want) {
		t.Errorf("Limits: %+v, %v, want %+v: a refused call changed something", l, err, want)
	}
	u, err := g.Usage()
	if err != nil || u.ThrottledSeconds != nil || u.IO != nil || u.MemoryBytes == nil || u.Pids == nil {
		t.Errorf("Usage: %+v, %v", u, err)
	}
}

// TestOpenBusy: another process in the root keeps it from handing controllers down.
func TestOpenBusy(t *testing.T) {
	kerneltest.VM(t)
	dir := sandbox(t, "cpu", "memory", "io", "pids")
	root := filepath.Join(dir, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after that of the helpers, which waits for their end
		if err := os.Remove(root); err != nil {
			t.Error(err)
		}
	})
	p := inDir(t, root, "wait")
	p.lines.next()
	_, err := cgroupv2.Open(cgroupv2.Config{Root: root})
	want := fmt.Sprintf("cpu memory io pids (not enabled in %s/cgroup.subtree_control: only leaves may hold processes, and in it are processes %d)", root, p.Process.Pid)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Open: %v, want %q", err, want)
	}
	// It was left as it was: a process can still be started beside the first.
	inDir(t, root, "wait").lines.next()
}

// TestOpenThreaded: no job can be below a threaded cgroup.
func TestOpenThreaded(t *testing.T) {
	kerneltest.Root(t)
	dir := sandbox(t)
	put(t, filepath.Join(dir, "cgroup.type"), "threaded")
	_, err := cgroupv2.Open(cgroupv2.Config{Root: dir, AllowMissing: true})
	if err == nil || !strings.Contains(err.Error(), `cgroup.type: "threaded"`) {
		t.Errorf("Open: %v", err)
	}
}

// TestOpenInRoot: a process that sits in the root makes room for the jobs, and goes back.
func TestOpenInRoot(t *testing.T) {
	kerneltest.Root(t)
	dir := sandbox(t)
	p := inDir(t, dir, "open", dir)
	base := "/" + filepath.Base(dir)
	for _, want := range []string{dir, base + "/supervisor"} {
		if got := p.lines.next(); got != want {
			t.Errorf("helper says %q, want %q", got, want)
		}
	}
	p.lines.next()
	if got := p.lines.next(); got != base {
		t.Errorf("after Close the helper is in %q, want %q", got, base)
	}
	p.succeed(t)
	for _, name := range []string{"supervisor", "jobs"} {
		if _, err := os.Stat(filepath.Join(dir, name)); !os.IsNotExist(err) {
			t.Errorf("%s is left in the root (%v)", name, err)
		}
	}
}

// TestOpenInRootControllers: the same where there are controllers to hand down.
func TestOpenInRootControllers(t *testing.T) {
	kerneltest.VM(t)
	dir := sandbox(t)
	put(t, filepath.Join(filepath.Dir(dir), "cgroup.subtree_control"), "+cpu +memory +io +pids")
	p := inDir(t, dir, "open", dir)
	base := "/" + filepath.Base(dir)
	for _, want := range []string{dir, base + "/supervisor", "[]", base} {
		if got := p.lines.next(); got != want {
			t.Errorf("helper says %q, want %q", got, want)
		}
	}
	p.succeed(t)
}

// TestOpenUndoes: a process that made room for nothing goes back.
func TestOpenUndoes(t *testing.T) {
	kerneltest.Root(t)
	dir := sandbox(t)
	put(t, filepath.Join(dir, "cgroup.max.descendants"), "1")
	p := inDir(t, dir, "open", dir)
	if got, want := p.lines.next(), "/"+filepath.Base(dir); got != want {
		t.Errorf("the helper is in %q, want %q", got, want)
	}
	if got, want := p.lines.next(), "make cgroup: "+dir+"/jobs: cgroup.max.descendants"; !strings.Contains(got, want) {
		t.Errorf("the helper says %q, want %q", got, want)
	}
	if _, err := os.Stat(filepath.Join(dir, "supervisor")); !os.IsNotExist(err) {
		t.Errorf("supervisor is left (%v)", err)
	}
}

// TestOpenDelegated: the root is the cgroup that systemd marked, seen from there and from
// its supervisor/, and from nowhere else.
func TestOpenDelegated(t *testing.T) {
	kerneltest.Root(t)
	for _, name := range []string{"trusted.delegate", "user.delegate"} {
		t.Run(name, func(t *testing.T) {
			dir := sandbox(t)
			if err := unix.Setxattr(dir, name, []byte("1"), 0); err != nil {
				t.Fatal(err)
			}
			p := inDir(t, dir, "open", "")
			if got := p.lines.next(); got != dir {
				t.Errorf("from the unit: root %q, want %q", got, dir)
			}
			p.succeed(t)
			below := filepath.Join(dir, "supervisor")
			if err := os.Mkdir(below, 0o755); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.Remove(below) }) // the sandbox's own removal fails if this did
			p = inDir(t, below, "open", "")
			if got := p.lines.next(); got != dir {
				t.Errorf("from supervisor/: root %q, want %q", got, dir)
			}
			p.succeed(t)
		})
	}
}

// TestOpenDefault: without delegation the root has its own name below the mount.
func TestOpenDefault(t *testing.T) {
	kerneltest.VM(t)
	tree := openTest(t, cgroupv2.Config{})
	if want := "/sys/fs/cgroup/jobworker"; tree.Path() != want {
		t.Errorf("Path = %q, want %q", tree.Path(), want)
	}
	if m := tree.Missing(); len(m) != 0 {
		t.Errorf("Missing = %v", m)
	}
}

// TestOpenPrivateMount: a process that sees no cgroup2 mount makes one that nobody sees.
func TestOpenPrivateMount(t *testing.T) {
	kerneltest.Root(t)
	dir := sandbox(t)
	before := cgroup2Mounts(t)
	p := inDir(t, dir, "private", testName("private"))
	if got := p.lines.next(); !strings.HasPrefix(got, "/proc/self/fd/") {
		t.Errorf("Path = %q, want it below /proc/self/fd", got)
	}
	p.succeed(t)
	if after := cgroup2Mounts(t); after != before {
		t.Errorf("the host's mounts were\n%s\nand are\n%s", before, after)
	}
}

// TestOpenInContainer: a process alone in the cgroup that is all it sees works in it, with
// all controllers, and leaves it as it was. What it sees is read-only where the container
// is not privileged.
func TestOpenInContainer(t *testing.T) {
	kerneltest.VM(t)
	for _, tt := range []struct {
		name  string
		flags int
		want  string
	}{
		{"writable", 0, "^/sys/fs/cgroup$"},
		{"read-only", unix.MS_RDONLY, "^/proc/self/fd/[0-9]+$"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(sandbox(t, "cpu", "memory", "io", "pids"), "container")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := os.Remove(dir); err != nil {
					t.Error(err)
				}
			})
			p := inDir(t, dir, "container", strconv.Itoa(tt.flags))
			if got := p.lines.next(); !regexp.MustCompile(tt.want).MatchString(got) {
				t.Errorf("Path = %q, want %s", got, tt.want)
			}
			p.succeed(t)
		})
	}
}

// cgroup2Mounts returns the lines of mountinfo for cgroup2, which show the options of the
// whole hierarchy, such as nsdelegate.
func cgroup2Mounts(t *testing.T) (lines string) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, " - cgroup2 ") {
			lines += line
		}
	}
	return lines
}

// TestCloseKeepsJobs: closing is not removing.
func TestCloseKeepsJobs(t *testing.T) {
	kerneltest.Root(t)
	cfg := cgroupv2.Config{Root: testName("keep"), AllowMissing: true}
	first, err := cgroupv2.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Create("kept"); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	second, err := cgroupv2.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	g, err := second.Group("kept")
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Remove(t.Context()); err != nil {
		t.Error(err)
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	// What the first made, the second found: it is not its to remove.
	for _, dir := range []string{filepath.Join(second.Path(), "jobs"), second.Path()} {
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	}
}

func TestCreate(t *testing.T) {
	tree := anyTree(t)
	g := create(t, tree, "one")
	create(t, tree, "two_2-B")
	if want := filepath.Join(tree.Path(), "jobs", "one"); g.Path() != want {
		t.Errorf("Path = %q, want %q", g.Path(), want)
	}
	for _, name := range []string{"", "init", "payload"} {
		if info, err := os.Stat(filepath.Join(g.Path(), name)); err != nil || !info.IsDir() {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := tree.Create("one"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Create again: %v, want fs.ErrExist", err)
	}
	if _, err := tree.Group("one"); err != nil {
		t.Error(err)
	}
	if _, err := tree.Group("three"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Group of none: %v, want fs.ErrNotExist", err)
	}
	ids, err := tree.Groups()
	slices.Sort(ids)
	if err != nil || !slices.Equal(ids, []string{"one", "two_2-B"}) {
		t.Errorf("Groups = %q, %v", ids, err)
	}
}

func TestBadID(t *testing.T) {
	tree := anyTree(t)
	for _, id := range []string{"", ".", "..", "a/b", "/", "cgroup.procs", "a\x00b", "ä", "a b", strings.Repeat("x", 129)} {
		if _, err := tree.Create(id); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", id)) {
			t.Errorf("Create(%q): %v, want an error that names it", id, err)
		}
		if _, err := tree.Group(id); err == nil {
			t.Errorf("Group(%q): no error", id)
		}
	}
}

// TestCreateUndoes: a group that cannot be made whole is not made at all.
func TestCreateUndoes(t *testing.T) {
	tree := anyTree(t)
	for limit := 1; limit <= 3; limit++ { // jobs/ is the first of them
		put(t, filepath.Join(tree.Path(), "cgroup.max.descendants"), fmt.Sprint(limit))
		_, err := tree.Create("job")
		if !errors.Is(err, unix.EAGAIN) || !strings.Contains(err.Error(), "cgroup.max.descendants") {
			t.Errorf("%d cgroups allowed: Create: %v", limit, err)
		}
		if ids, err := tree.Groups(); err != nil || len(ids) != 0 {
			t.Errorf("%d cgroups allowed: left behind: %q, %v", limit, ids, err)
		}
	}
	put(t, filepath.Join(tree.Path(), "cgroup.max.descendants"), "4")
	create(t, tree, "job")
}
