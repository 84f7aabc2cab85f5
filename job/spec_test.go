package job_test

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"jobworker/job"
)

// duration makes the pointer that a Spec wants.
func duration(d time.Duration) *job.Duration { return (*job.Duration)(&d) }

// spec returns a valid Spec after a change.
func spec(change func(*job.Spec)) job.Spec {
	s := job.Spec{Argv: []string{"true"}}
	change(&s)
	return s
}

// limited returns a valid Spec with limits.
func limited(l job.Limits) job.Spec { return spec(func(s *job.Spec) { s.Limits = l }) }

// onDisk returns a valid Spec with one limit of disk bandwidth.
func onDisk(l job.IOLimit) job.Spec { return limited(job.Limits{IO: []job.IOLimit{l}}) }

func TestValidate(t *testing.T) {
	const arg = 128<<10 - 1
	for name, s := range map[string]job.Spec{
		"argv alone":        spec(func(*job.Spec) {}),
		"empty argument":    spec(func(s *job.Spec) { s.Argv = []string{"a", ""} }),
		"longest argument":  spec(func(s *job.Spec) { s.Argv = []string{"a", strings.Repeat("x", arg)} }),
		"environment":       spec(func(s *job.Spec) { s.Env = map[string]string{"a": "", "A": "=ä\n", "a b": "x"} }),
		"longest variable":  spec(func(s *job.Spec) { s.Env = map[string]string{"k": strings.Repeat("x", arg-2)} }),
		"directory":         spec(func(s *job.Spec) { s.Dir = "/a b/../c" }),
		"name":              spec(func(s *job.Spec) { s.Name = "A" + strings.Repeat(".", 62) }),
		"labels":            spec(func(s *job.Spec) { s.Labels = map[string]string{"a.b/c_d-e": "ä x", "empty": ""} }),
		"longest timeout":   spec(func(s *job.Spec) { s.Timeout = job.Duration(87600 * time.Hour) }),
		"no grace":          spec(func(s *job.Spec) { s.Grace = duration(0) }),
		"longest grace":     spec(func(s *job.Spec) { s.Grace = duration(24 * time.Hour) }),
		"stop signal":       spec(func(s *job.Spec) { s.StopSignal = "SIGRTMIN+30" }),
		"isolation spelled": spec(func(s *job.Spec) { s.Net, s.Profile = "none", "sandbox" }),
		"isolation changed": spec(func(s *job.Spec) {
			s.Net, s.User, s.Rootfs, s.Userns = "host", "www-data", "/srv/roots/a b", true
		}),
		"user by number":   spec(func(s *job.Spec) { s.User = "4294967294" }),
		"on the host":      onHost(func(s *job.Spec) { s.Net = "none" }),
		"binds":            bound("/srv", "/data", "/srv/b", "/data/b", "/usr/share", "/usr/share", "/a", "/processes"),
		"least limits":     limited(job.Limits{CPUs: 0.01, CPUWeight: 1, MemoryBytes: 1 << 20, Pids: 1, ScratchBytes: 4 << 10, OutputBytes: 1 << 20}),
		"keep the newest":  limited(job.Limits{OutputFull: job.KeepNewest}),
		"a disk by path":   onDisk(job.IOLimit{Path: "/scratch", ReadBPS: 2}),
		"a disk by number": onDisk(job.IOLimit{Device: "259:1048575", WriteIOPS: math.MaxInt64}),
	} {
		if err := s.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestValidateErrors: the message names the field, the value and what is wrong.
func TestValidateErrors(t *testing.T) {
	const arg = 128 << 10
	long := strings.Repeat("x", arg)
	many := make(map[string]string)
	for i := range 65 {
		many["l"+strings.Repeat("x", i%60)+string(rune('a'+i/60))] = ""
	}
	twice := []job.IOLimit{{Device: "8:0", ReadBPS: 5}, {Path: "/", ReadBPS: 5}, {Device: "8:0", WriteBPS: 5}}
	checkRefused(t, []refused{
		{job.Spec{}, "argv: is missing"},
		{job.Spec{Argv: []string{""}}, `argv[0]: "": the program's name is empty`},
		{job.Spec{Argv: []string{"a", "b\x00c"}}, `argv[1]: "b\x00c": contains a NUL`},
		{job.Spec{Argv: []string{"a", "b\xff"}}, `argv[1]: "b\xff": is not valid UTF-8`},
		{job.Spec{Argv: []string{"a", long}}, `argv[1]: "` + long[:64] + `…": is longer than 131071 bytes`},
		{job.Spec{Argv: []string{"a", long[1:], long[1:], long[1:], long[1:], long[1:], long[1:], long[1:], long[1:]}}, "argv: 1048578: arguments and environment are"},
		{spec(func(s *job.Spec) { s.Env = map[string]string{"": "x"} }), `env: "": a variable's name`},
		{spec(func(s *job.Spec) { s.Env = map[string]string{"a=b": "x"} }), `env: "a=b": a variable's name`},
		{spec(func(s *job.Spec) { s.Env = map[string]string{"a\x00": "x"} }), `env: "a\x00": a variable's name`},
		{spec(func(s *job.Spec) { s.Env = map[string]string{"A": "\x00"} }), `env.A: "\x00": contains a NUL`},
		{spec(func(s *job.Spec) { s.Env = map[string]string{"A": long[2:]} }), `env.A: "` + long[:64] + `…": is longer than`},
		{spec(func(s *job.Spec) { s.Dir = "tmp" }), `dir: "tmp": must be an absolute path`},
		{spec(func(s *job.Spec) { s.Dir = "/\x00" }), `dir: "/\x00": contains a NUL`},
		{spec(func(s *job.Spec) { s.Name = "-a" }), `name: "-a": use up to 63`},
		{spec(func(s *job.Spec) { s.Name = "a\n" }), `name: "a\n": use up to 63`},
		{spec(func(s *job.Spec) { s.Name = strings.Repeat("n", 64) }), `name: "` + strings.Repeat("n", 64) + `": use up to 63`},
		{spec(func(s *job.Spec) { s.Labels = many }), "labels: 65: more than 64"},
		{spec(func(s *job.Spec) { s.Labels = map[string]string{"a b": ""} }), `labels: "a b": a label's name`},
		{spec(func(s *job.Spec) { s.Labels = map[string]string{"k": "\x1b[2J"} }), `labels.k: "\x1b[2J": use up to 256`},
		{spec(func(s *job.Spec) { s.Timeout = -1 }), "timeout: -1ns: must not be negative"},
		{spec(func(s *job.Spec) { s.Timeout = math.MaxInt64 }), "timeout: 2562047h47m16.854775807s: must not be"},
		{spec(func(s *job.Spec) { s.Grace = duration(-time.Second) }), "grace: -1s: must be from 0s"},
		{spec(func(s *job.Spec) { s.Grace = duration(25 * time.Hour) }), "grace: 25h0m0s: must be from 0s"},
		{spec(func(s *job.Spec) { s.StopSignal = "0" }), `stop_signal: "0": unknown signal`},
		{limited(job.Limits{CPUs: math.NaN()}), "limits.cpus: NaN: must be from 0.01"},
		{limited(job.Limits{CPUs: math.Inf(1)}), "limits.cpus: +Inf: must be from"},
		{limited(job.Limits{CPUs: -0.5}), "limits.cpus: -0.5: must be from"},
		{limited(job.Limits{CPUs: 1e-9}), "limits.cpus: 0.000000001: must be from"},
		{limited(job.Limits{OutputBytes: 1<<20 - 1}), "limits.output_bytes: 1048575: must be from 1048576 to"},
		{limited(job.Limits{OutputFull: "drop"}), `limits.output_full: "drop": must be "end" or "keep-newest"`},
		{limited(job.Limits{CPUWeight: 10001}), "limits.cpu_weight: 10001: must be from 1 to 10000"},
		{limited(job.Limits{CPUWeight: -1}), "limits.cpu_weight: -1: must be from"},
		{limited(job.Limits{MemoryBytes: -1}), "limits.memory_bytes: -1: must be from"},
		{limited(job.Limits{MemoryBytes: 1}), "limits.memory_bytes: 1: must be from"},
		{limited(job.Limits{Pids: 1<<22 + 1}), "limits.pids: 4194305: must be from 1 to 4194304"},
		{limited(job.Limits{ScratchBytes: 4095}), "limits.scratch_bytes: 4095: must be from 4096"},
		{onDisk(job.IOLimit{ReadBPS: 5}), "limits.io[0]: needs either a path or a device"},
		{onDisk(job.IOLimit{Path: "/", Device: "8:0", ReadBPS: 5}), "limits.io[0]: needs either"},
		{onDisk(job.IOLimit{Path: "scratch", ReadBPS: 5}), `limits.io[0].path: "scratch": must be an absolute`},
		{onDisk(job.IOLimit{Device: "sda", ReadBPS: 5}), `limits.io[0].device: "sda": must be "major:minor"`},
		{onDisk(job.IOLimit{Path: "/"}), "limits.io[0]: sets no rate"},
		{onDisk(job.IOLimit{Path: "/", ReadIOPS: 1}), "limits.io[0].read_iops: 1: must be 2 or more"},
		{onDisk(job.IOLimit{Path: "/", WriteBPS: -5}), "limits.io[0].write_bps: -5: must be 2 or more"},
		{limited(job.Limits{IO: twice}), `limits.io[2]: "8:0": is limited twice`},
	})
}

// A refused is a spec that Validate refuses, and how its message begins: field,
// value, problem.
type refused struct {
	spec job.Spec
	want string
}

func checkRefused(t *testing.T, specs []refused) {
	t.Helper()
	for _, tt := range specs {
		err := tt.spec.Validate()
		if _, ok := errors.AsType[*job.FieldError](err); !ok || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%.200v\n want %s", err, tt.want)
		}
	}
}

// TestDevices: a disk has one name, so that it cannot be limited twice.
func TestDevices(t *testing.T) {
	for _, name := range []string{" 8:0", "8: 0", "08:0", "8:00", "8:0 ", "8:0\n", "+8:0", "8:-1", "0x8:0", "8", "8:", ":0", "8:0:0", "4294967296:0", "٨:0"} {
		s := onDisk(job.IOLimit{Device: name, ReadBPS: 5})
		if _, ok := errors.AsType[*job.FieldError](s.Validate()); !ok {
			t.Errorf("device %q was accepted", name)
		}
	}
}
