package job

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"jobworker/cgroupv2"
	"jobworker/internal/failpoint"
	"jobworker/nsinit"
	"jobworker/stream"
)

// Start runs a program as a new job. It blocks until the program has been
// executed, and returns the job, or until it is clear that it cannot be; then
// nothing of the job is left. existing reports that the job is one that was
// started before with the same key.
//
// The errors are a *FieldError, a *PermitError, a *LimitError, a *QuotaError,
// a *StartError, ErrKeyReused, ErrUnready, ErrBusy, ErrNoUID, ErrNoSpace, ErrClosed,
// ctx's, or of the disk.
func (w *Worker) Start(ctx context.Context, o StartOptions) (j Job, existing bool, err error) {
	if err := o.validate(); err != nil {
		return Job{}, false, err
	}
	if err := o.Spec.checkCalculate(w.cfg.MaxCalculate); err != nil {
		return Job{}, false, err
	}
	full := w.checkSpace()
	if err := w.checkOutput(o.Spec.Limits); err != nil {
		return Job{}, false, err
	}
	if err := o.Permit.check(&o.Spec); err != nil {
		return Job{}, false, err
	}
	limits, err := w.resolve(&o.Spec)
	if err != nil {
		return Job{}, false, err
	}
	if limits, err = w.underQuota(limits, o.Quota); err != nil {
		return Job{}, false, err
	}
	// Before there is a job: a file system that hangs must hold up nobody but this
	// caller, not the end of the worker. A job that exists already does without.
	g, refused := w.give(&o.Spec, &o.Permit)
	defer g.close()
	t := &task{w: w, owner: o.Owner, key: o.Key, spec: o.Spec.clone(), charge: chargeFor(limits, w.withOutput(o.Spec.Limits).OutputBytes), kept: o.Spec.keptCharge(),
		boot: w.boot, state: Starting, started: make(chan struct{}), done: make(chan struct{})}
	t, spare, existing, err := w.admit(t, o.Quota, full)
	if err != nil {
		return Job{}, false, err
	}
	if existing && !sameSpec(t.spec, o.Spec) {
		return Job{}, false, ErrKeyReused
	}
	if !existing {
		w.spares.refill()                                    // beside this start, which waits most of its time
		w.settle(t, t.start(ctx, g, refused, limits, spare)) // heeds ctx; a job that runs by now is returned
		ctx = context.WithoutCancel(ctx)
	}
	select {
	case <-t.started:
	case <-ctx.Done():
		return Job{}, existing, ctx.Err()
	}
	if existing && canceled(t.startErr) {
		return w.Start(ctx, o) // what ended is the other caller's context
	}
	if t.startErr != nil {
		return Job{}, existing, t.startErr
	}
	j, err = t.snapshot()
	return j, existing, err
}

// canceled reports whether err is that of a context.
func canceled(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// admit enters a new job into the table, with the place that is ready for it, if
// there is one, or finds the job that has its key. The new one counts at once, under
// the lock that its owner's quota is looked at under: of any number of starts at the
// same time no more are admitted than the quota allows. full is why the disk takes no
// new one. Whatever takes longer for a larger Spec is done before or after.
func (w *Worker) admit(t *task, q Quota, full error) (_ *task, spare *place, existing bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.takes(); err != nil {
		return nil, nil, false, err
	}
	if has := w.keys[[2]string{t.owner, t.key}]; has != nil && t.key != "" {
		return has, nil, true, nil
	}
	if full != nil {
		return nil, nil, false, full
	}
	if t.spec.Builtin && w.calculating >= w.cfg.MaxCalculates {
		return nil, nil, false, ErrBusy
	}
	if err := q.check(w.used[t.owner], t.charge.plus(t.kept, 1)); err != nil {
		return nil, nil, false, err
	}
	if err := w.countStart(t.owner, q.StartsPerMinute); err != nil {
		return nil, nil, false, err
	}
	if t.uid, err = w.takeUID(); err != nil {
		return nil, nil, false, err
	}
	id := newID()
	if t.spec.ordinary() {
		spare = w.spares.take()
	}
	if spare != nil {
		id = spare.id
	}
	t.id, t.dir, t.created = id, w.state.job(id), time.Now().UTC()
	// The order of jobs is that of their times, whatever the clock does.
	if n := len(w.order); n > 0 && !t.created.After(w.order[n-1].created) {
		t.created = w.order[n-1].created.Add(1)
	}
	w.enter(t)
	w.counted(t, 1)
	w.running.Add(1)
	return t, spare, false, nil
}

// enter needs w.mu.
func (w *Worker) enter(t *task) {
	w.tasks[t.id] = t
	w.order = append(w.order, t)
	w.uids[t.uid] = true
	w.charge(t.owner, t.kept, 1)
	if t.key != "" {
		w.keys[[2]string{t.owner, t.key}] = t
	}
}

// settle ends the start of t, one way or the other. Its goroutine begins here.
func (w *Worker) settle(t *task, err error) {
	if err == nil {
		failpoint.Here("start.running")
		t.publish(Event{Type: JobCreated})
		t.publish(Event{Type: JobStarted})
		close(t.started)
		go t.supervise()
		return
	}
	t.startErr = err
	w.count(t, -1)
	w.forget(t)
	if !errors.Is(err, errFilesLeft) {
		w.freeUID(t.uid)
	}
	close(t.started)
	close(t.done)
	w.running.Done()
}

// errStartTimeout is why a start ended that took longer than startTimeout.
var errStartTimeout = &StartError{Stage: "clone", Message: "the program was not executed within " + startTimeout.String()}

// errFilesLeft marks the error of a start whose files could not be removed.
var errFilesLeft = errors.New("its files could not be removed")

// takeUID needs w.mu. It goes round, so that an id is not given again soon.
func (w *Worker) takeUID() (uint32, error) {
	for range w.cfg.UIDCount {
		uid := w.cfg.UIDBase + w.uid
		w.uid = (w.uid + 1) % w.cfg.UIDCount
		if !w.uids[uid] {
			w.uids[uid] = true
			return uid, nil
		}
	}
	return 0, ErrNoUID
}

func (w *Worker) freeUID(uid uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.uids, uid)
}

// startTimeout bounds a start, which takes milliseconds: the host's files may be
// on a file system that hangs.
const startTimeout = 30 * time.Second

// start makes everything a job needs beside g, in this order, unless g could not be
// had and there is to be no job. Without a spare place it begins with
//
//	mkdir jobs/<id>, record.json renamed into place
//	mkdir cgroups, nsinit executed
//
// and with one the record is all that is left of that. While nsinit prepares
// itself, if it has not done so long ago:
//
//	scratch, log, exit file, control FIFO
//	limits written and read back
//	nsinit told what to do, with the record on its way to the disk
//	cpu.max read back
//
// On an error it takes back what it made, last first.
func (t *task) start(ctx context.Context, g *given, refused error, limits cgroupv2.Limits, p *place) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, startTimeout, errStartTimeout)
	defer cancel()
	var undo []func() error
	defer func() {
		for _, f := range slices.Backward(undo) {
			if err != nil {
				err = errors.Join(err, f())
			}
		}
		err = noSpace(err)
	}()
	undo = append(undo, t.removeFiles)
	failpoint.Here("start.admitted")
	if p != nil {
		undo = append(undo, p.remove)
	}
	if refused != nil {
		return refused
	}
	if t.spec.User == "" {
		g.uid, g.gid = int(t.uid), int(t.uid)
	}
	var files jobFiles
	defer files.close()
	if err := t.makeRecord(&files, p != nil); err != nil {
		return err
	}
	failpoint.Here("start.record")
	if p == nil {
		if p, err = t.w.makePlace(t.id, t.w.setup(&t.spec, g)); err != nil {
			return err
		}
		undo = append(undo, p.remove)
	}
	failpoint.Here("start.nsinit")
	if err := t.makeFiles(&files, g); err != nil {
		return err
	}
	failpoint.Here("start.files")
	if err := p.group.SetLimits(limits); err != nil {
		return limitError(err)
	}
	failpoint.Here("start.limits")
	proc, err := t.launch(ctx, p, &files, g, limits)
	if err != nil {
		return err
	}
	undo = append(undo, proc.End)
	failpoint.Here("start.executed")

	force, err := p.group.Limits()
	if err != nil {
		return &StartError{"cgroup", 0, err.Error()}
	}
	if force.CPUs != limits.CPUs {
		return &LimitError{"limits.cpus", fmt.Sprintf("%v is in force instead of %v", force.CPUs, limits.CPUs)}
	}
	return t.begin(proc, p.group, inForce(force, t.w.withOutput(t.spec.Limits)))
}

// begin enters the running state.
func (t *task) begin(proc *nsinit.Process, group *cgroupv2.Group, limits Limits) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.proc, t.group, t.limits = proc, group, limits
	at := proc.Started()
	t.state, t.startedAt = Running, &at
	if t.spec.Timeout > 0 {
		t.timeoutAt = time.Now().Add(time.Duration(t.spec.Timeout))
	}
	return t.arm()
}

// jobFiles are the files of a job that is being started.
type jobFiles struct{ record, log, exit, control, stdin, count *os.File }

// close closes those that are open. nsinit has its own by now.
func (f *jobFiles) close() {
	for _, f := range []*os.File{f.record, f.log, f.exit, f.control, f.stdin, f.count} {
		f.Close() // of a nil *os.File is an error, and harmless
	}
}

// makeRecord makes the job's directory, unless it exists, and its record: nothing
// else of a job exists without that. The directory's group is the job's, see
// stateDir.uid; its mode gives that nothing.
func (t *task) makeRecord(f *jobFiles, exists bool) (err error) {
	if !exists {
		if err := os.Mkdir(t.dir, 0o700); err != nil {
			return err
		}
	}
	failpoint.Here("start.directory")
	if err := os.Chown(t.dir, -1, int(t.uid)); err != nil {
		return err
	}
	r := record{Version: recordVersion, ID: t.id, Owner: t.owner, Key: t.key, State: Starting, Spec: t.spec,
		UID: t.uid, Boot: t.boot, CreatedAt: t.created}
	f.record, err = r.write(t.dir, false)
	return err
}

// makeFiles makes what else is in the job's directory.
func (t *task) makeFiles(f *jobFiles, g *given) (err error) {
	if err := t.makeScratch(g); err != nil {
		return err
	}
	const flags = os.O_WRONLY | os.O_APPEND | os.O_CREATE | os.O_EXCL
	if f.log, err = os.OpenFile(filepath.Join(t.dir, logName), flags, 0o600); err != nil {
		return err
	}
	if f.exit, err = os.OpenFile(filepath.Join(t.dir, exitName), flags, 0o600); err != nil {
		return err
	}
	if f.control, err = nsinit.MakeControl(filepath.Join(t.dir, controlName)); err != nil {
		return err
	}
	if t.spec.Stdin {
		if f.stdin, err = nsinit.MakeStdin(filepath.Join(t.dir, stdinName)); err != nil {
			return err
		}
		if f.count, err = nsinit.MakeCount(filepath.Join(t.dir, countName)); err != nil {
			return err
		}
	}
	if err := reserveExit(f.exit); err != nil {
		return err
	}
	log := stream.NewWriter(f.log, 0)
	if err := log.Start(t.id, t.spec.Argv, t.created); err != nil {
		return err
	}
	return t.checkCap(log)
}

func (t *task) makeScratch(g *given) error {
	if t.spec.Limits.ScratchBytes != 0 || t.spec.onHost() {
		return nil
	}
	dir := filepath.Join(t.dir, scratchName)
	return errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, g.uid, g.gid))
}

func (t *task) removeFiles() error {
	if err := t.w.state.remove(t.id); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: %w", errFilesLeft, err)
	}
	return nil
}

// launch has the program executed while the record goes to the disk, and waits
// for both.
func (t *task) launch(ctx context.Context, p *place, files *jobFiles, g *given, limits cgroupv2.Limits) (*nsinit.Process, error) {
	synced := make(chan error, 1) // one result, read below
	go func() { synced <- syncRecord(files.record, t.dir) }()
	proc, err := t.execute(ctx, p, files, g, limits)
	syncErr := <-synced
	if err != nil {
		return nil, err
	}
	if syncErr != nil {
		return nil, errors.Join(fmt.Errorf("sync record: %w", syncErr), proc.End())
	}
	return proc, nil
}

func (t *task) execute(ctx context.Context, p *place, files *jobFiles, g *given, limits cgroupv2.Limits) (*nsinit.Process, error) {
	c := nsinit.Config{
		ID: t.id, Argv: t.spec.Argv, Builtin: t.spec.Builtin, Env: t.spec.environment(g.home), Dir: t.spec.dir(),
		UID: g.uid, GID: g.gid, User: g.name, Merge: t.spec.Merge, Stdin: t.spec.Stdin,
		ScratchDir: filepath.Join(t.dir, scratchName), ScratchBytes: t.spec.Limits.ScratchBytes, Root: t.spec.rootKind(),
		Output: t.outputCap(),
	}
	for _, b := range t.spec.Binds {
		c.Binds = append(c.Binds, b.Target)
	}
	cpuMax, data, err := p.group.CPUMax(limits)
	if err != nil {
		return nil, limitError(err)
	}
	if cpuMax != nil {
		defer cpuMax.Close()
	}
	c.CPUMax = data
	return p.start(ctx, c, nsinit.Files{Log: files.log, Exit: files.exit, Control: files.control, CPUMax: cpuMax, Stdin: files.stdin, Count: files.count, Root: g.root, Binds: g.binds})
}
