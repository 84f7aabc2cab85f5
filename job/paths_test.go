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
	for _, tt := range []struct{ name, scratch, want string }{
		{"/scratch", scratch, scratch},
		{"/scratch/a/b", scratch, scratch},
		{"/usr/../scratch/", scratch, scratch},
		{"/usr", scratch, "/usr"},
		{"//usr//lib/", scratch, "/usr/lib"},
		{"/etc/passwd", "", "/etc/passwd"},
		{"/srv/data/f", "", "/srv/data/f"},

		{"/scratch", "", ""}, // a tmpfs
		{"/scratches", scratch, ""},
		{"/usrlocal", scratch, ""},
		{"/srv", scratch, ""},
		{"/srv/data/../other", scratch, ""},
		{"/usr/../home", scratch, ""},
		{"/tmp", scratch, ""},
		{"/dev/shm", scratch, ""},
		{"/", scratch, ""},
		{"/state/jobs", scratch, ""}, // the host's name for it is not the job's
	} {
		got, err := hostPath(tt.name, tt.scratch, exposed)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%q with scratch %q: %q, %v, want %q", tt.name, tt.scratch, got, err, tt.want)
		}
		if err != nil && !strings.HasSuffix(err.Error(), "is in memory, not on a disk") {
			t.Errorf("%q: %v", tt.name, err)
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
	want := []string{"A=1", "HOME=/tmp", "LANG=", "PATH=" + defaultEnv["PATH"]}
	if got := s.environment(); !slices.Equal(got, want) {
		t.Errorf("environment %q, want %q", got, want)
	}
}
