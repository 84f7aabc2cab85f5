package cgroupv2

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakeSysfs lays out what /sys shows of an NVMe disk with a partition, and of a device
// mapper.
func fakeSysfs(t *testing.T) string {
	t.Helper()
	sys := t.TempDir()
	for name, content := range map[string]string{
		"devices/pci0000:00/nvme/nvme0/nvme0n1/dev":                 "259:0\n",
		"devices/pci0000:00/nvme/nvme0/nvme0n1/nvme0n1p1/dev":       "259:1\n",
		"devices/pci0000:00/nvme/nvme0/nvme0n1/nvme0n1p1/partition": "1\n",
		"devices/virtual/block/dm-0/dev":                            "253:0\n",
		"devices/odd/oddp1/dev":                                     "8:1\n",
		"devices/odd/oddp1/partition":                               "1\n",
		"devices/odd/dev":                                           "nonsense\n",
	} {
		file := filepath.Join(sys, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(sys, "dev/block"), 0o755); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{
		"259:0": "pci0000:00/nvme/nvme0/nvme0n1",
		"259:1": "pci0000:00/nvme/nvme0/nvme0n1/nvme0n1p1",
		"253:0": "virtual/block/dm-0",
		"8:1":   "odd/oddp1",
	} {
		if err := os.Symlink("../../devices/"+target, filepath.Join(sys, "dev/block", link)); err != nil {
			t.Fatal(err)
		}
	}
	return sys
}

func TestDisk(t *testing.T) {
	sys := fakeSysfs(t)
	for _, c := range []struct {
		major, minor         uint32
		wantMajor, wantMinor uint32
		err                  string
	}{
		{259, 0, 259, 0, ""},
		{259, 1, 259, 0, ""},
		{253, 0, 253, 0, ""},
		{259, 7, 0, 0, "disk: 259:7: no such block device"},
		{8, 1, 0, 0, "nonsense"},
	} {
		a, b, err := disk(sys, c.major, c.minor)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%d:%d: %v, want %q", c.major, c.minor, err, c.err)
			}
			continue
		}
		if err != nil || a != c.wantMajor || b != c.wantMinor {
			t.Errorf("%d:%d: %d:%d, %v, want %d:%d", c.major, c.minor, a, b, err, c.wantMajor, c.wantMinor)
		}
	}
}

// TestDiskOfRefuses: /proc has no disk on any machine.
func TestDiskOfRefuses(t *testing.T) {
	for path, want := range map[string]string{
		"/proc":             "disk of path: /proc: is on proc",
		"/not-there/at-all": "disk of path: /not-there/at-all: no such file",
	} {
		if a, b, err := DiskOf(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("DiskOf(%s) = %d:%d, %v, want %q", path, a, b, err, want)
		}
	}
}
