package job

import (
	"cmp"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"time"
)

// A Config says where a Worker keeps its state and what its jobs get.
type Config struct {
	// StateDir is the absolute path of the worker's directory, made if it does
	// not exist. It must belong to root and be closed to everyone else.
	StateDir string

	// CgroupRoot is the cgroup to work in: an absolute path below a cgroup2
	// mount, or one relative to that mount. Empty means the one that systemd
	// has delegated to this process, or else "jobworker".
	CgroupRoot string

	// AllowMissingControllers makes Open accept a system without some of the
	// controllers cpu, memory, io and pids. Jobs that ask for one of their
	// limits are then refused, and the defaults of that limit do not apply.
	AllowMissingControllers bool

	// UIDBase is the first of UIDCount user ids that jobs run as, one each;
	// nothing else on the system may use them. 0 means DefaultUIDBase and
	// DefaultUIDCount.
	UIDBase, UIDCount uint32

	// DefaultMemory and DefaultPids apply to a job that does not say. 0 means
	// 1 GiB and 512.
	DefaultMemory, DefaultPids int64

	// DefaultOutput applies to a job that does not say how much output may be
	// recorded; 0 means 1 GiB, or MaxOutput if that is less. A job that asks
	// for more than MaxOutput is refused; 0 means no such bound.
	DefaultOutput, MaxOutput int64

	// ReserveBytes is the space to leave free in the file system of
	// StateDir, for the records of jobs: below it no job is started, and no
	// output recorded; 0 means none. MaxStateBytes is the most that the files
	// of all jobs may take for another to be started, but for the /scratch of
	// those that run; 0 means no bound.
	ReserveBytes, MaxStateBytes int64

	// KeepAge, KeepJobs and KeepBytes bound the jobs that are over and still
	// known: for how long, how many, and how much their files take; 0 means no
	// bound. Beyond the last two the owner whose jobs take most loses the one
	// that ended first. Whatever they say a job is kept for KeepLeast, so that
	// whoever waits for its end can read how it ended; 0 means DefaultKeepLeast.
	KeepAge   time.Duration
	KeepJobs  int
	KeepBytes int64
	KeepLeast time.Duration

	// Expose are further directories of the host, by absolute path, that
	// jobs may read.
	Expose []string

	// Private are files of this program that no Permit gives to a job, and that
	// are covered where one sees the host's: keys, policies. StateDir is one of
	// them anyway.
	Private []string

	// Spare keeps what the next job needs ready: its namespaces, its cgroups
	// and its nsinit, about 1 MiB of memory. A start then takes two thirds of the
	// time.
	Spare bool

	// Unready makes the worker start no jobs until SetReady says so.
	Unready bool

	// MaxCalculate is the longest that a calculate may take, MaxCalculates
	// how many there may be at once. 0 means an hour and 256.
	MaxCalculate  time.Duration
	MaxCalculates int

	// History is how many of the newest events are kept for those who were
	// away. 0 means 4096.
	History int

	// Log receives what no caller can be told. nil means nobody does.
	Log *slog.Logger
}

// Defaults of a Config.
const (
	DefaultUIDBase  = 1879048192 // above what useradd, systemd's dynamic users and the usual subordinate ids take
	DefaultUIDCount = 65536
	DefaultMemory   = 1 << 30 // bytes
	DefaultPids     = 512
	DefaultOutput   = 1 << 30 // bytes

	DefaultMaxCalculate  = time.Hour
	DefaultMaxCalculates = 256
	DefaultHistory       = 4096 // events

	DefaultKeepLeast = time.Minute
)

// minUID is the first user id that is not the system's, by UID_MIN of
// login.defs(5).
const minUID = 1000

// withDefaults fills in the zero values of c.
func (c Config) withDefaults() Config {
	if c.UIDBase == 0 {
		c.UIDBase = DefaultUIDBase
	}
	if c.UIDCount == 0 {
		c.UIDCount = DefaultUIDCount
	}
	if c.DefaultMemory == 0 {
		c.DefaultMemory = DefaultMemory
	}
	if c.DefaultPids == 0 {
		c.DefaultPids = DefaultPids
	}
	if c.DefaultOutput == 0 {
		c.DefaultOutput = DefaultOutput
		if c.MaxOutput != 0 {
			c.DefaultOutput = min(DefaultOutput, c.MaxOutput)
		}
	}
	c.MaxCalculate = cmp.Or(c.MaxCalculate, DefaultMaxCalculate)
	c.MaxCalculates = cmp.Or(c.MaxCalculates, DefaultMaxCalculates)
	c.History = cmp.Or(c.History, DefaultHistory)
	c.KeepLeast = cmp.Or(c.KeepLeast, DefaultKeepLeast)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// validate reports what is wrong with c, after withDefaults.
func (c Config) validate() error {
	switch {
	case c.StateDir == "":
		return &FieldError{Field: "state directory", Problem: "is missing"}
	case !filepath.IsAbs(c.StateDir): // nsinit has another working directory
		return &FieldError{"state directory", quote(c.StateDir), "must be an absolute path"}
	case c.UIDBase < minUID:
		return &FieldError{"uid base", formatNumber(float64(c.UIDBase)), "must be 1000 or more: the ids below are the system's"}
	case uint64(c.UIDBase)+uint64(c.UIDCount) > 1<<32-2:
		return &FieldError{"uid count", formatNumber(float64(c.UIDCount)), "goes beyond the largest user id, 4294967293"}
	case c.MaxCalculate < 0 || c.MaxCalculate > maxDuration:
		return &FieldError{"longest calculate", c.MaxCalculate.String(), "must not be negative or longer than ten years"}
	case c.MaxCalculates < 0:
		return &FieldError{"calculates at once", strconv.Itoa(c.MaxCalculates), "must not be negative"}
	case c.ReserveBytes < 0 || c.MaxStateBytes < 0:
		return &FieldError{"space", fmt.Sprintf("%d and %d bytes", c.ReserveBytes, c.MaxStateBytes), "must not be negative"}
	case c.KeepAge < 0 || c.KeepJobs < 0 || c.KeepBytes < 0 || c.KeepLeast < 0:
		return &FieldError{"retention", fmt.Sprintf("%s, %d jobs, %d bytes, %s", c.KeepAge, c.KeepJobs, c.KeepBytes, c.KeepLeast), "must not be negative"}
	case c.History < 0:
		return &FieldError{"history", strconv.Itoa(c.History), "must not be negative"}
	}
	if c.MaxOutput != 0 && c.DefaultOutput > c.MaxOutput {
		return &FieldError{"default output", strconv.FormatInt(c.DefaultOutput, 10), fmt.Sprintf("must not be above the most output, %d", c.MaxOutput)}
	}
	l := Limits{MemoryBytes: c.DefaultMemory, Pids: c.DefaultPids, OutputBytes: c.DefaultOutput}
	if err := l.validate(); err != nil {
		return err
	}
	for _, dir := range c.Expose {
		if err := checkExposed(dir); err != nil {
			return err
		}
	}
	return nil
}
