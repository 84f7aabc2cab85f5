package job

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"jobworker/cgroupv2"
	"jobworker/stream"
)

// DefaultGrace is how long a job has between its stop signal and its end by
// force, where its Spec does not say.
const DefaultGrace = 10 * time.Second

// DefaultStopSignal is the signal that asks a job to end, where its Spec does
// not say.
const DefaultStopSignal = "SIGTERM"

// Bounds of a Spec.
const (
	MaxArgBytes  = 1 << 20     // arguments and environment together; Linux allows a quarter of the stack's 8 MiB, see execve(2)
	maxArgString = 128<<10 - 1 // one of them, without its NUL: MAX_ARG_STRLEN in execve(2)
	maxLabels    = 64          // labels of a job
	maxValue     = 256         // bytes of a label's value
	maxDuration  = 10 * 365 * 24 * time.Hour
	maxGrace     = 24 * time.Hour
)

// A Spec is what to run, and how. Only Argv is needed; the zero value of every
// other field asks for the default.
type Spec struct {
	// Argv is the program and its arguments. A program without a slash is
	// looked up along the PATH of Env, inside the job's root.
	Argv []string `json:"argv"`

	// Builtin makes Argv name a program that is built into the worker
	// instead of one of the file system. There is one, ["calculate", SECONDS,
	// MESSAGE]; see CalculateSpec. It takes no Env, and some 8 processes and
	// 16 MiB.
	Builtin bool `json:"builtin,omitempty"`

	// Env is added to the job's environment, which is otherwise only
	// PATH, HOME and LANG.
	Env map[string]string `json:"env,omitempty"`

	// Dir is the absolute path of the working directory, as the job sees it.
	// Empty means /scratch.
	Dir string `json:"dir,omitempty"`

	// Name and Labels are for people and for finding a job again. Neither
	// needs to be unique.
	Name   string            `json:"name,omitempty"`
	Labels map[string]string `json:"labels,omitempty"`

	Limits Limits `json:"limits,omitzero"`

	// Timeout is the wall-clock time after which the job is stopped; zero
	// means never.
	Timeout Duration `json:"timeout,omitzero"`

	// StopSignal is sent to the main process to ask it to end; empty means
	// SIGTERM. Grace is how long it then has; nil means DefaultGrace, zero
	// means none.
	StopSignal string    `json:"stop_signal,omitempty"`
	Grace      *Duration `json:"grace,omitempty"`

	// Merge makes standard error the same pipe as standard output, for jobs
	// where the exact order of the two matters. All output is then stdout.
	Merge bool `json:"merge,omitempty"`

	// Stdin makes standard input a pipe, which Worker.Stdin writes to and
	// only its End, or the job, closes. Without it standard input is
	// /dev/null.
	Stdin bool `json:"stdin,omitempty"`

	// What follows asks for more of the host than a sandbox has, and takes a
	// Permit.

	// Net is the job's network: "none", its own loopback interface and no
	// other, or "host", the host's with all that listens there, on loopback
	// and in abstract sockets. Empty means "none", and "host" with the profile
	// "host".
	Net string `json:"net,omitempty"`

	// Profile is how the job is isolated. "sandbox" is the default. In "host" it
	// sees the host's file systems as User does, and has no /scratch: its
	// working directory is / and its HOME that of User, unless it says otherwise.
	// It has processes, IPC and cgroup of its own all the same, and no way to more
	// rights.
	Profile string `json:"profile,omitempty"`

	// User is who the job runs as, by the host's passwd(5): a name, or the number
	// of a user id. Its group is that user's, or the one of the same number
	// where there is no entry, and it has no other. It is never root. Empty
	// means a user of the job's own; the profile "host" needs one.
	User string `json:"user,omitempty"`

	// Rootfs is a directory of the host, an absolute path, whose content the
	// job has in its root in place of the host's: its own /proc, /dev, /tmp
	// and /scratch are added. It is read-only unless the Permit says otherwise,
	// and even then nothing can be added to / itself. What is mounted below it
	// is not part of it.
	Rootfs string `json:"rootfs,omitempty"`

	// Binds are further files and directories of the host that the job sees.
	Binds []Bind `json:"binds,omitempty"`

	// Userns gives the job a user namespace of its own, in which its user and
	// root are as on the host, and there are no others: files of other users
	// are nobody's. A worker in a container may not be able to: the kernel
	// refuses the job a /proc (EPERM) where the worker's own is partly covered.
	Userns bool `json:"userns,omitempty"`
}

// A Bind shows a file or directory of the host to a job. What is mounted below it
// is not part of it. What a job makes there belongs to its user: the one of its own
// is another job's when its files are gone, so that what is to stay wants a User.
type Bind struct {
	Source string `json:"source"`          // absolute path on the host
	Target string `json:"target"`          // absolute path in the job; made, unless what is there already has to have it
	Write  bool   `json:"write,omitempty"` // the job may write to it, as far as its user may
}

// Limits are the most that a job may use. Zero means the worker's default,
// which is none but for memory, processes and output.
type Limits struct {
	CPUs         float64   `json:"cpus,omitempty"`          // processors, as seconds of CPU per second
	CPUWeight    int       `json:"cpu_weight,omitempty"`    // share under contention, 1 to 10000; the kernel's default is 100
	MemoryBytes  int64     `json:"memory_bytes,omitempty"`  // memory, page cache and tmpfs included; swap is not used
	Pids         int64     `json:"pids,omitempty"`          // processes and threads
	ScratchBytes int64     `json:"scratch_bytes,omitempty"` // makes /scratch a tmpfs of this size, counted as memory
	IO           []IOLimit `json:"io,omitempty"`            // disk bandwidth

	// OutputBytes is the most that the recorded output may take on disk:
	// its bytes, some 110 more for each piece that is recorded at once, and a
	// third more where it is not text. OutputFull says what happens then:
	// EndJob, which is the default, or KeepNewest.
	OutputBytes int64  `json:"output_bytes,omitempty"`
	OutputFull  string `json:"output_full,omitempty"`
}

// What happens to a job whose output has reached its limit.
const (
	EndJob     = "end"         // it is killed, with the verdict OutputLimit; what was recorded stays
	KeepNewest = "keep-newest" // it goes on; its oldest output makes room for the newest, and leaves a gap
)

// IsZero is what omitzero asks: an empty IO is no limit either, so that a Spec
// reads the same after it was written down.
func (l Limits) IsZero() bool {
	return l.CPUs == 0 && l.CPUWeight == 0 && l.MemoryBytes == 0 && l.Pids == 0 && l.ScratchBytes == 0 && len(l.IO) == 0 &&
		l.OutputBytes == 0 && l.OutputFull == ""
}

// An IOLimit bounds the use of one disk. Zero means no limit.
type IOLimit struct {
	Path      string `json:"path,omitempty"`       // a path as the job sees it: the disk below it is meant
	Device    string `json:"device,omitempty"`     // or the disk itself, as "major:minor"
	ReadBPS   int64  `json:"read_bps,omitempty"`   // bytes read per second
	WriteBPS  int64  `json:"write_bps,omitempty"`  // bytes written per second
	ReadIOPS  int64  `json:"read_iops,omitempty"`  // read operations per second
	WriteIOPS int64  `json:"write_iops,omitempty"` // write operations per second
}

// Validate reports the first thing about s that no worker would accept, as a
// *FieldError. What only the worker at hand cannot do is found by Start.
func (s *Spec) Validate() error {
	for _, check := range []func(*Spec) error{
		(*Spec).checkArgs, (*Spec).checkBuiltin, (*Spec).checkEnv, (*Spec).checkNames, (*Spec).checkTimes, (*Spec).checkIsolation,
	} {
		if err := check(s); err != nil {
			return err
		}
	}
	return s.Limits.validate()
}

func (s *Spec) checkArgs() error {
	if len(s.Argv) == 0 {
		return &FieldError{Field: "argv", Problem: "is missing: name the program to run"}
	}
	if s.Argv[0] == "" {
		return &FieldError{"argv[0]", `""`, "the program's name is empty"}
	}
	total := 0
	for i, a := range s.Argv {
		if err := checkString(fmt.Sprintf("argv[%d]", i), a); err != nil {
			return err
		}
		total += len(a) + 1
	}
	for k, v := range s.Env {
		total += len(k) + len(v) + 2
	}
	if total > MaxArgBytes {
		return &FieldError{"argv", fmt.Sprint(total), fmt.Sprintf("arguments and environment are %d bytes together, more than %d", total, MaxArgBytes)}
	}
	return nil
}

func (s *Spec) checkEnv() error {
	for k, v := range s.Env {
		field := "env." + k
		if k == "" || strings.ContainsAny(k, "=\x00") || !utf8.ValidString(k) {
			return &FieldError{"env", quote(k), "a variable's name is not empty and has no '=' or NUL"}
		}
		if err := checkString(field, v); err != nil {
			return err
		}
		if len(k)+1+len(v) > maxArgString {
			return &FieldError{field, quote(v), fmt.Sprintf("is longer than %d bytes", maxArgString)}
		}
	}
	return nil
}

// checkString accepts what execve(2) can pass on and JSON can carry.
func checkString(field, v string) error {
	switch {
	case strings.IndexByte(v, 0) >= 0:
		return &FieldError{field, quote(v), "contains a NUL byte"}
	case !utf8.ValidString(v):
		return &FieldError{field, quote(v), "is not valid UTF-8"}
	case len(v) > maxArgString:
		return &FieldError{field, quote(v), fmt.Sprintf("is longer than %d bytes", maxArgString)}
	}
	return nil
}

func (s *Spec) checkNames() error {
	if s.Name != "" && !isName(s.Name, "_.-") {
		return &FieldError{"name", quote(s.Name), "use up to 63 of A-Z a-z 0-9 _ . -, first a letter or a digit"}
	}
	if len(s.Labels) > maxLabels {
		return &FieldError{"labels", fmt.Sprint(len(s.Labels)), fmt.Sprintf("more than %d labels", maxLabels)}
	}
	for k, v := range s.Labels {
		if !isName(k, "_.-/") {
			return &FieldError{"labels", quote(k), "a label's name is up to 63 of A-Z a-z 0-9 _ . / -, first a letter or a digit"}
		}
		if len(v) > maxValue || !printable(v) {
			return &FieldError{"labels." + k, quote(v), fmt.Sprintf("use up to %d bytes of printable text", maxValue)}
		}
	}
	return nil
}

func (s *Spec) checkTimes() error {
	if t := time.Duration(s.Timeout); t < 0 || t > maxDuration {
		return &FieldError{"timeout", t.String(), "must not be negative or longer than ten years"}
	}
	if s.Grace != nil {
		if g := time.Duration(*s.Grace); g < 0 || g > maxGrace {
			return &FieldError{"grace", g.String(), "must be from 0s to 24h"}
		}
	}
	if s.StopSignal != "" {
		if _, err := ParseSignal(s.StopSignal); err != nil {
			return &FieldError{"stop_signal", quote(s.StopSignal), err.Error()}
		}
	}
	return nil
}

// limitBounds are the accepted ranges.
var limitBounds = []struct {
	field    string
	value    func(*Limits) float64
	min, max float64
}{
	{"limits.cpus", func(l *Limits) float64 { return l.CPUs }, cgroupv2.MinCPUs, cgroupv2.MaxCPUs},
	{"limits.cpu_weight", func(l *Limits) float64 { return float64(l.CPUWeight) }, 1, cgroupv2.MaxCPUWeight},
	{"limits.memory_bytes", func(l *Limits) float64 { return float64(l.MemoryBytes) }, cgroupv2.MinMemoryBytes, cgroupv2.MaxMemoryBytes},
	{"limits.pids", func(l *Limits) float64 { return float64(l.Pids) }, 1, cgroupv2.MaxPids},
	{"limits.scratch_bytes", func(l *Limits) float64 { return float64(l.ScratchBytes) }, 4 << 10, cgroupv2.MaxMemoryBytes},
	{"limits.output_bytes", func(l *Limits) float64 { return float64(l.OutputBytes) }, stream.MinCap, cgroupv2.MaxMemoryBytes},
}

func (l *Limits) validate() error {
	for _, b := range limitBounds {
		v := b.value(l)
		if v == 0 {
			continue
		}
		if math.IsNaN(v) || v < b.min || v > b.max {
			return &FieldError{b.field, formatNumber(v), fmt.Sprintf("must be from %s to %s", formatNumber(b.min), formatNumber(b.max))}
		}
	}
	if l.OutputFull != "" && l.OutputFull != EndJob && l.OutputFull != KeepNewest {
		return &FieldError{"limits.output_full", quote(l.OutputFull), `must be "end" or "keep-newest"`}
	}
	seen := make(map[string]bool)
	for i, io := range l.IO {
		field := fmt.Sprintf("limits.io[%d]", i)
		if err := io.validate(field); err != nil {
			return err
		}
		if disk := io.Path + io.Device; seen[disk] {
			return &FieldError{field, quote(disk), "is limited twice"}
		} else {
			seen[disk] = true
		}
	}
	return nil
}

func (l *IOLimit) validate(field string) error {
	switch {
	case (l.Path == "") == (l.Device == ""):
		return &FieldError{Field: field, Problem: "needs either a path or a device"}
	case l.Path != "" && l.Path[0] != '/':
		return &FieldError{field + ".path", quote(l.Path), "must be an absolute path"}
	}
	if l.Device != "" {
		if _, _, err := l.device(); err != nil {
			return &FieldError{field + ".device", quote(l.Device), `must be "major:minor"`}
		}
	}
	set := false
	for _, rate := range []struct {
		field string
		value int64
	}{{"read_bps", l.ReadBPS}, {"write_bps", l.WriteBPS}, {"read_iops", l.ReadIOPS}, {"write_iops", l.WriteIOPS}} {
		if rate.value < 0 || rate.value == 1 { // the kernel refuses 1 in io.max
			return &FieldError{field + "." + rate.field, fmt.Sprint(rate.value), "must be 2 or more"}
		}
		set = set || rate.value != 0
	}
	if !set {
		return &FieldError{Field: field, Problem: "sets no rate"}
	}
	return nil
}

// device parses the "major:minor" of l. A disk has one such name only.
func (l *IOLimit) device() (major, minor uint32, err error) {
	_, err = fmt.Sscanf(l.Device, "%d:%d", &major, &minor)
	if err != nil || fmt.Sprintf("%d:%d", major, minor) != l.Device {
		return 0, 0, fmt.Errorf("device %q: not major:minor", l.Device)
	}
	return major, minor, nil
}

// isName reports whether s is up to 63 letters, digits and characters of
// others, and begins with a letter or a digit. A regular expression would be
// compiled at the start of every nsinit too.
func isName(s, others string) bool {
	const alnum = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	return s != "" && len(s) <= 63 && strings.IndexByte(alnum, s[0]) >= 0 && strings.Trim(s, alnum+others) == ""
}

func printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0
}

// stopSignal returns the signal that asks the job to end.
func (s *Spec) stopSignal() string {
	if s.StopSignal == "" {
		return DefaultStopSignal
	}
	return s.StopSignal
}

// grace returns how long the job then has.
func (s *Spec) grace() time.Duration {
	if s.Grace == nil {
		return DefaultGrace
	}
	return time.Duration(*s.Grace)
}
