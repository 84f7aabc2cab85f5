package main

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"jobworker/httpapi"
)

// jobFlags collects what the flags of run and start say about a job.
type jobFlags struct {
	spec   httpapi.Spec
	copied []string // variables to take from our own environment
}

func declareJob(fs *flag.FlagSet) *jobFlags {
	j := new(jobFlags)
	s := &j.spec
	fs.StringVar(&s.Name, "name", "", "`NAME` for people")
	fs.StringVar(&s.Dir, "dir", "", "working `DIR` as the job sees it (default /scratch)")
	fs.BoolVar(&s.Merge, "merge", false, "make standard error the same pipe as standard output")
	declareIsolation(fs, s)
	fs.StringVar(&s.StopSignal, "stop-signal", "", "`SIGNAL` that asks the job to end (default TERM)")
	fs.Func("timeout", "stop the job after this `TIME`, as in 90s or 1h", func(v string) (err error) {
		s.Timeout, err = parseTime(v)
		return err
	})
	fs.Func("grace", "`TIME` between the stop signal and the end by force (default 10s)", func(v string) error {
		return setGrace(&s.Grace, v)
	})
	fs.Func("env", "environment variable `K=V`, or K to copy ours; repeatable", j.setEnv)
	fs.Func("label", "label `K=V`; repeatable", func(v string) error {
		return setLabel(&s.Labels, v)
	})
	declareLimits(fs, &s.Limits)
	return j
}

// declareIsolation declares what is granted by the worker's policy, or not.
func declareIsolation(fs *flag.FlagSet, s *httpapi.Spec) {
	fs.StringVar(&s.Net, "net", "", "`NETWORK`: none, a loopback interface of its own alone (the default), or host")
	fs.StringVar(&s.Profile, "profile", "", "`PROFILE` of the isolation: sandbox (the default), or host: the host's files and network, as -user")
	fs.StringVar(&s.User, "user", "", "`USER` of the worker's host to run as, a name or a number (default: one of its own)")
	fs.StringVar(&s.Rootfs, "rootfs", "", "`DIR` of the worker's host whose content is the root")
	fs.Func("bind", "`BIND` SRC:DST or SRC:DST:rw, a path of the worker's host to show at DST; repeatable", func(v string) error {
		b, err := parseBind(v)
		s.Binds = append(s.Binds, b)
		return err
	})
	fs.BoolVar(&s.Userns, "userns", false, "run in a user namespace")
}

// parseBind reads SRC:DST[:rw]. A path with a colon in it cannot be said.
func parseBind(v string) (b httpapi.Bind, err error) {
	parts := strings.Split(v, ":")
	if len(parts) == 3 && (parts[2] == "rw" || parts[2] == "ro") {
		b.Write, parts = parts[2] == "rw", parts[:2]
	}
	if len(parts) != 2 || parts[0] == "" || parts[1] == "" {
		return b, errors.New("must be SRC:DST or SRC:DST:rw")
	}
	b.Source, b.Target = parts[0], parts[1]
	return b, nil
}

func declareLimits(fs *flag.FlagSet, l *httpapi.Limits) {
	fs.Func("cpus", "most `CPUS` that it may use, as in 0.5", func(v string) (err error) {
		l.CPUs, err = parseCPUs(v)
		return err
	})
	fs.Func("cpu-weight", "share of the CPU under contention, a `WEIGHT` from 1 to 10000 (default 100)", func(v string) error {
		n, err := parseCount(v)
		if err != nil || n > 10000 {
			return errors.New("must be from 1 to 10000")
		}
		l.CPUWeight = int(n)
		return nil
	})
	limit := func(name, usage string, to *int64, parse func(string) (int64, error)) {
		fs.Func(name, usage, func(v string) (err error) {
			*to, err = parse(v)
			return err
		})
	}
	limit("memory", "most memory `BYTES`, as in 64M (default: the worker's)", &l.MemoryBytes, parseSize)
	limit("pids", "most processes and threads, a `NUMBER` (default: the worker's)", &l.Pids, parseCount)
	limit("scratch", "make /scratch a tmpfs of this many `BYTES`, counted as memory", &l.ScratchBytes, parseSize)
	limit("output", "most `BYTES` of recorded output, on disk, as in 64M (default: the worker's)", &l.OutputBytes, parseSize)
	fs.Func("output-full", "what happens then, `ACTION`: end the job (the default), or keep the newest output alone", func(v string) error {
		full, ok := map[string]string{"end": httpapi.EndJob, "keep": httpapi.KeepNewest}[v]
		if !ok {
			return errors.New("must be end or keep")
		}
		l.OutputFull = full
		return nil
	})
	fs.Func("io", "disk bandwidth `LIMIT`, as in /scratch:rbps=1M,wbps=1M,riops=100,wiops=100; repeatable", func(v string) error {
		io, err := parseIO(v)
		l.IO = append(l.IO, io)
		return err
	})
}

// complete returns the spec of a job that runs argv.
func (j *jobFlags) complete(e *env, argv []string) (httpapi.Spec, error) {
	s := j.spec
	s.Argv = argv
	for _, name := range j.copied {
		v, ok := e.lookup(name)
		if !ok {
			return s, usage("", "-env %s: is not set here; -env %s=VALUE gives it a value", name, name)
		}
		s.Env[name] = v
	}
	if err := s.Validate(); err != nil {
		return s, usage("", "%v", err)
	}
	return s, nil
}

func (j *jobFlags) setEnv(v string) error {
	if j.spec.Env == nil {
		j.spec.Env = make(map[string]string)
	}
	name, value, ok := strings.Cut(v, "=")
	if name == "" {
		return errors.New("must be K=V or K")
	}
	if ok {
		j.spec.Env[name] = value
	} else {
		j.copied = append(j.copied, name)
	}
	return nil
}

func setLabel(labels *map[string]string, v string) error {
	if *labels == nil {
		*labels = make(map[string]string)
	}
	name, value, ok := strings.Cut(v, "=")
	if name == "" || !ok {
		return errors.New("must be K=V")
	}
	if _, twice := (*labels)[name]; twice {
		return fmt.Errorf("%q is given twice", name)
	}
	(*labels)[name] = value
	return nil
}

func setGrace(grace **httpapi.Duration, v string) error {
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 {
		return errors.New("must be a time, as in 10s, or 0s for none")
	}
	*grace = new(httpapi.Duration(d))
	return nil
}

// parseTime reads a positive time.
func parseTime(v string) (httpapi.Duration, error) {
	d, err := time.ParseDuration(v)
	if err != nil || d <= 0 {
		return 0, errors.New("must be a time above 0, as in 90s or 1h30m")
	}
	return httpapi.Duration(d), nil
}

// parseCPUs reads a positive, finite number. strconv reads "NaN", "inf" and "0x1p-2"
// as well.
func parseCPUs(v string) (float64, error) {
	f, err := strconv.ParseFloat(v, 64)
	if err != nil || math.IsNaN(f) || math.IsInf(f, 0) || f <= 0 || strings.Trim(v, "0123456789.") != "" {
		return 0, fmt.Errorf("must be a number above 0, as in 0.5 or 2")
	}
	return f, nil
}
