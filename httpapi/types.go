package httpapi

import (
	"time"

	"jobworker/authz"
	"jobworker/job"
	"jobworker/stream"
)

// The wire types of a job are those of package job, named here so that a client
// needs only this package.
type (
	Spec   = job.Spec
	Limits = job.Limits
	Bind   = job.Bind

	Protections = job.Protections
	IOLimit     = job.IOLimit
	Duration    = job.Duration
	Job         = job.Job
	State       = job.State
	Verdict     = job.Verdict
	Usage       = job.Usage
)

// States of a job.
const (
	Starting = job.Starting
	Running  = job.Running
	Stopping = job.Stopping
	Ended    = job.Ended
)

// Reasons of a verdict.
const (
	OOMKilled   = job.OOMKilled
	OutputLimit = job.OutputLimit
	TimedOut    = job.TimedOut
	Stopped     = job.Stopped
	Signaled    = job.Signaled
	Exited      = job.Exited
	StartFailed = job.StartFailed
	Lost        = job.Lost
)

// What happens to a job whose output has reached its limit, for Limits.OutputFull.
const (
	EndJob     = job.EndJob
	KeepNewest = job.KeepNewest
)

// ParseSignal is job.ParseSignal.
func ParseSignal(s string) (int, error) { return job.ParseSignal(s) }

// SignalName is job.SignalName.
func SignalName(n int) string { return job.SignalName(n) }

// A JobList is the answer to GET /v1/jobs: one page, newest job first.
type JobList struct {
	Jobs []Job `json:"jobs"`

	// NextPageToken asks for the page after this one; empty on the last.
	NextPageToken string `json:"next_page_token,omitempty"`
}

// A StopRequest is the body of POST /v1/jobs/{id}/stop. The zero value stops
// the job as its own spec says.
type StopRequest struct {
	Signal string    `json:"signal,omitempty"` // empty: the spec's stop_signal
	Grace  *Duration `json:"grace,omitempty"`  // nil: the spec's grace; zero: kill at once
}

// A SignalRequest is the body of POST /v1/jobs/{id}/signal.
type SignalRequest struct {
	Signal string `json:"signal"` // as in "TERM", "SIGTERM" or "15"
}

// A StdinAnswer is the answer to PUT /v1/jobs/{id}/stdin.
type StdinAnswer struct {
	Accepted int64 `json:"accepted"` // bytes of input that the job has been given in all
	Closed   bool  `json:"closed"`   // the input has ended; false after close=false
}

// WhoAmI is the answer to GET /v1/whoami: how the worker sees the client.
type WhoAmI struct {
	User   string   `json:"user"`   // the certificate's common name
	Groups []string `json:"groups"` // its organizations

	// Rights are what the policy makes of them: roles, actions with their
	// scopes, and whose jobs the client sees.
	authz.Rights

	// Grants are what of the host the client's jobs may be given; absent
	// without any.
	Grants authz.Grants `json:"grants,omitzero"`

	// Quota is the most that the client may have at once, absent bounds none;
	// Used is what it has of that.
	Quota authz.Quota `json:"quota"`
	Used  job.Quota   `json:"used"`

	Fingerprint string    `json:"fingerprint"` // hex SHA-256 of the certificate
	NotAfter    time.Time `json:"not_after"`   // when the certificate expires
}

// ListOptions select jobs for Client.List. The zero value asks for the first
// page of all jobs that the client may see.
type ListOptions struct {
	State     State             // empty: in any state
	Owner     string            // empty: anyone's
	Labels    map[string]string // only jobs with all of these
	Limit     int               // jobs on a page, up to MaxPage; 0: DefaultPage
	PageToken string            // JobList.NextPageToken of the page before
}

// OutputOptions select output for Client.Output. The zero value asks for
// everything there is now. Of Offset, TailLines and Since the latest starting point
// counts.
type OutputOptions struct {
	Offset    int64         // first byte wanted, counted over both streams
	TailLines int           // start with the last n lines; 0: not asked for
	Since     time.Time     // start with the first output at or after; zero: not asked for
	Source    stream.Source // only this stream; empty: both
	Limit     int64         // end after so many bytes; 0: no limit
	Follow    bool          // go on until the job is over
}

// Bounds of the API.
const (
	// DefaultPage and MaxPage are the jobs on one page of a list.
	DefaultPage = 100
	MaxPage     = job.MaxPage

	// MaxWait is the longest that one GET /v1/jobs/{id}?wait= is held.
	MaxWait = time.Minute

	// MaxBody is the size in bytes that a request's body may have: what
	// the arguments and environment of a job may add up to, with room for
	// the notation of JSON around them.
	MaxBody = job.MaxArgBytes + 64<<10

	// DefaultHeader is the size in bytes that a request's header may have, where
	// the Server's Config does not say.
	DefaultHeader = 64 << 10

	// DefaultHeartbeat is the longest that a following stream is silent.
	DefaultHeartbeat = 10 * time.Second
)

const (
	mediaJSON    = "application/json"
	mediaProblem = "application/problem+json"
	mediaLines   = "application/jsonl"
	mediaNDJSON  = "application/x-ndjson"
	mediaRaw     = "application/octet-stream"
)

// health is the answer to GET /livez and /readyz.
type health struct {
	Status string `json:"status"` // "ok"
}
