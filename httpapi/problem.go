package httpapi

import (
	"fmt"
	"strings"
)

// A Problem is the body of every answer that is an error, in the media type
// application/problem+json of RFC 9457, and the error that Client returns for
// it. Members that do not apply are absent.
type Problem struct {
	Type   string `json:"type"`             // one of the Type constants: stable, to be compared
	Title  string `json:"title"`            // the same in words
	Status int    `json:"status"`           // the HTTP status
	Detail string `json:"detail,omitempty"` // what happened here, for people

	Field     string `json:"field,omitempty"`      // the field, parameter or header that is wrong, as in "limits.cpus"
	Value     string `json:"value,omitempty"`      // what it was, shortened
	Stage     string `json:"stage,omitempty"`      // how far the start of a job had come, as in "exec"
	Errno     int    `json:"errno,omitempty"`      // the system's error number there
	RequestID string `json:"request_id,omitempty"` // finds the request in the worker's logs
}

// Types of a Problem.
const (
	TypeBadRequest       = "bad-request"            // 400: a parameter, header or body that is not understood
	TypeInvalidSpec      = "invalid-spec"           // 400: a job as no worker would start it; see field and value
	TypeForbidden        = "forbidden"              // 403: the policy says no
	TypeExpired          = "certificate-expired"    // 403: the client's certificate is no longer valid
	TypeNotFound         = "not-found"              // 404: no such job, or not yours to see; or no such endpoint
	TypeMethodNotAllowed = "method-not-allowed"     // 405: see the header Allow
	TypeJobEnded         = "job-ended"              // 409: a signal to a job that is over
	TypeJobRunning       = "job-running"            // 409: delete of a job that is not over
	TypeKeyReused        = "key-reused"             // 409: the Idempotency-Key came with another body before
	TypeTooLarge         = "too-large"              // 413: the body is longer than MaxBody
	TypeUnsupportedMedia = "unsupported-media-type" // 415: the body is not application/json
	TypeOffsetOutOfRange = "offset-out-of-range"    // 416: beyond the end of the output
	TypeLimitUnavailable = "limit-unavailable"      // 422: a limit that this worker cannot enforce
	TypeStartFailed      = "start-failed"           // 422: the program could not be executed; see stage and errno
	TypeTooManyJobs      = "too-many-jobs"          // 429: remove finished jobs first; see the header Retry-After
	TypeInternal         = "internal"               // 500: a fault of the worker; its log has the cause
	TypeShuttingDown     = "shutting-down"          // 503: see the header Retry-After
	TypeRequestTimeout   = "request-timeout"        // 408: the body did not come in time
	TypeNotAcceptable    = "not-acceptable"         // 406: the media type asked for is not offered
)

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
