package job

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"jobworker/cgroupv2"
	"jobworker/internal/failpoint"
	"jobworker/nsinit"
	"jobworker/stream"
)

// lastResort is how long after its cgroup was killed a job's nsinit is killed
// too, and again.
const lastResort = 5 * time.Second

// A task is a job from the inside.
type task struct {
	w       *Worker
	id      string
	owner   string
	key     string
	spec    Spec // as asked for
	dir     string
	uid     uint32
	created time.Time
	boot    string // id of the boot in which the job was started
	charge  Quota  // what it counts with until it has ended
	kept    Quota  // and until it is removed; changed under the worker's mu

	// started is closed when Start has succeeded or failed. What follows is
	// set before, and not changed after.
	started  chan struct{}
	startErr error
	proc     *nsinit.Process // nil for a job whose nsinit had ended when this worker was opened: it is as good as over
	group    *cgroupv2.Group // nil for a job that has none any more
	limits   Limits          // in force

	done chan struct{} // closed when the job is over, after everything about it is final

	removal sync.Mutex             // held while files of a job that is over are being removed, or written after all
	size    atomic.Int64           // of its files, once it is over and they were counted
	unsaved atomic.Pointer[ending] // of a job that is over: what the disk did not take

	// stops is held by one stop request at a time, so that what is on file about
	// them has their order.
	stops sync.Mutex

	// mu guards the rest, which the task's goroutine changes, and Start and
	// Stop while it waits for nsinit.
	mu          sync.Mutex
	state       State
	startedAt   *time.Time
	endedAt     *time.Time
	timeoutAt   time.Time // when the job is stopped; zero: never
	killAt      time.Time // when the payload is killed; zero: not yet known
	reason      string    // why it is being stopped: Stopped or TimedOut
	askedAt     time.Time // since when
	by          string    // who stops it
	killed      bool      // the payload has been killed
	left        bool      // the worker leaves the job to the next one
	usage       Usage     // final, once measured
	measured    bool
	outputBytes int64
	input       input
	verdict     *Verdict
}

// snapshot describes the job as it is now.
func (t *task) snapshot() (Job, error) {
	t.mu.Lock()
	j, measured := t.describe(), t.measured
	t.mu.Unlock()
	if j.State == Ended || j.State == Starting {
		return j, nil
	}
	j.OutputBytes = t.countOutput()
	if measured {
		return j, nil
	}
	usage, err := t.group.Usage()
	if err == nil {
		j.Usage = usage
		return j, nil
	}
	// The cgroup may have gone in the meantime: then the job is ending.
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.measured {
		return Job{}, fmt.Errorf("job %s: %w", t.id, err)
	}
	return t.describe(), nil
}

// describe needs t.mu.
func (t *task) describe() Job {
	j := Job{ID: t.id, State: t.state, Owner: t.owner, Spec: t.spec, CreatedAt: t.created,
		StartedAt: t.startedAt, EndedAt: t.endedAt, Usage: t.usage, OutputBytes: t.outputBytes, StdinBytes: t.input.accepted, Verdict: t.verdict}
	if t.state != Starting {
		j.Limits = t.limits
	}
	return j
}

// countOutput returns how many bytes of output there are by the log of a job that
// runs, or were when it could be read: a disk that fails must not hide the job.
func (t *task) countOutput() int64 {
	n, err := t.recorded()
	if !errors.Is(err, os.ErrNotExist) { // it has just ended, and been removed
		t.complain("read log", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.outputBytes = max(t.outputBytes, n)
	return t.outputBytes
}

// recorded returns how many bytes of output are in the log.
func (t *task) recorded() (int64, error) {
	f, err := os.Open(filepath.Join(t.dir, logName))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return stream.Next(f)
}

func (t *task) matches(f Filter) bool {
	if f.Owner != "" && t.owner != f.Owner {
		return false
	}
	for k, v := range f.Labels {
		if got, ok := t.spec.Labels[k]; !ok || got != v {
			return false
		}
	}
	if f.State == "" {
		return true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.state == f.State
}

// signal sends sig to the main process of a job that has started.
func (t *task) signal(sig int, by string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == Ended {
		return ErrEnded
	}
	return t.send(sig, by)
}

// send needs t.mu, so that what it publishes comes before the end. It has nsinit
// send sig to the main process.
func (t *task) send(sig int, by string) error {
	if err := nsinit.Signal(filepath.Join(t.dir, controlName), sig); err != nil {
		return err
	}
	t.publish(Event{Type: JobSignalled, Signal: signalName(sig), By: by})
	return nil
}

// tell publishes e after everything that has been published under t.mu.
func (t *task) tell(e Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.publish(e)
}

// publish adds e, about this job, to the events of the worker.
func (t *task) publish(e Event) {
	e.Job, e.Owner, e.Name = t.id, t.owner, t.spec.Name
	t.w.events.publish(e)
}

// kill ends the job without delay.
func (t *task) kill() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == Ended || t.proc == nil {
		return
	}
	t.killAt = time.Now()
	if err := t.arm(); err != nil {
		t.w.cfg.Log.Error("kill job", "job", t.id, "err", err)
	}
}

// leave has the task's goroutine end, and the job go on.
func (t *task) leave() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == Ended {
		return nil
	}
	t.left = true
	return t.arm()
}

func (t *task) isLeft() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.left
}

// arm needs t.mu, and a job that has not ended. It has the task's goroutine wake up at
// the next time at which it has something to do.
func (t *task) arm() error {
	if t.proc == nil {
		return nil
	}
	next := t.killAt
	switch {
	case t.left:
		next = time.Now()
	case next.IsZero():
		next = t.timeoutAt
	}
	return t.proc.SetDeadline(next)
}

// supervise is the goroutine of a job: it waits until nsinit has ended, does
// what falls due until then, and closes the books.
func (t *task) supervise() {
	defer t.w.running.Done()
	if t.proc != nil {
		defer t.proc.Close()
		if left := t.await(); left {
			return
		}
	}
	failpoint.Here("end.nsinit")
	if !t.finish() {
		return
	}
	t.w.ended(t)
	t.end()
	t.removeScratch()
}

// await returns when nsinit has ended, or when the job is left to the next worker.
func (t *task) await() (left bool) {
	for {
		err := t.proc.Wait()
		if err == nil {
			return false
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			// Nothing is known of the process any more, but the end of
			// its cgroup still is: finish waits for it.
			t.w.cfg.Log.Error("wait for job", "job", t.id, "err", err)
			return false
		}
		if t.isLeft() {
			return true
		}
		t.due()
	}
}

// end lets everyone know that the job is over. It is over for whoever sees the
// event, and the event is there for whoever finds the job over.
func (t *task) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.done)
	if n := t.usage.OOMKills; n != nil && *n > 0 {
		t.publish(Event{Type: JobOOM})
	}
	t.publish(Event{Type: JobEnded, Verdict: t.verdict, Message: t.printed()})
	t.w.keeper.look()
}

func isDone(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// printed needs t.mu. It returns the message of a calculate that came to its end.
func (t *task) printed() *string {
	if v := t.verdict; !t.spec.Builtin || v.Reason != Exited || *v.Code != 0 {
		return nil
	}
	return &t.spec.Argv[calculateMessage]
}

// due does what has fallen due: the timeout, then the end of the grace period,
// then the last resort.
func (t *task) due() {
	now := time.Now()
	t.mu.Lock()
	timeout := t.killAt.IsZero() && !now.Before(t.timeoutAt)
	force := !t.killAt.IsZero() && !now.Before(t.killAt)
	t.mu.Unlock()
	var err error
	switch {
	case timeout:
		err = t.requestStop(TimedOut, StopOptions{})
	case force:
		err = t.force()
	}
	t.mu.Lock()
	err = errors.Join(err, t.arm())
	t.mu.Unlock()
	t.complain("end job", err)
}

// force kills the payload, which leaves nsinit to record the last of the output,
// or kills nsinit if that was of no use. A process in an uninterruptible sleep
// survives both until it wakes up, so this repeats.
func (t *task) force() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.group.Kill()
	failpoint.Here("stop.killed")
	if t.killed {
		err = errors.Join(err, t.proc.Kill())
	}
	t.killed = true
	t.killAt = time.Now().Add(lastResort)
	return errors.Join(err, t.arm())
}
