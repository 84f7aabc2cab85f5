// Package cgroupv2 keeps one tree of Linux control groups (version 2) by plain
// file input and output: it creates a group for each job, limits, measures,
// kills and removes it.
//
// A [Tree] works in one cgroup, its root, which it treats as its own:
//
//	<root>/supervisor/        this process, if it was found in <root> itself
//	<root>/jobs/<id>/         one job: cpu and io limits, cpu and io usage
//	<root>/jobs/<id>/init/    the job's PID 1, which records the output
//	<root>/jobs/<id>/payload/ what the user runs: memory and pids limits and usage
//
// The limits on cpu and io cover the recording too. Those on memory and pids do
// not: an init charged to them would be killed, or could not start, at a limit
// its user chose for something else.
//
// # Processes only at the leaves
//
// A cgroup that enables controllers for its children cannot hold processes
// (the "no internal process constraint", cgroups(7)). That is why this process
// moves to supervisor/ when it sits in the root, and why other processes in
// the root are named by [Open] as the reason of missing controllers.
//
// # Limits are in force or refused
//
// Every limit is read back after it was written. One that reads back different,
// or whose controller is missing, is a [*LimitError]; nothing is ever weaker
// than asked without one. The kernel rounds memory.max down to its page size:
// that is stricter than asked, accepted, and reported by [Group.Limits].
//
// # What is missing
//
// The controllers are cpu, memory, io and pids. Open refuses to work without
// one of them, with a [*MissingError] that names where it is instead and how
// to get it, unless [Config.AllowMissing] is set.
//
// # Kernel versions
//
// cgroup.kill came with Linux 5.14 and is required. memory.peak (5.19) and
// pressure (CONFIG_PSI) are reported where they are there.
//
// Sources: cgroups(7), Documentation/admin-guide/cgroup-v2.rst and
// Documentation/accounting/psi.rst of the kernel, and systemd's
// docs/CGROUP_DELEGATION.md.
package cgroupv2

import (
	"fmt"
	"slices"
	"strings"
)

// Controller is the name of a cgroup v2 controller.
type Controller string

// The controllers that a tree works with.
const (
	CPU    Controller = "cpu"
	Memory Controller = "memory"
	IO     Controller = "io"
	Pids   Controller = "pids"
)

// Controllers returns the four controllers in the order they are reported in.
func Controllers() []Controller { return []Controller{CPU, Memory, IO, Pids} }

// v1 is the name the controller has in /proc/cgroups and in mounts of cgroup v1.
func (c Controller) v1() string {
	if c == IO {
		return "blkio"
	}
	return string(c)
}

// Config says where a tree is and what it can do without.
type Config struct {
	// Root is the cgroup to work in: an absolute path below a cgroup2 mount, or
	// a path relative to that mount ("jobworker-42"). It is created if it is
	// not there; its parent is not.
	//
	// "" is the cgroup of the systemd unit this process runs in, if that has
	// Delegate=; the top of what is visible, if this process is in it and it is
	// not the root of the whole hierarchy, as in a container; and otherwise
	// "jobworker" below the mount.
	Root string

	// AllowMissing lets Open succeed without some of the controllers. The limits
	// they stand for are then refused.
	AllowMissing bool
}

// Missing is a controller that a tree has to do without.
type Missing struct {
	Controller Controller
	Reason     string // where it is instead: "bound to cgroup v1 at /sys/fs/cgroup/memory"
	Fix        string // what an administrator can do about it
}

// String returns the controller and the reason.
func (m Missing) String() string { return fmt.Sprintf("%s (%s)", m.Controller, m.Reason) }

// MissingError is what Open returns when controllers are missing. It names each
// of them, where it is instead, and how to get it.
type MissingError struct {
	Root    string // the cgroup they were wanted in
	Missing []Missing
}

// Error returns one line: what is missing, why, and what can be done.
func (e *MissingError) Error() string {
	var reasons, fixes []string
	names := make(map[string]string) // by reason: often one reason holds for all
	for _, m := range e.Missing {
		if names[m.Reason] == "" {
			reasons = append(reasons, m.Reason)
			names[m.Reason] = string(m.Controller)
		} else {
			names[m.Reason] += " " + string(m.Controller)
		}
		if m.Fix != "" && !slices.Contains(fixes, m.Fix) {
			fixes = append(fixes, m.Fix)
		}
	}
	for i, r := range reasons {
		reasons[i] = names[r] + " (" + r + ")"
	}
	fixes = append(fixes, "go without: -allow-missing-controllers")
	return fmt.Sprintf("open cgroup tree: %s: missing controllers: %s; to mend it, %s",
		e.Root, strings.Join(reasons, ", "), strings.Join(fixes, ", or "))
}

// LimitError is a limit that cannot be put in force as asked.
type LimitError struct {
	Controller Controller
	File       string // the kernel's name of the limit: "memory.max"
	Value      string // what was to be written to it
	Reason     string // why it is not in force
	Err        error  // the kernel's error; nil when there was none
}

// Error returns file, value and reason.
func (e *LimitError) Error() string {
	return fmt.Sprintf("%s: set %q: %s", e.File, e.Value, e.Reason)
}

// Unwrap returns the kernel's error, or nil.
func (e *LimitError) Unwrap() error { return e.Err }
