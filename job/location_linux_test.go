package job

import (
	"os"
	"path/filepath"
	"testing"
)

func TestFindMount(t *testing.T) {
	mounts := captured(t, "mountinfo")
	for _, tt := range []struct {
		id   string
		want hostMount
	}{
		{"1087", hostMount{"259:2", "/usr", "/usr"}},
		{"1094", hostMount{"0:80", "/a b", "/data one"}},
		{"1096", hostMount{"0:82", "/", "/mnt"}},
	} {
		if got, err := findMount(mounts, tt.id); err != nil || got != tt.want {
			t.Errorf("mount %s: %+v, %v, want %+v", tt.id, got, err, tt.want)
		}
	}
	for _, id := range []string{"", "1", "108", "10870", "/usr"} {
		if got, err := findMount(mounts, id); err == nil {
			t.Errorf("mount %q: %+v", id, got)
		}
	}
}

// FuzzFindMount: only a mount with the id is found, and its paths are unescaped.
func FuzzFindMount(f *testing.F) {
	f.Add(captured(f, "mountinfo"), "1094")
	f.Fuzz(func(t *testing.T, s, id string) {
		if m, err := findMount(s, id); err == nil && (id == "" || m.point == "") {
			t.Errorf("%q in %q: %+v", id, s, m)
		}
	})
}

// TestLocate: two names of one file are one place, and what is in a directory is below
// its place.
func TestLocate(t *testing.T) {
	dir := t.TempDir()
	real, link := filepath.Join(dir, "a b"), filepath.Join(dir, "link")
	for _, err := range []error{os.Mkdir(real, 0o755), os.Symlink(real, link), os.WriteFile(real+"/f", nil, 0o644)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	at, err := locatePath(real)
	if err != nil {
		t.Fatal(err)
	}
	if other, err := locatePath(link); err != nil || other != at {
		t.Errorf("by a link: %+v, %v, want %+v", other, err, at)
	}
	if f, err := locatePath(link + "/f"); err != nil || f.fs != at.fs || f.path != at.path+"/f" {
		t.Errorf("in it: %+v, %v, want it in %+v", f, err, at)
	}
	if _, err := locatePath(dir + "/none"); !os.IsNotExist(err) {
		t.Errorf("of nothing: %v", err)
	}
}
