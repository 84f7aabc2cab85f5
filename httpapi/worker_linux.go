package httpapi

import (
	"net/http"
	"time"

	"jobworker/authz"
	"jobworker/job"
)

// worker serves GET /v1/worker.
func (x *exchange) worker() error {
	if err := x.allow(authz.WorkerRead, "", ""); err != nil {
		return err
	}
	i := x.s.cfg.Worker.Info()
	return x.reply(http.StatusOK, Worker{State: i.State, Jobs: i.Jobs, Calculating: i.Calculating, Event: i.Event, StartedAt: i.Opened})
}

// startWorker serves POST /v1/worker/start.
func (x *exchange) startWorker() error { return x.setReady(authz.WorkerStart, true) }

// stopWorker serves POST /v1/worker/stop.
func (x *exchange) stopWorker() error { return x.setReady(authz.WorkerStop, false) }

func (x *exchange) setReady(a authz.Action, ready bool) error {
	if err := x.allow(a, "", ""); err != nil {
		return err
	}
	changed, err := x.s.cfg.Worker.SetReady(ready, x.who.User)
	if err != nil {
		return err
	}
	state := Unready
	if ready {
		state = Ready
	}
	return x.reply(http.StatusOK, WorkerChange{state, changed})
}

// terminate serves POST /v1/worker/terminate. The end begins when the answer is on
// its way, also if the client does not take it.
func (x *exchange) terminate() error {
	if err := x.allow(authz.WorkerTerminate, "", ""); err != nil {
		return err
	}
	if x.s.cfg.Terminate == nil {
		const why = "the worker is part of another program and ends with it"
		x.audit(authz.WorkerTerminate, "", "", false, why)
		return problem(TypeForbidden, why)
	}
	changed := x.s.cfg.Worker.Terminate(x.who.User)
	if changed {
		defer x.s.cfg.Terminate()
	}
	if err := x.reply(http.StatusOK, WorkerChange{Terminating, changed}); err != nil {
		return err
	}
	return http.NewResponseController(x.w).Flush()
}

// allowWork is allow for what only a ready worker does.
func (x *exchange) allowWork(a authz.Action) error {
	if err := x.allow(a, "", ""); err != nil {
		return err
	}
	return x.takesWork()
}

// takesWork returns why the worker takes no data commands, if it does not. Whether
// a job is started is decided once more by the worker, under its lock.
func (x *exchange) takesWork() error {
	switch x.s.cfg.Worker.State() {
	case Unready:
		return job.ErrUnready
	case Terminating:
		return job.ErrClosed
	}
	return nil
}

// ping serves POST /v1/ping.
func (x *exchange) ping() error {
	if err := x.allowWork(authz.WorkerPing); err != nil {
		return err
	}
	return x.reply(http.StatusOK, Pong{time.Now().Unix()})
}
