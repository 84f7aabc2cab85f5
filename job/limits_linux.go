package job

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"jobworker/cgroupv2"
	"jobworker/stream"
)

// resolve turns the limits that s asks for into those of its cgroups: defaults
// filled in, paths replaced by disks. It returns a *LimitError for one that
// cannot be enforced here.
func (w *Worker) resolve(s *Spec) (cgroupv2.Limits, error) {
	l := &s.Limits
	c := cgroupv2.Limits{CPUs: l.CPUs, CPUWeight: l.CPUWeight, MemoryBytes: l.MemoryBytes, Pids: l.Pids}
	if err := w.enforceable([]want{
		{"limits.cpus", l.CPUs != 0, cgroupv2.CPU},
		{"limits.cpu_weight", l.CPUWeight != 0, cgroupv2.CPU},
		{"limits.memory_bytes", l.MemoryBytes != 0, cgroupv2.Memory},
		{"limits.pids", l.Pids != 0, cgroupv2.Pids},
		{"limits.io", len(l.IO) != 0, cgroupv2.IO},
	}); err != nil {
		return c, err
	}
	if c.MemoryBytes == 0 && w.tree.Has(cgroupv2.Memory) {
		c.MemoryBytes = w.cfg.DefaultMemory
	}
	if c.Pids == 0 && w.tree.Has(cgroupv2.Pids) {
		c.Pids = w.cfg.DefaultPids
	}
	c.CPUs = roundCPUs(c.CPUs)
	for i, io := range l.IO {
		r, err := w.resolveIO(s, io)
		if err != nil {
			return c, &LimitError{fmt.Sprintf("limits.io[%d]", i), err.Error()}
		}
		c.IO = append(c.IO, r)
	}
	if err := c.Validate(); err != nil {
		return c, &LimitError{"limits", err.Error()} // two paths on one disk, for one
	}
	return c, nil
}

// A want is something that needs a controller, if it is wanted.
type want struct {
	field      string // of a LimitError
	wanted     bool
	controller cgroupv2.Controller
}

// enforceable returns a *LimitError for the first of wants that this worker has no
// controller for.
func (w *Worker) enforceable(wants []want) error {
	for _, want := range wants {
		if want.wanted && !w.tree.Has(want.controller) {
			return &LimitError{want.field, w.whyMissing(want.controller)}
		}
	}
	return nil
}

// whyMissing says why limits of the controller cannot be enforced here.
func (w *Worker) whyMissing(c cgroupv2.Controller) string {
	for _, m := range w.tree.Missing() {
		if m.Controller == c {
			return fmt.Sprintf("cannot be enforced here: the %s controller is %s", c, m.Reason)
		}
	}
	return fmt.Sprintf("cannot be enforced here: no %s controller", c)
}

// resolveIO finds the disk that l, one of s, is about.
func (w *Worker) resolveIO(s *Spec, l IOLimit) (cgroupv2.IOLimit, error) {
	major, minor, err := w.disk(s, l)
	return cgroupv2.IOLimit{Major: major, Minor: minor,
		ReadBPS: l.ReadBPS, WriteBPS: l.WriteBPS, ReadIOPS: l.ReadIOPS, WriteIOPS: l.WriteIOPS}, err
}

func (w *Worker) disk(s *Spec, l IOLimit) (major, minor uint32, err error) {
	if l.Device != "" {
		major, minor, err := l.device()
		if err != nil {
			return 0, 0, err
		}
		return cgroupv2.Disk(major, minor)
	}
	host, err := s.hostPath(l.Path, filepath.Join(w.cfg.StateDir, jobsDir), w.cfg.Expose)
	if err != nil {
		return 0, 0, err
	}
	return cgroupv2.DiskOf(host)
}

// withOutput fills in what l leaves to the worker about the output.
func (w *Worker) withOutput(l Limits) Limits {
	l.OutputBytes = cmp.Or(l.OutputBytes, w.cfg.DefaultOutput)
	l.OutputFull = cmp.Or(l.OutputFull, EndJob)
	return l
}

// checkOutput returns a *LimitError for more output than the worker records.
func (w *Worker) checkOutput(l Limits) error {
	if most := w.cfg.MaxOutput; most != 0 && l.OutputBytes > most {
		return &LimitError{"limits.output_bytes", fmt.Sprintf("%d: this worker records %d bytes at most", l.OutputBytes, most)}
	}
	return nil
}

// outputCap is the bound of the task's log.
func (t *task) outputCap() stream.Cap {
	l := t.w.withOutput(t.spec.Limits)
	return stream.Cap{Bytes: l.OutputBytes, Newest: l.OutputFull == KeepNewest, Reserve: t.w.cfg.ReserveBytes}
}

// checkCap returns a *LimitError where the file system of the log cannot do what
// nsinit will ask of it.
func (t *task) checkCap(log *stream.Writer) error {
	c := t.outputCap()
	err := log.SetCap(c)
	if e, ok := errors.AsType[*os.PathError](err); ok && c.Newest { // its path is not the client's business
		return &LimitError{"limits.output_full", fmt.Sprintf("cannot be had here: the file system of the worker's jobs: %s: %v", e.Op, e.Err)}
	}
	return err
}

// inForce describes the limits that the kernel has, in the words of the spec.
func inForce(c cgroupv2.Limits, asked Limits) Limits {
	l := Limits{CPUs: c.CPUs, CPUWeight: c.CPUWeight, MemoryBytes: c.MemoryBytes, Pids: c.Pids, ScratchBytes: asked.ScratchBytes,
		OutputBytes: asked.OutputBytes, OutputFull: asked.OutputFull}
	for _, io := range c.IO {
		l.IO = append(l.IO, IOLimit{Device: fmt.Sprintf("%d:%d", io.Major, io.Minor),
			ReadBPS: io.ReadBPS, WriteBPS: io.WriteBPS, ReadIOPS: io.ReadIOPS, WriteIOPS: io.WriteIOPS})
	}
	return l
}

// limitFields names the fields of a Spec after the files of package cgroupv2.
var limitFields = map[string]string{
	"cpu.max": "limits.cpus", "cpu.weight": "limits.cpu_weight", "memory.max": "limits.memory_bytes",
	"memory.swap.max": "limits.memory_bytes", "memory.oom.group": "limits.memory_bytes",
	"pids.max": "limits.pids", "io.max": "limits.io",
}

// limitError turns what package cgroupv2 says of a limit into a *LimitError.
func limitError(err error) error {
	if e, ok := errors.AsType[*cgroupv2.LimitError](err); ok {
		return &LimitError{limitFields[e.File], err.Error()}
	}
	return err
}
