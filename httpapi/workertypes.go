package httpapi

import (
	"time"

	"jobworker/job"
)

// The wire types of a worker's life are those of package job.
type (
	WorkerState = job.WorkerState
	Event       = job.Event
)

// States of a worker.
const (
	Ready       = job.Ready
	Unready     = job.Unready
	Terminating = job.Terminating
)

// Types of an Event.
const (
	JobCreated   = job.JobCreated
	JobStarted   = job.JobStarted
	JobSignalled = job.JobSignalled
	JobOOM       = job.JobOOM
	JobEnded     = job.JobEnded
	JobRemoved   = job.JobRemoved

	WorkerReady       = job.WorkerReady
	WorkerUnready     = job.WorkerUnready
	WorkerTerminating = job.WorkerTerminating
)

// A Worker is the answer to GET /v1/worker: the worker as it is now.
type Worker struct {
	State       WorkerState `json:"state"`
	Jobs        int         `json:"jobs"`        // that have not ended, calculates among them
	Calculating int         `json:"calculating"` // calculates that have not ended
	Event       int64       `json:"event"`       // number of the newest event: GET /v1/events?since=EVENT goes on after it
	StartedAt   time.Time   `json:"started_at"`  // when the worker was opened
}

// A WorkerChange is the answer to POST /v1/worker/{start,stop,terminate}.
type WorkerChange struct {
	State   WorkerState `json:"state"`   // from now on
	Changed bool        `json:"changed"` // false if it was so before
}

// A Pong is the answer to POST /v1/ping.
type Pong struct {
	Time int64 `json:"time"` // of the worker, in Unix seconds
}

// Bounds of a calculate.
const (
	MaxMessage = job.MaxMessage // bytes of its message
)

// A CalculateRequest is the body of POST /v1/calculate.
type CalculateRequest struct {
	Seconds float64 `json:"seconds"` // how long it takes, from 0 to the worker's bound
	Message string  `json:"message"` // what it prints then: valid UTF-8, up to MaxMessage bytes
}
