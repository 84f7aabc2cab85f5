package job

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"jobworker/nsinit"
	"jobworker/stream"
)

// finish closes the books of a job whose nsinit has ended, in this order:
//
//	no process left      cgroup.events: populated 0
//	usage measured       before the cgroup goes
//	cgroup removed
//	exit frame appended  the log is complete, and on disk
//	record written       on disk
//	state published      then done closed and events published, by the caller
//
// What goes wrong is logged, and the next step taken: a job has to end. What the
// disk did not take is written when it does.
func (t *task) finish() { t.closeBooks(t.cleanUp()) }

// closeBooks makes the end of a job that has no process any more known.
func (t *task) closeBooks(usage Usage) {
	e := t.readExit()
	end := &ending{e, t.finalRecord(e, usage)}
	if t.write(end) != nil {
		t.unsaved.Store(end)
	}
	t.show(end.record)
}

// write puts the end of the log and the record on the disk. What it could not is
// in the log of the worker.
func (t *task) write(end *ending) error {
	n, logErr := t.endLog(end.exit, end.record)
	t.complain("end log", logErr)
	end.record.OutputBytes = n
	err := t.writeFinal(end.record)
	t.complain("write record", err)
	return errors.Join(logErr, err)
}

// finalRecord describes the job as it ended.
func (t *task) finalRecord(e *nsinit.Exit, usage Usage) *record {
	t.mu.Lock()
	defer t.mu.Unlock()
	end := time.Now().UTC()
	if e != nil {
		end = e.Time
	}
	v := t.judge(e, usage)
	return &record{Version: recordVersion, ID: t.id, Owner: t.owner, Key: t.key, State: Ended, Spec: t.spec, UID: t.uid,
		Boot: t.w.boot, CreatedAt: t.created, StartedAt: t.startedAt, EndedAt: &end, Limits: t.limits, Usage: usage, StdinBytes: t.input.accepted, Verdict: &v}
}

// show makes r what everyone sees of the job, all at once.
func (t *task) show(r *record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.startedAt, t.endedAt, t.limits = r.StartedAt, r.EndedAt, r.Limits
	t.usage, t.measured, t.outputBytes, t.verdict = r.Usage, true, r.OutputBytes, r.Verdict
	t.input.accepted = r.StdinBytes
	t.state = r.State
}

func (t *task) complain(what string, err error) {
	if err != nil {
		t.w.cfg.Log.Error(what, "job", t.id, "err", err)
	}
}

// cleanUp waits until the job's cgroup is empty, measures and removes it. The
// kernel ends a PID namespace with its PID 1 (pid_namespaces(7)), so this is
// short, unless a process is stuck in the kernel: then it is said, and waited
// for.
func (t *task) cleanUp() Usage {
	for {
		ctx, cancel := context.WithTimeout(context.Background(), lastResort)
		err := t.group.WaitEmpty(ctx)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			<-ctx.Done() // if it was another error, it may pass
		}
		cancel()
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			break
		}
		t.complain("wait for the end of all processes", errors.Join(err, t.group.KillAll()))
	}
	usage, err := t.group.Usage()
	t.complain("measure usage", err)
	t.mu.Lock()
	t.usage, t.measured = usage, true
	t.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), lastResort)
	defer cancel()
	t.complain("remove cgroup", t.group.Remove(ctx))
	return usage
}

// sigKill is SIGKILL, as the OOM killer sends it.
const sigKill = 9

// readExit returns what nsinit wrote about the end of the main process, or nil.
func (t *task) readExit() *nsinit.Exit {
	b, err := os.ReadFile(filepath.Join(t.dir, exitName))
	if err != nil {
		t.complain("read exit file", err)
		return nil
	}
	e, ok, err := nsinit.ParseExit(b)
	t.complain("read exit file", err)
	if !ok {
		return nil
	}
	if e.LogError != "" {
		t.complain("record output", errors.New(e.LogError))
	}
	return &e
}

// judge needs t.mu. It finds the verdict from how the main process ended and
// what was done to it; where several reasons apply, the first below counts.
func (t *task) judge(e *nsinit.Exit, u Usage) Verdict {
	if e == nil && t.reason != "" {
		return Verdict{Reason: t.reason, By: t.by, Error: "nsinit had to be killed: the last of the output may be missing"}
	}
	if e == nil {
		return Verdict{Reason: Lost, Stage: "nsinit", Error: "nsinit was killed, or could not write how the job ended, or its worker died and the next one killed the job"}
	}
	v := Verdict{Code: e.Code}
	if e.Signal != 0 {
		v.Signal = signalName(e.Signal)
	}
	switch {
	case e.Signal == sigKill && u.OOMKills != nil && *u.OOMKills > 0:
		v.Reason = OOMKilled
	case e.OutputLimit:
		v.Reason = OutputLimit
	case t.reason != "" && e.Time.After(t.askedAt): // it had not ended by itself before
		v.Reason, v.By = t.reason, t.by
	case e.Signal != 0:
		v.Reason = Signaled
	default:
		v.Reason = Exited
	}
	return v
}

// signalName names any signal that can end a process.
func signalName(n int) string {
	if s := SignalName(n); s != "" {
		return s
	}
	return fmt.Sprintf("SIG%d", n)
}

// endLog appends the exit frame, after cutting off what a nsinit that was killed
// left half written, and returns how many bytes of output the log holds.
func (t *task) endLog(e *nsinit.Exit, r *record) (int64, error) {
	said := int64(0) // what there was by nsinit
	if e != nil {
		said = e.OutputBytes
	}
	f, err := os.OpenFile(filepath.Join(t.dir, logName), os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		return said, err
	}
	defer f.Close()
	next, ended, err := stream.Recover(f)
	if err != nil {
		return max(said, next), err
	}
	if ended {
		return next, nil
	}
	usage, err := json.Marshal(r.Usage)
	if err != nil {
		return next, err
	}
	w := stream.NewWriter(f, next)
	if e != nil {
		// What nsinit could not write, and could not mark either.
		err = w.Gap(max(0, said-next), cmp.Or(e.Unmarked, stream.GapWriteError))
	}
	return w.Offset(), errors.Join(err, w.Exit(*r.EndedAt, *r.Verdict, usage), w.Sync())
}

func (t *task) writeFinal(r *record) error {
	f, err := r.write(t.dir, true)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), syncDir(t.dir))
}
