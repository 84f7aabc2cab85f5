package httpapi

import (
	"fmt"
	"strings"
	"time"
)

// A Problem is the body of every answer that is an error, in the media type
// application/problem+json of RFC 9457, and the error that Client returns for
// it. Members that do not apply are absent.
type Problem struct {
	Type   string `json:"type"`             // one of the Type constants: stable, to be compared
	Title  string `json:"title"`            // the same in words
	Status int    `json:"status"`           // the HTTP status
	Detail string `json:"detail,omitempty"` // what happened here, for people

	Field     string  `json:"field,omitempty"`      // the field, parameter or header that is wrong, as in "limits.cpus"
	Value     string  `json:"value,omitempty"`      // what it was, shortened
	Stage     string  `json:"stage,omitempty"`      // how far the start of a job had come, as in "exec"
	Errno     int     `json:"errno,omitempty"`      // the system's error number there
	Accepted  *int64  `json:"accepted,omitempty"`   // bytes of input that the job has been given in all: where to go on
	Quota     *Excess `json:"quota,omitempty"`      // which bound of the quota is reached
	RequestID string  `json:"request_id,omitempty"` // finds the request in the worker's logs

	retryAfter time.Duration // of the server, for the header Retry-After; 0: none
}

// An Excess is how a start would go beyond a quota.
type Excess struct {
	Bound string  `json:"bound"` // as in WhoAmI.Quota: "memory_bytes"
	Limit float64 `json:"limit"`
	Used  float64 `json:"used"`  // by the user's other jobs
	Asked float64 `json:"asked"` // by this one
}

// Types of a Problem.
const (
	TypeBadRequest       = "bad-request"            // 400: a parameter, header or body that is not understood
	TypeInvalidSpec      = "invalid-spec"           // 400: a job as no worker would start it; see field and value
	TypeForbidden        = "forbidden"              // 403: the policy says no; see field and value, if it is about a part of a job
	TypeIdentity         = "certificate-rejected"   // 403: the client's certificate has expired, or names nobody
	TypeNotFound         = "not-found"              // 404: no such job, or not yours to see; or no such endpoint
	TypeMethodNotAllowed = "method-not-allowed"     // 405: see the header Allow
	TypeTimeout          = "request-timeout"        // 408: the body did not come in time
	TypeJobEnded         = "job-ended"              // 409: a signal or input to a job that is over
	TypeJobRunning       = "job-running"            // 409: delete of a job that is not over
	TypeNoStdin          = "no-stdin"               // 409: input to a job that was started without stdin
	TypeStdinBusy        = "stdin-busy"             // 409: another request writes to the job's input
	TypeStdinOffset      = "stdin-offset"           // 409: the job's input goes on elsewhere; see accepted
	TypeStdinClosed      = "stdin-closed"           // 409: the job's input has been ended, or the job has closed it; see accepted
	TypeUnready          = "unready"                // 409: the worker is not ready; see the detail
	TypeKeyReused        = "key-reused"             // 409: the Idempotency-Key came with another job before
	TypeEventsGone       = "events-gone"            // 410: the worker no longer has all events after that number
	TypeTooLarge         = "too-large"              // 413: the body is longer than MaxBody
	TypeMediaType        = "unsupported-media-type" // 415: the body is not application/json, or input not application/octet-stream
	TypeOffset           = "offset-out-of-range"    // 416: beyond the end of the output
	TypeLimitUnavailable = "limit-unavailable"      // 422: a limit that this worker cannot enforce; see field
	TypeStartFailed      = "start-failed"           // 422: the program could not be executed; see stage and errno
	TypeQuota            = "quota-exceeded"         // 429: more than the user's quota; see quota, and the header Retry-After, if waiting can help
	TypeTooMany          = "too-many"               // 429: more connections, requests or inputs at once than the worker lets a user have, or all; see Retry-After
	TypeBusy             = "busy"                   // 429: as many at once as the worker takes; see the header Retry-After
	TypeInternal         = "internal"               // 500: a fault of the worker; its log has the cause
	TypeNoCapacity       = "no-capacity"            // 503: the worker holds as many jobs as it can; see the header Retry-After
	TypeShuttingDown     = "shutting-down"          // 503: see the header Retry-After
	TypeNoSpace          = "no-space"               // 507: the worker's disk takes no more jobs
)

// problemKinds are the status and title of each type.
var problemKinds = map[string]struct {
	status int
	title  string
}{
	TypeBadRequest:       {400, "the request is not understood"},
	TypeInvalidSpec:      {400, "the job is not valid"},
	TypeForbidden:        {403, "not allowed"},
	TypeIdentity:         {403, "the client's certificate is not accepted"},
	TypeNotFound:         {404, "not found"},
	TypeMethodNotAllowed: {405, "method not allowed"},
	TypeTimeout:          {408, "the request took too long"},
	TypeJobEnded:         {409, "the job has ended"},
	TypeJobRunning:       {409, "the job has not ended"},
	TypeNoStdin:          {409, "the job has no standard input"},
	TypeStdinBusy:        {409, "somebody else writes to the job's standard input"},
	TypeStdinOffset:      {409, "the job's standard input goes on elsewhere"},
	TypeStdinClosed:      {409, "the job's standard input is closed"},
	TypeUnready:          {409, "the worker is not ready"},
	TypeKeyReused:        {409, "the idempotency key was used for another job"},
	TypeEventsGone:       {410, "these events are gone"},
	TypeTooLarge:         {413, "the body is too large"},
	TypeMediaType:        {415, "the body is of the wrong media type"},
	TypeOffset:           {416, "the offset is beyond the output"},
	TypeLimitUnavailable: {422, "a limit cannot be enforced here"},
	TypeStartFailed:      {422, "the job could not be started"},
	TypeQuota:            {429, "the quota is used up"},
	TypeTooMany:          {429, "too many at once"},
	TypeBusy:             {429, "the worker is busy"},
	TypeInternal:         {500, "internal error"},
	TypeNoCapacity:       {503, "the worker is full"},
	TypeShuttingDown:     {503, "the worker is shutting down"},
	TypeNoSpace:          {507, "the worker's disk takes no more jobs"},
}

// retryAfter is when it may help to ask again, by status, where nothing better is known.
var retryAfter = map[int]time.Duration{429: time.Second, 503: 5 * time.Second}

// problem returns a Problem of one of the types.
func problem(kind, detail string) *Problem {
	k := problemKinds[kind]
	return &Problem{Type: kind, Title: k.title, Status: k.status, Detail: detail, retryAfter: retryAfter[k.status]}
}

// wrong returns a Problem of one of the types about one field, parameter or
// header and its value.
func wrong(kind, field, value, detail string) *Problem {
	p := problem(kind, detail)
	p.Field, p.Value = field, value
	return p
}

// Bounds of what an answer repeats of its request, in bytes.
const (
	maxShown  = 256
	maxDetail = 1024
)

// shorten bounds p, and makes it valid UTF-8.
func (p *Problem) shorten() {
	p.Field, p.Value, p.Detail = shorten(p.Field, maxShown), shorten(p.Value, maxShown), shorten(p.Detail, maxDetail)
}

func shorten(s string, most int) string {
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// Error gives the detail, or the title, with the request's id where the fault
// is the worker's own.
func (p *Problem) Error() string {
	s := p.Detail
	if s == "" {
		s = p.Title
	}
	var place []string
	for _, v := range []string{p.Field, p.Value} {
		if v != "" && !strings.Contains(s, v) {
			place = append(place, v)
		}
	}
	s = strings.Join(append(place, s), ": ")
	if p.Status >= 500 && p.RequestID != "" {
		s += fmt.Sprintf(" (request %s)", p.RequestID)
	}
	return s
}
