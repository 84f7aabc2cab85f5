package job

import (
	"fmt"
	"time"

	"jobworker/cgroupv2"
	"jobworker/stream"
)

// A State is where a job is in its life.
type State string

// The states, in order. A job never goes back.
const (
	Starting State = "starting" // its program has not been executed yet
	Running  State = "running"  // its main process runs
	Stopping State = "stopping" // it has been asked to end
	Ended    State = "ended"    // it is over: see its Verdict
)

// Reasons of a Verdict. Where several apply, the first of this list does.
const (
	OOMKilled   = "oom_killed"   // killed for want of memory under its own limit
	OutputLimit = "output_limit" // it wrote more than its limit; if it did not end by itself meanwhile, it was killed
	TimedOut    = "timed_out"    // ended by its timeout
	Stopped     = "stopped"      // ended by Stop
	Signaled    = "signaled"     // ended by a signal from elsewhere
	Exited      = "exited"       // ended by itself
	StartFailed = "start_failed" // the worker died while it started the job
	Lost        = "lost"         // how it ended is not known
)

// A Verdict is how a job ended: one of the reasons, and its facts. The exit
// code is absent, not 0, where there is none.
type Verdict = stream.Verdict

// Usage is what a job has used, as the kernel counted it.
type Usage = cgroupv2.Usage

// A Job is a snapshot of a job: it does not change. What its slices, maps and
// pointers lead to is for reading only; other snapshots may share it.
type Job struct {
	ID    string `json:"id"`
	State State  `json:"state"`
	Owner string `json:"owner"`

	// Spec is what was asked for, but for its Limits, which are those in
	// force as the kernel has them, defaults included.
	Spec

	CreatedAt time.Time  `json:"created_at"`
	StartedAt *time.Time `json:"started_at,omitempty"` // nil until the program has been executed
	EndedAt   *time.Time `json:"ended_at,omitempty"`   // nil until the job is over

	// Protections are nil but for a job that runs, and then only from Inspect.
	Protections *Protections `json:"protections,omitempty"`

	Usage       Usage    `json:"usage"`                 // now, or in all when the job is over
	OutputBytes int64    `json:"output_bytes"`          // output so far, of both streams, kept or not, as far as the disk tells
	StdinBytes  int64    `json:"stdin_bytes,omitempty"` // input accepted so far, read by the job or not
	Verdict     *Verdict `json:"verdict,omitempty"`     // nil until the job is over
}

// StartOptions are what Start is asked for.
type StartOptions struct {
	// Owner is whose job it is, 1 to 256 bytes of printable text. The
	// caller vouches for it.
	Owner string

	// Key, if not empty, makes Start idempotent for as long as the job's
	// files exist: another Start with the same owner, key and spec returns
	// the same job, and one with another spec ErrKeyReused.
	Key string

	// Quota is the most that the owner may have, this job included. The zero
	// value bounds nothing.
	Quota Quota

	Spec Spec

	// Permit is what the Spec may ask for of the host. The job has it from then
	// on, whatever the next one says.
	Permit Permit
}

// validate reports what is wrong with o, whatever the worker.
func (o *StartOptions) validate() error {
	if o.Owner == "" || len(o.Owner) > maxValue || !printable(o.Owner) {
		return &FieldError{"owner", quote(o.Owner), fmt.Sprintf("must be 1 to %d bytes of printable text", maxValue)}
	}
	if len(o.Key) > maxValue || !printable(o.Key) {
		return &FieldError{"idempotency key", quote(o.Key), fmt.Sprintf("must be up to %d bytes of printable text", maxValue)}
	}
	return o.Spec.Validate()
}

// StopOptions say how a job is to be stopped.
type StopOptions struct {
	By     string    // who stops it, for the verdict
	Signal string    // empty: the stop signal of the job's spec
	Grace  *Duration // nil: the grace period of the job's spec
}

// A Filter selects jobs for List. Its zero value selects all.
type Filter struct {
	Owner     string            // only this owner's; empty: everyone's
	State     State             // only in this state; empty: in any
	Labels    map[string]string // only those with all of these labels
	Limit     int               // at most this many, 1 to MaxPage; 0: MaxPage
	PageToken string            // go on after the page that came with this token
}

// MaxPage is the most jobs that one List returns. It returns fewer, but one at least,
// when what they were asked to run adds up to more than 512 KiB: a client chooses that,
// and all of a page is in memory at once.
const MaxPage = 1000

// maxPageBytes is that bound.
const maxPageBytes = 512 << 10
