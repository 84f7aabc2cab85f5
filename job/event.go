package job

import "time"

// A WorkerState is whether a Worker takes data commands: Start is one.
type WorkerState string

// The states of a worker.
const (
	Ready       WorkerState = "ready"       // takes every command
	Unready     WorkerState = "unready"     // starts no jobs; those that run go on
	Terminating WorkerState = "terminating" // is shutting down, and never comes back
)

// An Event is something that happened to a job or to the worker. Events are
// numbered by the order in which they happened.
type Event struct {
	Seq  int64     `json:"seq"`  // rises by one from event to event of a worker; see Worker.Events
	Time time.Time `json:"time"` // UTC
	Type string    `json:"type"` // one of the types below

	Job   string `json:"job,omitempty"`   // id; empty for an event of the worker
	Owner string `json:"owner,omitempty"` // of the job
	Name  string `json:"name,omitempty"`  // of the job, if it has one
	By    string `json:"by,omitempty"`    // who caused it, where somebody did

	Signal  string   `json:"signal,omitempty"`  // job.signalled: as in "SIGTERM"
	Verdict *Verdict `json:"verdict,omitempty"` // job.ended
	Message *string  `json:"message,omitempty"` // job.ended: what a calculate that came to its end printed
}

// Types of an Event.
const (
	JobCreated   = "job.created"   // it has an id; not published of a job that could not be started
	JobStarted   = "job.started"   // its program has been executed
	JobSignalled = "job.signalled" // somebody sent its main process a signal, or stops it
	JobOOM       = "job.oom"       // processes of it were killed for want of memory under its limit
	JobEnded     = "job.ended"     // it is over; Verdict says how
	JobRemoved   = "job.removed"   // it and its output are forgotten

	WorkerReady       = "worker.ready"
	WorkerUnready     = "worker.unready"
	WorkerTerminating = "worker.terminating"
)
