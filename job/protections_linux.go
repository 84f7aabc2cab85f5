package job

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Inspect returns the job with an id, as Status does; of one that runs also its
// Protections, and its Limits as they are now. All of it is read from the kernel,
// which takes some hundred microseconds.
func (w *Worker) Inspect(id string) (Job, error) {
	t, err := w.find(id)
	if err != nil {
		return Job{}, err
	}
	j, err := t.snapshot()
	live := j.State == Running || j.State == Stopping
	if err != nil || !live || t.proc == nil || t.group == nil {
		return j, err
	}
	j.Protections, err = t.protections()
	if err == nil {
		j.Limits, err = t.limitsNow()
	}
	if err != nil { // as when the job has just ended
		now, statusErr := t.snapshot()
		if statusErr != nil || now.State == Ended {
			return now, statusErr
		}
		t.w.cfg.Log.Warn("inspect job", "job", id, "err", err)
	}
	return j, nil
}

// limitsNow reads the limits in force back.
func (t *task) limitsNow() (Limits, error) {
	force, err := t.group.Limits()
	return inForce(force, t.limits), err
}

// protections reads what is in force for the main process of a job that runs.
func (t *task) protections() (*Protections, error) {
	proc, err := t.mainProcess()
	if err != nil {
		return nil, err
	}
	defer proc.Close()
	p := new(Protections)
	for _, f := range []struct {
		name  string
		parse func(string) error
	}{{"status", p.parseStatus}, {"mountinfo", p.parseMounts}} {
		b, err := proc.ReadFile(f.name)
		if err != nil {
			return nil, err
		}
		if err := f.parse(string(b)); err != nil {
			return nil, err
		}
	}
	p.Namespaces, err = otherNamespaces(proc)
	return p, err
}

// mainProcess opens the directory in /proc of the job's main process: of those in
// its cgroup the first child of nsinit. Orphans become children of nsinit too, but no
// process has more rights than the one that it comes from. A process of somebody
// else's that has got a number of the list meanwhile has another parent.
func (t *task) mainProcess() (*os.Root, error) {
	if t.proc == nil {
		return nil, fmt.Errorf("main process of job %s: %w", t.id, fs.ErrNotExist)
	}
	pids, err := t.group.PayloadPIDs()
	if err != nil {
		return nil, err
	}
	slices.Sort(pids)
	parent := fmt.Sprintf("\nPPid:\t%d\n", t.proc.PID())
	for _, pid := range pids {
		proc, err := os.OpenRoot("/proc/" + strconv.Itoa(pid))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		status, err := proc.ReadFile("status")
		if err == nil && strings.Contains(string(status), parent) {
			return proc, nil
		}
		proc.Close()
	}
	return nil, fmt.Errorf("main process of job %s: %w", t.id, fs.ErrNotExist)
}

// otherNamespaces returns those of the process that this one is not in, or nil where
// it may not know.
func otherNamespaces(proc *os.Root) ([]string, error) {
	var other []string
	for _, name := range []string{"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"} {
		theirs, err := proc.Readlink("ns/" + name)
		if errors.Is(err, fs.ErrPermission) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		ours, err := os.Readlink("/proc/self/ns/" + name)
		if err != nil {
			return nil, err
		}
		if theirs != ours {
			other = append(other, name)
		}
	}
	return other, nil
}
