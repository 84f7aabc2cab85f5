package job

import (
	"context"
	"errors"
	"time"
)

// Info is a Worker at a glance.
type Info struct {
	State       WorkerState
	Jobs        int       // that have not ended, calculates among them
	Calculating int       // calculates that have not ended
	Event       int64     // number of the newest event
	Opened      time.Time // when the worker was opened, in whole microseconds
}

// Info returns the worker as it is now.
func (w *Worker) Info() Info {
	w.mu.Lock()
	defer w.mu.Unlock()
	return Info{w.life, w.live, w.calculating, w.events.newest(), w.opened}
}

// State returns whether the worker takes jobs.
func (w *Worker) State() WorkerState { return w.Info().State }

// begin makes the state known that the worker is opened in.
func (w *Worker) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.enterState(!w.cfg.Unready, "")
}

// enterState needs w.mu.
func (w *Worker) enterState(ready bool, by string) {
	w.life = Unready
	what := WorkerUnready
	if ready {
		w.life, what = Ready, WorkerReady
	}
	w.events.publish(Event{Type: what, By: by})
}

// SetReady makes the worker ready or unready, on behalf of by, and reports whether
// it was not. When it returns, no job will be started that was not admitted before;
// what runs is not touched. It returns ErrClosed after Terminate.
func (w *Worker) SetReady(ready bool, by string) (changed bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.life == Terminating:
		return false, ErrClosed
	case ready == (w.life == Ready):
		return false, nil
	}
	w.enterState(ready, by)
	return true, nil
}

// Terminate makes the worker refuse every Start from now on, for good, on behalf
// of by, and reports whether it did not do so before. Jobs go on until Drain or
// Shutdown.
func (w *Worker) Terminate(by string) (changed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.life == Terminating {
		return false
	}
	w.life = Terminating
	w.events.publish(Event{Type: WorkerTerminating, By: by})
	return true
}

// takes needs w.mu. It returns why the worker takes no jobs, if it does not.
func (w *Worker) takes() error {
	switch w.life {
	case Unready:
		return ErrUnready
	case Terminating:
		return ErrClosed
	}
	return nil
}

// count adds n to the number of jobs like t that have not ended, and t.charge as
// often to what its owner has.
func (w *Worker) count(t *task, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counted(t, n)
}

// counted needs w.mu.
func (w *Worker) counted(t *task, n int) {
	w.live += n
	w.charge(t.owner, t.charge, int64(n))
	if t.spec.Builtin {
		w.calculating += n
	}
}

// byShutdown is who stops jobs at the end of the worker. No owner has such a name.
const byShutdown = "(shutdown)"

// Drain does what Terminate does, stops all jobs, each with its own stop signal
// and grace period, and waits until they are over. When ctx ends first, what is
// left is killed. Everything but Start can still be asked for.
func (w *Worker) Drain(ctx context.Context) error {
	w.Terminate("")
	live := w.inOrder()
	stop := context.AfterFunc(ctx, func() {
		for _, t := range live {
			t.kill()
		}
	})
	defer stop()
	var errs []error
	for _, t := range live { // those that are still being started come last
		<-t.started // bounded by startTimeout
		if t.startErr != nil {
			continue
		}
		errs = append(errs, t.requestStop(Stopped, StopOptions{By: byShutdown}))
		if ctx.Err() != nil {
			t.kill()
		}
	}
	w.running.Wait()
	return errors.Join(errs...)
}

// Shutdown does what Drain does, and closes the worker; no method may be called
// after, but for Next of its Events. A second time, or after Leave, it returns ErrClosed.
func (w *Worker) Shutdown(ctx context.Context) error {
	if !w.beginClose() {
		return ErrClosed
	}
	return errors.Join(w.Drain(ctx), w.close())
}

// Leave does what Terminate does and closes the worker, as Shutdown does, but its jobs
// go on: the next worker of the state directory takes them over. It blocks until those
// that are being started run and those that are ending are over.
func (w *Worker) Leave() error {
	if !w.beginClose() {
		return ErrClosed
	}
	w.Terminate("")
	var errs []error
	for _, t := range w.inOrder() {
		<-t.started // bounded by startTimeout
		if t.startErr == nil {
			errs = append(errs, t.leave())
		}
	}
	w.running.Wait()
	return errors.Join(append(errs, w.close())...)
}

// beginClose reports whether nobody closes the worker yet.
func (w *Worker) beginClose() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	first := !w.closed
	w.closed = true
	return first
}
