package job_test

import (
	"os"
	"os/exec"
	"testing"

	"jobworker/job"
)

// BenchmarkStart times a job of /bin/true from Start to its verdict, beside
// bubblewrap with a like root and the same namespaces. The state directory is
// on a tmpfs, because bubblewrap keeps no records, and then on the disk of the
// temporary directory.
func BenchmarkStart(b *testing.B) {
	b.Run("bwrap", func(b *testing.B) {
		for b.Loop() {
			if out, err := exec.Command("bwrap", bwrapArgs...).CombinedOutput(); err != nil {
				b.Fatalf("bwrap: %v\n%s", err, out)
			}
		}
	})
	b.Run("state=tmpfs", func(b *testing.B) { benchmarkStart(b, tmpfsDir(b)) })
	b.Run("state=disk", func(b *testing.B) { benchmarkStart(b, b.TempDir()) })
}

var bwrapArgs = []string{"--unshare-all", "--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib",
	"--symlink", "usr/lib64", "/lib64", "--ro-bind", "/etc", "/etc", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "/bin/true"}

func benchmarkStart(b *testing.B, dir string) {
	w := openWorker(b, dir)
	for b.Loop() {
		j, _, err := w.Start(b.Context(), job.StartOptions{Owner: "bench", Spec: job.Spec{Argv: []string{"/bin/true"}}})
		if err != nil {
			b.Fatal(err)
		}
		if j, err = w.Wait(b.Context(), j.ID); err != nil || *j.Verdict.Code != 0 {
			b.Fatal(j, err)
		}
	}
}

// tmpfsDir returns a directory on the tmpfs that every Linux system has.
func tmpfsDir(tb testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "jobtest-")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
