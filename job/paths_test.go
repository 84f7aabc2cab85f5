package job

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestHostPath(t *testing.T) {
	exposed := []string{"/srv/data"}
	const scratch = "/state/jobs"
	for _, tt := range []struct {
		name  string
		tmpfs int64 // size of /scratch
		want  string
	}{
		{"/scratch", 0, scratch},
		{"/scratch/a/b", 0, scratch},
		{"/usr/../scratch/", 0, scratch},
		{"/usr", 0, "/usr"},
		{"//usr//lib/", 0, "/usr/lib"},
		{"/etc/passwd", 4096, "/etc/passwd"},
		{"/srv/data/f", 4096, "/srv/data/f"},

		{"/scratch", 4096, ""}, // a tmpfs
		{"/scratches", 0, ""},
		{"/usrlocal", 0, ""},
		{"/srv", 0, ""},
		{"/srv/data/../other", 0, ""},
		{"/usr/../home", 0, ""},
		{"/tmp", 0, ""},
		{"/dev/shm", 0, ""},
		{"/", 0, ""},
		{"/state/jobs", 0, ""}, // the host's name for it is not the job's
	} {
		s := Spec{Limits: Limits{ScratchBytes: tt.tmpfs}}
		got, err := s.hostPath(tt.name, scratch, exposed)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%q with scratch %d: %q, %v, want %q", tt.name, tt.tmpfs, got, err, tt.want)
		}
		if err != nil && !strings.HasSuffix(err.Error(), "is in memory, not on a disk") {
			t.Errorf("%q: %v", tt.name, err)
		}
	}
}

// TestHostPathElsewhere: what a job asks for of the host changes where its paths lead.
func TestHostPathElsewhere(t *testing.T) {
	host := Spec{Profile: ProfileHost}
	root := Spec{Rootfs: "/srv/root", Binds: []Bind{{Source: "/srv/data", Target: "/data"}, {Source: "/srv/other", Target: "/data/other"}}}
	binds := Spec{Binds: []Bind{{Source: "/srv/data", Target: "/usr/share"}}}
	for _, tt := range []struct {
		spec       Spec
		name, want string
	}{
		{host, "/scratch", "/scratch"},
		{host, "/home/../var", "/var"},
		{root, "/data", "/srv/data"},
		{root, "/data/a", "/srv/data/a"},
		{root, "/data/other/a", "/srv/other/a"},
		{root, "/usr/lib", "/srv/root/usr/lib"},
		{root, "/data2", "/srv/root/data2"},
		{root, "/scratch/a", "/state/jobs"},
		{root, "/tmp/a", ""},
		{root, "/", ""},
		{binds, "/usr/share/a", "/srv/data/a"},
		{binds, "/usr/lib", "/usr/lib"},
	} {
		if got, err := tt.spec.hostPath(tt.name, "/state/jobs", nil); got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%+v: %q: %q, %v, want %q", tt.spec, tt.name, got, err, tt.want)
		}
	}
}

func TestCheckExposed(t *testing.T) {
	for _, dir := range []string{"/srv", "/srv/data", "/home/a b", "/opt", "/usr/local", "/running", "/tmpx"} {
		if err := checkExposed(dir); err != nil {
			t.Error(err)
		}
	}
	for _, dir := range []string{"", ".", "srv", "/", "//", "/srv/", "/srv/../etc", "/srv/.", "//srv",
		"/proc", "/proc/1", "/sys", "/dev/shm", "/tmp", "/tmp/x", "/scratch", "/run/secrets"} {
		err := checkExposed(dir)
		if e, ok := errors.AsType[*FieldError](err); !ok || e.Field != "exposed directory" || e.Value != quote(dir) {
			t.Errorf("%q: %v, want it refused by name", dir, err)
		}
	}
}

func TestEnvironment(t *testing.T) {
	s := Spec{Env: map[string]string{"HOME": "/tmp", "A": "1", "LANG": ""}}
	want := []string{"A=1", "HOME=/tmp", "LANG=", "PATH=" + defaultPath}
	if got := s.environment("/home"); !slices.Equal(got, want) {
		t.Errorf("environment %q, want %q", got, want)
	}
}
