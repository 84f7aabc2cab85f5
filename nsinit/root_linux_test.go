package nsinit_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"jobworker/nsinit"
)

// tree returns a clone of the path for the files of fx.
func (fx *fixture) tree(path string, write bool) *os.File {
	fx.t.Helper()
	f, err := nsinit.OpenPath(path)
	must(fx.t, err)
	defer f.Close()
	tree, err := nsinit.CloneTree(f, write)
	must(fx.t, err)
	fx.t.Cleanup(func() { tree.Close() })
	return tree
}

// dir makes a directory that everyone may write to, with a file in it.
func (fx *fixture) dir(name string) string {
	fx.t.Helper()
	dir := filepath.Join(filepath.Dir(fx.scratch), name)
	must(fx.t, os.Mkdir(dir, 0o777))
	must(fx.t, os.Chmod(dir, 0o777))
	must(fx.t, os.WriteFile(filepath.Join(dir, "f"), []byte(name+"\n"), 0o644))
	return dir
}

// TestLateRoots: a root that waits for its job is what that asks for.
func TestLateRoots(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*fixture, *nsinit.Config)
		script string
		want   string
	}{
		{"default", func(*fixture, *nsinit.Config) {}, "pwd; id -un; ls /etc/passwd", "/scratch\njob\n/etc/passwd\n"},
		{"binds", func(fx *fixture, c *nsinit.Config) {
			fx.files.Binds = []*os.File{fx.tree(fx.dir("a"), false), fx.tree(fx.dir("b"), true), fx.tree(fx.dir("c")+"/f", false)}
			c.Binds = []string{"/data", "/opt/deep/b", "/etc/group"}
		}, "cat /data/f /opt/deep/b/f /etc/group; (echo x >> /data/g) 2>/dev/null || echo read-only; echo x > /opt/deep/b/g && cat /opt/deep/b/g; grep -cE ' (/data|/etc/group) [a-z0-9]+ ro,nosuid,nodev' /proc/mounts",
			"a\nb\nc\nread-only\nx\n3\n"},
		{"directory", func(fx *fixture, c *nsinit.Config) {
			fx.rootDir(c, false)
		}, "ls -d /*; cat /opt/f; (echo x >> /opt/g) 2>/dev/null || echo read-only; test -L /bin && id -un; ls /sys /home 2>&1 | grep -c 'No such'",
			"/bin\n/dev\n/etc\n/lib\n/lib64\n/opt\n/proc\n/scratch\n/tmp\n/usr\nroot/opt\nread-only\njob\n2\n"},
		{"writable directory", func(fx *fixture, c *nsinit.Config) {
			fx.rootDir(c, true)
		}, "echo x > /opt/g && cat /opt/g; (echo x > /usr/g) 2>/dev/null || echo not root", "x\nnot root\n"},
		{"host", func(fx *fixture, c *nsinit.Config) {
			c.Root, c.Dir = nsinit.RootHost, "/"
		}, "pwd; ls -d /sys/kernel /root /dev/shm; ls -A /proc/fs; ps -o comm= | grep -c nsinit; unshare -U true 2>/dev/null || echo refused; stat -c %t:%T /proc/kallsyms; grep -vc nosuid /proc/mounts; grep -c '^[^ ]* /proc proc ' /proc/mounts",
			"/\n/dev/shm\n/root\n/sys/kernel\n0\nrefused\n1:3\n0\n1\n"},
		{"user namespace", func(fx *fixture, c *nsinit.Config) {
			fx.setup.UserUID, fx.setup.UserGID = uid, uid
		}, "tr -s ' ' < /proc/self/uid_map | sed 's/^ //'; id -u; id -G; echo x > f; stat -c %u f; stat -c '%F %t:%T' /dev/null /dev/tty /dev/urandom; head -c 3 /dev/zero | wc -c; unshare -U true 2>/dev/null || echo refused; grep Cap /proc/self/status | grep -vc 0000000000000000",
			"0 0 1\n1879048192 1879048192 1\n1879048192\n1879048192\n1879048192\ncharacter special file 1:3\ncharacter special file 5:0\ncharacter special file 1:9\n3\nrefused\n0\n"},
		{"host's network", func(fx *fixture, c *nsinit.Config) { fx.setup.HostNet = true }, "readlink /proc/self/ns/net", must1(os.Readlink("/proc/self/ns/net")) + "\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fx := newFixture(t)
			fx.setup.Late = true
			c := fx.config(tt.script)
			tt.change(fx, &c)
			p, err := fx.launch(t.Context(), c)
			must(t, err)
			must(t, errors.Join(p.Wait(), p.Close()))
			if out := fx.output(); out != tt.want {
				t.Errorf("wrote\n%s\nwant\n%s", out, tt.want)
			}
		})
	}
}

func must1(s string, err error) string {
	if err != nil {
		panic(err)
	}
	return s
}

// rootDir makes a directory the root of the job, with the host's programs in it.
func (fx *fixture) rootDir(c *nsinit.Config, write bool) {
	fx.t.Helper()
	dir := fx.dir("root")
	must(fx.t, os.Remove(filepath.Join(dir, "f")))
	fx.dir("root/opt")
	for _, name := range []string{"sys", "proc", "dev", "etc", "usr"} {
		must(fx.t, os.Mkdir(filepath.Join(dir, name), 0o755))
	}
	must(fx.t, os.WriteFile(filepath.Join(dir, "etc/passwd"), nil, 0o644))
	must(fx.t, os.Symlink("/etc/group", filepath.Join(dir, "etc/group"))) // leads out, if followed
	for _, name := range []string{"bin", "lib", "lib64"} {
		must(fx.t, os.Symlink("usr/"+name, filepath.Join(dir, name)))
	}
	fx.files.Root, c.Root = fx.tree(dir, write), nsinit.RootDir
	fx.files.Binds, c.Binds = []*os.File{fx.tree("/usr", false)}, []string{"/usr"}
}
