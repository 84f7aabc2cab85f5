//go:build linux

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"jobworker/authz"
	"jobworker/httpapi"
	"jobworker/job"
)

// options are what the flags say.
type options struct {
	listen    string
	files     authz.ServerFiles
	policy    string
	maxBody   int64
	maxHeader int64
	auditFile string // "" for standard error
	limits    httpapi.ClientLimits
	worker    job.Config
	keep      bool // jobs, when a signal ends the daemon
	version   bool
}

// Defaults of what is kept: none of it must fill a disk that nobody looks at.
const (
	defaultReserve  = 128 << 20
	defaultKeepAge  = 7 * 24 * time.Hour
	defaultKeepJobs = 10_000
)

// Bounds of -max-header: what jobcli may send needs the least of them.
const (
	leastHeader = 4 << 10
	mostHeader  = 1 << 20
)

// required are the flags without which nothing can be served.
var required = []string{"tls-cert", "tls-key", "client-ca"}

// maxFiles is the highest of the limits on what takes a file descriptor: as many as Linux gives a
// process, unless fs.nr_open says otherwise.
const maxFiles = 1 << 20

// makeFiles is what to do about their files.
const makeFiles = "`jobcli tls init -dir pki -host 127.0.0.1 -admin NAME` makes all three"

func (o *options) flags() *flag.FlagSet {
	fs := flag.NewFlagSet("jobworker", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // mistakes are one line, see parse
	o.worker.DefaultMemory = job.DefaultMemory
	o.worker.ReserveBytes, o.worker.KeepAge, o.worker.KeepJobs = defaultReserve, defaultKeepAge, defaultKeepJobs
	o.worker.UIDBase, o.worker.UIDCount = job.DefaultUIDBase, job.DefaultUIDCount
	o.worker.MaxCalculate = job.DefaultMaxCalculate
	fs.StringVar(&o.listen, "listen", "127.0.0.1:8443", "`address` to serve on; port 0 picks one")
	fs.StringVar(&o.worker.StateDir, "state-dir", "/var/lib/jobworker", "`directory` of jobs, their records and output")
	fs.StringVar(&o.files.Cert, "tls-cert", "", "`file` with the server's certificate, PEM (required)")
	fs.StringVar(&o.files.Key, "tls-key", "", "`file` with its private key, mode 0600 (required)")
	fs.StringVar(&o.files.ClientCA, "client-ca", "", "`file` with the CAs that sign clients, PEM (required)")
	fs.StringVar(&o.files.ClientCRL, "client-crl", "", "`file` with the revocation lists of these CAs, PEM, or one in DER; without it no certificate is revoked")
	fs.Var(choice{&o.files.PostQuantum, [2]string{"auto", "require"}}, "tls-pq", "post-quantum key exchange, X25519MLKEM768: `auto` with all who offer it, or require, to refuse the others")
	fs.StringVar(&o.policy, "policy", "", "policy `file`, JSON; without it the groups jobworker:admin, jobworker:operator and jobworker:viewer have their roles")
	o.maxBody, o.maxHeader = httpapi.MaxBody, httpapi.DefaultHeader
	fs.Var((*size)(&o.maxBody), "max-body", "most `bytes` of a request's body, other than of a job's input")
	fs.Var((*size)(&o.maxHeader), "max-header", "most `bytes` of a request's header")
	fs.StringVar(&o.auditFile, "audit-log", "", "`file` that decisions and events are appended to, made with mode 0600, opened again at SIGHUP; default: standard error, with the rest")
	fs.StringVar(&o.worker.CgroupRoot, "cgroup-root", "", "`directory` of the cgroup to work in, absolute or below the cgroup2 mount; default: the delegated unit's or the container's, else jobworker")
	fs.BoolVar(&o.worker.AllowMissingControllers, "allow-missing-controllers", false, "serve without some of the cpu, memory, io and pids controllers, and refuse jobs that ask for their limits")
	fs.Var((*uid)(&o.worker.UIDBase), "uid-base", "first `uid` of those that jobs run as")
	fs.Var((*uid)(&o.worker.UIDCount), "uid-count", "`number` of them: the most jobs that can be kept")
	fs.Var((*size)(&o.worker.DefaultMemory), "default-memory", "memory limit in `bytes` of a job that asks for none, as in 512M or 1G")
	fs.Int64Var(&o.worker.DefaultPids, "default-pids", job.DefaultPids, "limit of a job that asks for none on its `number` of processes and threads")
	fs.Var((*size)(&o.worker.DefaultOutput), "default-output", "most `bytes` of recorded output, on disk, of a job that does not say; 0: 1G, or -max-output if that is less")
	fs.Var((*size)(&o.worker.MaxOutput), "max-output", "most `bytes` that a job may ask for there; 0: no bound")
	fs.Var((*size)(&o.worker.ReserveBytes), "reserve-bytes", "`bytes` to leave free on the disk of -state-dir: below it no job is started and no output recorded; 0: none")
	fs.Var((*size)(&o.worker.MaxStateBytes), "max-state-bytes", "most `bytes` that the files of all jobs may take for another to be started; 0: no bound")
	fs.DurationVar(&o.worker.KeepAge, "keep-age", o.worker.KeepAge, "`time` for which a job that is over is kept; 0: no bound")
	fs.IntVar(&o.worker.KeepJobs, "keep-jobs", o.worker.KeepJobs, "`number` of jobs that are over to keep; 0: no bound")
	fs.Var((*size)(&o.worker.KeepBytes), "keep-bytes", "most `bytes` that the files of jobs that are over may take; 0: no bound")
	fs.Var((*list)(&o.worker.Expose), "expose", "further host `directory` that jobs see, read-only; may be repeated (in the environment: separated by colons)")
	fs.Var(choice{&o.worker.Unready, [2]string{string(job.Ready), string(job.Unready)}}, "initial-state", "`state` to begin in: ready, or unready, which takes no jobs until it is started")
	fs.Var(choice{&o.keep, [2]string{"stop", "keep"}}, "on-shutdown", "what a signal that ends the daemon means for its `jobs`: stop, or keep, which leaves them to the next daemon of the state directory")
	fs.DurationVar(&o.worker.MaxCalculate, "max-calculate", o.worker.MaxCalculate, "longest `time` that a calculate may take")
	fs.IntVar(&o.worker.MaxCalculates, "max-calculates", job.DefaultMaxCalculates, "`number` of calculates at once")
	o.limits = httpapi.DefaultLimits()
	for _, l := range o.clientLimits() {
		fs.IntVar(l.value, l.flag, *l.value, l.usage)
	}
	fs.BoolVar(&o.version, "version", false, "print the version and exit")
	return fs
}

// clientLimit is a flag of a limit on what clients hold.
type clientLimit struct {
	flag  string
	value *int
	usage string
}

func (o *options) clientLimits() []clientLimit {
	l := &o.limits
	return []clientLimit{
		{"max-connections", &l.Connections, "`number` of connections"},
		{"max-connections-per-address", &l.ConnectionsPerAddress, "`number` of those from one address that have not made a request; the others count for their user"},
		{"max-connections-per-user", &l.ConnectionsPerUser, "`number` of those of one user"},
		{"max-requests", &l.Requests, "`number` of requests at once, streams among them"},
		{"max-requests-per-user", &l.RequestsPerUser, "`number` of those of one user"},
		{"max-inputs-per-user", &l.InputsPerUser, "`number` of those of one user that write to a job's input"},
		{"max-inputs-per-connection", &l.InputsPerConnection, "`number` of those over one connection, which holds a MiB for each"},
	}
}

// usageError is a mistake on the command line or in the environment.
type usageError struct{ error }

// parse reads the environment, then args, which count more.
func parse(args []string, getenv func(string) string) (o options, err error) {
	fs := o.flags()
	fs.VisitAll(func(f *flag.Flag) {
		if v := getenv(envName(f.Name)); v != "" && err == nil {
			err = fs.Set(f.Name, v)
			if err != nil {
				err = usageError{fmt.Errorf("%s=%q: %w", envName(f.Name), v, err)}
			}
		}
	})
	if err != nil {
		return o, err
	}
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, usageError{err}
	}
	return o, o.check(fs)
}

func (o *options) check(fs *flag.FlagSet) error {
	if fs.NArg() > 0 {
		return usageError{fmt.Errorf("%q: takes flags only", fs.Arg(0))}
	}
	if o.version {
		return nil
	}
	for _, name := range required {
		if fs.Lookup(name).Value.String() == "" {
			return usageError{fmt.Errorf("-%s (or %s) is missing; %s", name, envName(name), makeFiles)}
		}
	}
	for _, l := range o.clientLimits() {
		if *l.value < 1 || *l.value > maxFiles {
			return usageError{fmt.Errorf("-%s %d: must be from 1 to %d", l.flag, *l.value, maxFiles)}
		}
	}
	switch w := o.worker; {
	case w.DefaultMemory < 1:
		return usageError{fmt.Errorf("-default-memory %d: must be at least 1", w.DefaultMemory)}
	case w.KeepAge < 0 || w.KeepJobs < 0:
		return usageError{fmt.Errorf("-keep-age %s, -keep-jobs %d: must not be negative", w.KeepAge, w.KeepJobs)}
	case w.DefaultPids < 1:
		return usageError{fmt.Errorf("-default-pids %d: must be at least 1", w.DefaultPids)}
	case w.MaxCalculate <= 0:
		return usageError{fmt.Errorf("-max-calculate %s: must be more than 0s", w.MaxCalculate)}
	case w.MaxCalculates < 1:
		return usageError{fmt.Errorf("-max-calculates %d: must be at least 1", w.MaxCalculates)}
	case o.maxBody > httpapi.MaxBody:
		return usageError{fmt.Errorf("-max-body %d: must be at most %d, what the arguments of a job may add up to", o.maxBody, httpapi.MaxBody)}
	case o.maxHeader < leastHeader || o.maxHeader > mostHeader:
		return usageError{fmt.Errorf("-max-header %d: must be from %d to %d", o.maxHeader, leastHeader, mostHeader)}
	}
	return nil
}

// envName is the environment variable of a flag.
func envName(flag string) string {
	return "JOBWORKER_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// usage prints the flags and their environment variables.
func usage(w io.Writer) {
	fmt.Fprint(w, "usage: jobworker -tls-cert FILE -tls-key FILE -client-ca FILE [flags]\n\n"+
		"Runs jobs for remote clients. SIGHUP reads certificates, revocation lists and policy again;\n"+
		"SIGTERM and SIGINT stop the jobs, in a minute at most, or with -on-shutdown keep leave\n"+
		"them running, and end it; a second one ends it at once.\n\n")
	new(options).flags().VisitAll(func(f *flag.Flag) {
		name, text := flag.UnquoteUsage(f)
		fmt.Fprintf(w, "  -%s %s\n    \t%s\n", f.Name, name, text)
		if f.DefValue != "" && f.DefValue != "false" {
			fmt.Fprintf(w, "    \tdefault %s\n", f.DefValue)
		}
		fmt.Fprintf(w, "    \t$%s\n", envName(f.Name))
	})
}

// A uid is a number of 32 bits, not 0.
type uid uint32

func (u *uid) String() string { return strconv.FormatUint(uint64(*u), 10) }

// Set implements flag.Value.
func (u *uid) Set(s string) error {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == 0 {
		return fmt.Errorf("must be a whole number from 1 to %d", uint32(math.MaxUint32))
	}
	*u = uid(n)
	return nil
}

// A choice is a flag of two words, the second of which sets a bool.
type choice struct {
	second *bool
	words  [2]string
}

func (c choice) String() string {
	if c.second != nil && *c.second {
		return c.words[1]
	}
	return c.words[0]
}

// Set implements flag.Value.
func (c choice) Set(s string) error {
	if s != c.words[0] && s != c.words[1] {
		return fmt.Errorf("must be %s or %s", c.words[0], c.words[1])
	}
	*c.second = s == c.words[1]
	return nil
}

// A size is a number of bytes.
type size int64

func (b *size) String() string {
	for _, u := range units {
		if n := int64(*b); n > 0 && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(*b), 10)
}

var units = []struct {
	name  string
	bytes int64
}{{"T", 1 << 40}, {"G", 1 << 30}, {"M", 1 << 20}, {"K", 1 << 10}, {"", 1}}

// Set implements flag.Value.
func (b *size) Set(s string) error {
	for _, u := range units {
		digits, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n < 0 || n > math.MaxInt64/u.bytes || digits[0] == '+' {
			break
		}
		*b = size(n * u.bytes)
		return nil
	}
	return errors.New("must be a number of bytes, with K, M, G or T for powers of 1024")
}

// A list is a flag that may be repeated.
type list []string

func (l *list) String() string { return strings.Join(*l, ":") }

// Set implements flag.Value.
func (l *list) Set(s string) error {
	for dir := range strings.SplitSeq(s, ":") {
		if !strings.HasPrefix(dir, "/") {
			return fmt.Errorf("%q: must be an absolute path", dir)
		}
		*l = append(*l, dir)
	}
	return nil
}
