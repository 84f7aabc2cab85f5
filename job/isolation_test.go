package job_test

import (
	"slices"
	"strings"
	"testing"

	"jobworker/job"
)

// onHost is a spec with the profile "host".
func onHost(change func(*job.Spec)) job.Spec {
	return spec(func(s *job.Spec) { s.Profile, s.User = "host", "daemon"; change(s) })
}

// bound is a spec with binds, of a source and a target each.
func bound(paths ...string) job.Spec {
	return spec(func(s *job.Spec) {
		for p := range slices.Chunk(paths, 2) {
			s.Binds = append(s.Binds, job.Bind{Source: p[0], Target: p[1]})
		}
	})
}

func TestValidateIsolation(t *testing.T) {
	checkRefused(t, []refused{
		{spec(func(s *job.Spec) { s.Net = "bridge" }), `net: "bridge": must be "none" or "host"`},
		{spec(func(s *job.Spec) { s.Profile = "Sandbox" }), `profile: "Sandbox": must be "sandbox" or "host"`},
		{spec(func(s *job.Spec) { s.Profile = "host" }), `user: is missing: profile "host" needs one`},
		{onHost(func(s *job.Spec) { s.Rootfs = "/srv" }), `rootfs: "/srv": goes with profile "sandbox" only`},
		{onHost(func(s *job.Spec) { s.Binds = []job.Bind{{Source: "/srv", Target: "/data"}} }), `binds: "/srv": goes with profile "sandbox" only`},
		{onHost(func(s *job.Spec) { s.Userns = true }), `userns: true: goes with profile "sandbox" only`},
		{onHost(func(s *job.Spec) { s.Limits.ScratchBytes = 4096 }), `limits.scratch_bytes: 4096: goes with profile "sandbox" only`},
		{spec(func(s *job.Spec) { s.User = "root" }), `user: "root": no job runs as root`},
		{spec(func(s *job.Spec) { s.User = "0" }), `user: "0": no job runs as root`},
		{spec(func(s *job.Spec) { s.User = "00" }), `user: "00": is no user id`},
		{spec(func(s *job.Spec) { s.User = "033" }), `user: "033": is no user id`},
		{spec(func(s *job.Spec) { s.User = "4294967295" }), `user: "4294967295": is no user id`},
		{spec(func(s *job.Spec) { s.User = "4294967296" }), `user: "4294967296": is no user id`},
		{spec(func(s *job.Spec) { s.User = "a:b" }), `user: "a:b": must be a name`},
		{spec(func(s *job.Spec) { s.User = "*" }), `user: "*": must be a name`},
		{spec(func(s *job.Spec) { s.User = "a\n" }), `user: "a\n": must be a name`},
		{spec(func(s *job.Spec) { s.User = strings.Repeat("u", 65) }), `user: "uuu`},
		{spec(func(s *job.Spec) { s.Rootfs = "srv" }), `rootfs: "srv": must be an absolute path`},
		{spec(func(s *job.Spec) { s.Rootfs = "/srv/" }), `rootfs: "/srv/": must be an absolute path without`},
		{spec(func(s *job.Spec) { s.Rootfs = "/srv/../etc" }), `rootfs: "/srv/../etc": must be an absolute path without`},
		{spec(func(s *job.Spec) { s.Rootfs = "/\x00" }), `rootfs: "/\x00": contains a NUL byte`},
		{bound("", "/data"), `binds[0].source: "": must be an absolute path`},
		{bound("//srv", "/data"), `binds[0].source: "//srv": must be an absolute path`},
		{bound("/srv", "data"), `binds[0].target: "data": must be an absolute path`},
		{bound("/srv", "/data/."), `binds[0].target: "/data/.": must be an absolute path`},
		{bound("/srv", "/"), `binds[0].target: "/": would cover what jobs have of their own, or not have: /proc`},
		{bound("/srv", "/proc"), `binds[0].target: "/proc": would cover`},
		{bound("/srv", "/proc/self"), `binds[0].target: "/proc/self": would cover`},
		{bound("/srv", "/dev/null"), `binds[0].target: "/dev/null": would cover`},
		{bound("/srv", "/sys"), `binds[0].target: "/sys": would cover`},
		{bound("/srv", "/tmp/x"), `binds[0].target: "/tmp/x": would cover`},
		{bound("/srv", "/scratch"), `binds[0].target: "/scratch": would cover`},
		{bound("/srv", "/run/x"), `binds[0].target: "/run/x": would cover`},
		{bound("/a", "/data", "/b", "/data"), `binds[1].target: "/data": is given twice`},
		{bound(slices.Repeat([]string{"/a", "/data"}, 33)...), "binds: 33: more than 32"},
	})
}
