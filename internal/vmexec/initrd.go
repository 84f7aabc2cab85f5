//go:build linux

package main

import (
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// programFile is where the guest finds what to run.
const programFile = "/vmexec.json"

// A program is what the host asks the guest to run. It travels as programFile.
type program struct {
	Args []string // Args[0] is the path of the program in the guest
	Dir  string   // working directory, the same path as on the host
	Env  []string // the whole environment

	Systemd bool // systemd is init, and runs this program in a service
}

// binDir is where the program lies in the guest: below /usr, so that a job
// that sees the host's /usr can run it too.
const binDir = "/usr/local/bin"

// forwarded are the variables a test binary gets from the host when set there.
var forwarded = []string{"GORACE", "GODEBUG", "GOTRACEBACK", "GOMAXPROCS", "CRASHES"}

// guestDirs are the empty directories of the guest. The rest of the tree comes
// with the files.
var guestDirs = []struct {
	name string
	perm os.FileMode
}{
	{"/dev", 0o755},
	{"/disk", 0o755},
	{"/home/user", 0o755},
	{"/mnt", 0o755},
	{"/proc", 0o555},
	{"/root", 0o700},
	{"/run", 0o755},
	{"/sys", 0o555},
	{"/tmp", 0o777 | os.ModeSticky},
	{"/usr/bin", 0o755},
	{"/usr/lib", 0o755},
	{"/usr/lib64", 0o755},
	{"/usr/sbin", 0o755},
	{"/var/lib", 0o755},
	{"/var/tmp", 0o777 | os.ModeSticky},
}

// guestLinks make the merged /usr of today's distributions.
var guestLinks = []struct{ name, target string }{
	{"/bin", "usr/bin"},
	{"/lib", "usr/lib"},
	{"/lib64", "usr/lib64"},
	{"/sbin", "usr/sbin"},
}

var guestFiles = []struct {
	name string
	perm os.FileMode
	data string
}{
	{"/etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"},
	{"/etc/group", 0o644, "root:x:0:\ntty:x:5:\nuser:x:1000:\nnogroup:x:65534:\n"},
	{"/etc/shadow", 0o600, "root:!:20000::::::\n"},
	{"/etc/hosts", 0o644, "127.0.0.1 localhost\n::1 localhost\n"},
	{"/etc/hostname", 0o644, hostname + "\n"},
}

// newProgram returns what runs args[0], a path of the host, in the guest.
func newProgram(args []string, systemd bool) (program, error) {
	dir, err := os.Getwd()
	if err != nil {
		return program{}, err
	}
	place := "vm"
	if systemd {
		place = "systemd"
	}
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "LANG=C.UTF-8", "KERNELTEST=" + place,
	}
	for _, name := range forwarded {
		if v, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	bin := path.Join(binDir, filepath.Base(args[0]))
	return program{Args: append([]string{bin}, args[1:]...), Dir: dir, Env: env, Systemd: systemd}, nil
}

// writeInitrd writes the guest's whole root to w: this program as /init, the
// program to run, its package's testdata, busybox, the files and the system of m.
func (m *machine) writeInitrd(w io.Writer, p program, bin string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	c := newCPIO(w)
	for _, d := range guestDirs {
		c.dir(d.name, d.perm)
	}
	for _, l := range guestLinks {
		c.symlink(l.name, l.target)
	}
	for _, f := range guestFiles {
		c.file(f.name, f.perm, f.data)
	}
	c.file(programFile, 0o600, string(b))
	c.copy("/init", self)
	c.copy(p.Args[0], bin)
	c.copy("/usr/bin/busybox", m.busybox)
	for _, f := range m.files {
		addFile(c, p.Dir, f)
	}
	c.dir(p.Dir, 0o755)
	if p.Systemd {
		err = addSystem(c, m.system)
	}
	return errors.Join(err, addTree(c, filepath.Join(p.Dir, "testdata")), c.close())
}

// addFile adds one -file argument; relative paths are relative to dir.
func addFile(c *cpio, dir, arg string) {
	from, to, ok := strings.Cut(arg, ":")
	if !ok {
		to = from
	}
	if !path.IsAbs(to) {
		to = path.Join(dir, to)
	}
	c.copy(path.Clean(to), from)
}

// addTree adds the directory root, which need not be there, under its own path.
func addTree(c *cpio, root string) error {
	return filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && p == root:
			return nil
		case err != nil:
			return err
		case d.IsDir():
			c.dir(p, 0o755)
		case d.Type().IsRegular():
			c.copy(p, p)
		}
		return nil
	})
}

// addSystem adds the unpacked packages below root, but for what only people
// read. They may have been made before /usr was merged: see guestLinks.
func addSystem(c *cpio, root string) error {
	return filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := inGuest(strings.TrimPrefix(p, root))
		switch {
		case name == "/usr/share":
			return fs.SkipDir
		case d.IsDir():
			c.dir(name, 0o755)
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			c.symlink(name, target)
		case d.Type().IsRegular():
			c.copy(name, p)
		}
		return nil
	})
}

// inGuest returns where a file of a package lies in the guest.
func inGuest(name string) string {
	for _, l := range guestLinks {
		if rest, ok := strings.CutPrefix(name, l.name); ok && (rest == "" || rest[0] == '/') {
			return "/" + l.target + rest
		}
	}
	return path.Join("/", name)
}

// checkStatic refuses a program that needs a dynamic linker: the guest has no
// C library, and exec would only say "no such file or directory".
func checkStatic(bin string) error {
	f, err := elf.Open(bin)
	if err != nil {
		return fmt.Errorf("%s: %w", bin, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s: dynamically linked: build it with CGO_ENABLED=0, or with -race and "+
				"-tags netgo,osusergo -ldflags '-linkmode external -extldflags -static'", bin)
		}
	}
	return nil
}
