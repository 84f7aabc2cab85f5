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

	"jobworker/internal/failpoint"
	"jobworker/nsinit"
	"jobworker/stream"
)

// finish closes the books of a job whose nsinit has ended, and reports whether it has:
// the worker may leave before the last process is gone. In this order:
//
//	no process left      cgroup.events: populated 0
//	usage measured
//	exit frame appended  the log is complete, and on disk
//	record written       on disk
//	cgroup removed       only now: until then it knows how the job ended
//	state published      then done closed and events published, by the caller
//
// What goes wrong is logged, and the next step taken: a job has to end. What the
// disk did not take is written when it does, and the cgroup stays as long. After a crash
// on the way the next worker does it again, with the same result.
func (t *task) finish() bool {
	usage, empty := t.measure()
	if !empty {
		return false
	}
	failpoint.Here("end.measured")
	end := t.closeBooks(usage)
	if t.write(end) != nil {
		t.unsaved.Store(end)
	} else {
		t.removeGroup()
	}
	failpoint.Here("end.cgroup")
	t.show(end.record)
	failpoint.Here("end.shown")
	return true
}

// closeBooks finds out how a job ended that has no process any more.
func (t *task) closeBooks(usage Usage) *ending {
	f := t.readExit()
	t.complain("read exit file", f.err)
	if f.exit != nil && f.exit.LogError != "" {
		t.complain("record output", errors.New(f.exit.LogError))
	}
	return &ending{f.exit, t.finalRecord(f, usage)}
}

// write puts the end of the log and the record on the disk. What it could not is
// in the log of the worker.
func (t *task) write(end *ending) error {
	logErr := t.endLog(end.exit, end.record)
	t.complain("end log", logErr)
	failpoint.Here("end.log")
	err := t.writeFinal(end.record)
	failpoint.Here("end.record")
	t.complain("write record", err)
	return errors.Join(logErr, err)
}

func (t *task) removeGroup() {
	if t.group != nil {
		t.complain("remove cgroup", removeGroup(t.group))
	}
}

// finalRecord describes the job as it ended.
func (t *task) finalRecord(f exitFile, usage Usage) *record {
	t.mu.Lock()
	defer t.mu.Unlock()
	end := time.Now().UTC()
	if f.exit != nil {
		end = f.exit.Time
		t.startedAt = &f.start.Time // not known yet if that worker died meanwhile
	}
	v := t.judge(f, usage)
	r := &record{Version: recordVersion, ID: t.id, Owner: t.owner, Key: t.key, State: Ended, Spec: t.spec, UID: t.uid,
		Boot: t.boot, CreatedAt: t.created, StartedAt: t.startedAt, EndedAt: &end, Limits: t.limits, Usage: usage, StdinBytes: t.input.accepted, Verdict: &v}
	if f.exit != nil && t.input.unknown {
		r.StdinBytes = f.exit.StdinBytes
	}
	return r
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

// measure waits until the job's cgroup is empty and returns what was used in it. The
// kernel ends a PID namespace with its PID 1 (pid_namespaces(7)), so this is
// short, unless a process is stuck in the kernel: then it is said, and waited
// for, until the worker leaves; empty is false then.
func (t *task) measure() (usage Usage, empty bool) {
	if t.group == nil {
		return Usage{}, true
	}
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
		if t.isLeft() {
			return Usage{}, false
		}
	}
	usage, err := t.group.Usage()
	t.complain("measure usage", err)
	t.mu.Lock()
	t.usage, t.measured = usage, true
	t.mu.Unlock()
	return usage, true
}

// sigKill is SIGKILL, as the OOM killer sends it.
const sigKill = 9

// An exitFile is what nsinit wrote about the start and the end of the main process,
// nil for what is not there, and what is wrong with that.
type exitFile struct {
	start *nsinit.Report
	exit  *nsinit.Exit
	err   error
}

// started reports whether the program is known to have been executed.
func (f exitFile) started() bool { return f.start != nil && f.start.Stage == "" }

func (t *task) readExit() (f exitFile) {
	b, err := os.ReadFile(filepath.Join(t.dir, exitName))
	if errors.Is(err, fs.ErrNotExist) {
		return exitFile{} // the start had not come as far
	}
	if err != nil {
		return exitFile{err: err}
	}
	f.start, f.exit, f.err = nsinit.ParseExitFile(b)
	return f
}

// judge needs t.mu. It finds the verdict from how the main process was started and
// ended, and what was done to it; where several reasons apply, the first below counts.
func (t *task) judge(f exitFile, u Usage) Verdict {
	e := f.exit
	if e == nil {
		return t.judgeUnknown(f)
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

// judgeUnknown needs t.mu. It finds the verdict on a job whose nsinit has not said how
// the main process ended.
func (t *task) judgeUnknown(f exitFile) Verdict {
	switch {
	case f.err != nil:
		return Verdict{Reason: Lost, Stage: "exit file", Error: f.err.Error()}
	case t.startedAt == nil && f.start != nil && !f.started():
		return Verdict{Reason: StartFailed, Stage: f.start.Stage, Error: f.start.Message}
	case t.boot != t.w.boot: // what nsinit had written may not have been on the disk
		return Verdict{Reason: Lost, Stage: "boot", Error: "the system was restarted while the job was started or ran"}
	case t.startedAt == nil:
		return Verdict{Reason: StartFailed, Stage: "worker", Error: "the worker died while it started the job"}
	case t.reason != "":
		return Verdict{Reason: t.reason, By: t.by, Error: "nsinit was killed: the last of the output may be missing"}
	}
	return Verdict{Reason: Lost, Stage: "nsinit", Error: "nsinit was killed, or could not write how the program ended; the last of the output may be missing"}
}

// signalName names any signal that can end a process.
func signalName(n int) string {
	if s := SignalName(n); s != "" {
		return s
	}
	return fmt.Sprintf("SIG%d", n)
}

// endLog appends the exit frame, after cutting off what a nsinit that was killed
// left half written, and notes in r how many bytes of output there were. Where it has
// been appended already, what it told everyone about the end stays true.
func (t *task) endLog(e *nsinit.Exit, r *record) error {
	if e != nil {
		r.OutputBytes = e.OutputBytes
	}
	f, err := os.OpenFile(filepath.Join(t.dir, logName), os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	next, exit, err := stream.Recover(f)
	if err != nil {
		return err
	}
	if exit != nil {
		r.OutputBytes, r.EndedAt, r.Verdict = next, &exit.Time, exit.Verdict
		return json.Unmarshal(exit.Usage, &r.Usage)
	}
	w := stream.NewWriter(f, next)
	if err := t.beginLog(f, w); err != nil {
		return err
	}
	usage, err := json.Marshal(r.Usage)
	if err != nil {
		return err
	}
	if e != nil {
		// What nsinit could not write, and could not mark either.
		err = w.Gap(max(0, e.OutputBytes-next), cmp.Or(e.Unmarked, stream.GapWriteError))
	}
	r.OutputBytes = w.Offset()
	return errors.Join(err, w.Exit(*r.EndedAt, *r.Verdict, usage), w.Sync())
}

// beginLog writes the first line of a log that an earlier worker has not begun.
func (t *task) beginLog(f *os.File, w *stream.Writer) error {
	st, err := f.Stat()
	if err != nil || st.Size() > 0 {
		return err
	}
	return w.Start(t.id, t.spec.Argv, t.created)
}

func (t *task) writeFinal(r *record) error {
	f, err := r.write(t.dir, true)
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), syncDir(t.dir))
}
