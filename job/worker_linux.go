package job

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"jobworker/cgroupv2"
	"jobworker/internal/failpoint"
	"jobworker/nsinit"
	"jobworker/stream"
)

// A Worker runs jobs. Its methods are safe for concurrent use.
type Worker struct {
	cfg   Config
	state *stateDir
	tree  *cgroupv2.Tree
	lock  *os.File // of the tree's root
	image *nsinit.Image
	files *stream.Watcher
	boot  string // boot id of the system

	events  eventLog
	opened  time.Time      // in whole microseconds; the number of the first event
	running sync.WaitGroup // the goroutines of jobs
	spares  spares
	keeper  keeper
	space   space

	// mu guards the table of jobs, for as long as it takes to look one up or
	// change it; what is in a task has the task's own mutex.
	mu          sync.Mutex
	life        WorkerState // events of its changes are published under mu, in their order
	closed      bool        // Shutdown has been called
	live        int         // jobs that have not ended
	calculating int         // calculates among them

	tasks  map[string]*task    // by id
	order  []*task             // by creation
	keys   map[[2]string]*task // by owner and idempotency key
	uids   map[uint32]bool     // in use by a job with files
	uid    uint32              // last given
	used   map[string]Quota    // by owner, what their jobs count with; none for nothing
	starts map[string]pace     // by owner, of those with a quota on it
}

// Open makes a Worker of the state directory and the cgroup in cfg, which nobody else
// may be using. Jobs that an earlier worker left running are its own from now on; how
// those ended that are over is recorded and published. A job whose files cannot be
// made sense of is set aside: Config.Log gets an error, nothing of it is touched,
// and its user id stays taken.
//
// It returns a *FieldError for a configuration that cannot be right, and a
// *cgroupv2.MissingError where controllers are missing and cfg does not accept
// that.
func Open(cfg Config) (_ *Worker, err error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("open worker: %w", err)
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("open worker: must be root (try sudo): jobs need namespaces, cgroups and user ids of their own")
	}
	w := &Worker{cfg: cfg, tasks: make(map[string]*task), keys: make(map[[2]string]*task), uids: make(map[uint32]bool),
		used: make(map[string]Quota), starts: make(map[string]pace)}
	w.spares.w = w
	w.keeper.w, w.keeper.wake = w, make(chan struct{}, 1)
	w.opened = time.Now().UTC().Truncate(time.Microsecond)
	w.events.init(w.opened.UnixMicro(), cfg.History)
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open worker: %w", err), w.close())
		}
	}()
	if err := checkDirs(cfg.Expose); err != nil {
		return nil, err
	}
	if w.state, err = openStateDir(cfg.StateDir); err != nil {
		return nil, err
	}
	if err := w.checkExpose(); err != nil {
		return nil, err
	}
	if w.boot, err = bootID(); err != nil {
		return nil, err
	}
	if w.tree, err = cgroupv2.Open(cgroupv2.Config{Root: cfg.CgroupRoot, AllowMissing: cfg.AllowMissingControllers}); err != nil {
		return nil, err
	}
	if w.lock, err = lockCgroup(w.tree.Path()); err != nil {
		return nil, err
	}
	if w.image, err = nsinit.NewImage(); err != nil {
		return nil, err
	}
	if w.files, err = stream.NewWatcher(); err != nil {
		return nil, err
	}
	if err := w.recover(); err != nil {
		return nil, err
	}
	w.spares.refill()
	w.keeper.start()
	w.begin()
	return w, nil
}

// close frees what Open made.
func (w *Worker) close() error {
	w.keeper.close()
	w.spares.close()
	w.events.close()
	var errs []error
	if w.files != nil {
		errs = append(errs, w.files.Close())
	}
	if w.image != nil {
		errs = append(errs, w.image.Close())
	}
	if w.tree != nil {
		errs = append(errs, w.tree.Close())
	}
	if w.lock != nil {
		errs = append(errs, w.lock.Close())
	}
	if w.state != nil {
		errs = append(errs, w.state.close())
	}
	return errors.Join(errs...)
}

// Missing returns the controllers whose limits this worker cannot enforce.
func (w *Worker) Missing() []cgroupv2.Missing { return w.tree.Missing() }

// find returns the task with an id, or ErrNotFound.
func (w *Worker) find(id string) (*task, error) {
	id, ok := ParseID(id)
	if !ok {
		return nil, ErrNotFound
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.tasks[id]
	if t == nil {
		return nil, ErrNotFound
	}
	return t, nil
}

// Owner returns whose the job with an id is, or ErrNotFound. It looks at nothing else.
func (w *Worker) Owner(id string) (string, error) {
	t, err := w.find(id)
	if err != nil {
		return "", err
	}
	return t.owner, nil
}

// Status returns the job with an id, or ErrNotFound.
func (w *Worker) Status(id string) (Job, error) {
	t, err := w.find(id)
	if err != nil {
		return Job{}, err
	}
	return t.snapshot()
}

// Wait blocks until the job is over and returns it. When ctx ends first, it
// returns ctx's error with the job as it is then.
func (w *Worker) Wait(ctx context.Context, id string) (Job, error) {
	t, err := w.find(id)
	if err != nil {
		return Job{}, err
	}
	var waitErr error
	select {
	case <-t.done:
	case <-ctx.Done():
		waitErr = ctx.Err()
	}
	j, err := t.snapshot()
	return j, errors.Join(waitErr, err)
}

// List returns the jobs that f selects, newest first, and the token of the next
// page; it is empty on the last. It returns ErrPageToken for a token that no
// List gave.
func (w *Worker) List(f Filter) (jobs []Job, next string, err error) {
	if f.Limit <= 0 || f.Limit > MaxPage {
		f.Limit = MaxPage
	}
	after, err := parsePageToken(f.PageToken)
	if err != nil {
		return nil, "", err
	}
	var size int64
	for _, t := range slices.Backward(w.olderThan(after)) {
		if !t.matches(f) {
			continue
		}
		size += t.spec.specBytes()
		if len(jobs) == f.Limit || len(jobs) > 0 && size > maxPageBytes {
			return jobs, pageToken(jobs[len(jobs)-1]), nil
		}
		j, err := t.snapshot()
		if errors.Is(err, os.ErrNotExist) {
			continue // it has just been removed
		}
		if err != nil {
			return nil, "", err
		}
		jobs = append(jobs, j)
	}
	return jobs, "", nil
}

// inOrder returns the jobs that there are, in the order of their creation.
func (w *Worker) inOrder() []*task { return w.olderThan(position{}) }

// olderThan returns the jobs before p, in the order of their creation.
func (w *Worker) olderThan(p position) []*task {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, _ := slices.BinarySearchFunc(w.order, p, func(t *task, p position) int {
		if (position{t.created, t.id}).before(p) {
			return -1
		}
		return 1
	})
	return slices.Clone(w.order[:n])
}

// Stop asks the job to end, with its stop signal, and kills what is left of it
// after its grace period. It blocks until the job is over, and returns it. A ctx
// that ends first ends the waiting, not the stop: then the error is ctx's.
//
// Stopping a job that has ended changes nothing and is no error. A second Stop
// can only bring the end nearer.
func (w *Worker) Stop(ctx context.Context, id string, o StopOptions) (Job, error) {
	t, err := w.find(id)
	if err != nil {
		return Job{}, err
	}
	select {
	case <-t.started:
	case <-ctx.Done():
		return Job{}, ctx.Err()
	}
	if t.startErr != nil {
		return Job{}, ErrNotFound
	}
	if err := t.requestStop(Stopped, o); err != nil {
		return Job{}, err
	}
	return w.Wait(ctx, id)
}

// Signal sends a signal, as ParseSignal reads it, to the job's main process, on
// behalf of by. It returns ErrEnded if there is none any more, and a *FieldError
// for a signal that cannot be sent.
func (w *Worker) Signal(id, signal, by string) error {
	n, err := ParseSignal(signal)
	if err != nil {
		return &FieldError{"signal", quote(signal), err.Error()}
	}
	t, err := w.find(id)
	if err != nil {
		return err
	}
	<-t.started // a start is short, and bounded
	if t.startErr != nil {
		return ErrNotFound
	}
	return t.signal(n, by)
}

// Output opens the job's output for reading as q says. The caller closes it, and
// reads to its end what of a job is removed meanwhile.
func (w *Worker) Output(id string, q stream.Query) (*stream.Reader, error) {
	t, err := w.find(id)
	if err != nil {
		return nil, err
	}
	r, err := stream.Open(filepath.Join(t.dir, logName), w.files, t.done, q)
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNotFound // it has just been removed
	}
	return r, err
}

// Remove forgets a job that is over, with its output and its /scratch, on behalf
// of by. It returns ErrRunning for one that is not, and ErrNotFound.
func (w *Worker) Remove(_ context.Context, id, by string) error {
	t, err := w.find(id)
	if err != nil {
		return err
	}
	select {
	case <-t.done:
	default:
		return ErrRunning
	}
	if !w.forget(t) {
		return ErrNotFound // someone else was faster
	}
	failpoint.Here("remove.forgotten")
	t.tell(Event{Type: JobRemoved, By: by})
	t.removal.Lock()
	defer t.removal.Unlock()
	if t.unsaved.Load() != nil {
		t.removeGroup() // else it is gone
	}
	if err := w.state.remove(t.id); err != nil {
		return fmt.Errorf("remove job: %w", err)
	}
	w.space.forget()
	w.freeUID(t.uid)
	return nil
}

// forget takes t out of the table, and reports whether it was in it. Its uid
// stays taken until its files are gone.
func (w *Worker) forget(t *task) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.tasks[t.id] != t {
		return false
	}
	delete(w.tasks, t.id)
	delete(w.keys, [2]string{t.owner, t.key})
	w.charge(t.owner, t.kept, -1)
	if i := slices.Index(w.order, t); i >= 0 {
		w.order = slices.Delete(w.order, i, i+1)
	}
	return true
}

func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}
