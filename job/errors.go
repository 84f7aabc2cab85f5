package job

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Errors that callers tell apart with errors.Is.
var (
	ErrNotFound   = errors.New("no such job")                                  // the id is unknown or malformed
	ErrEnded      = errors.New("the job has ended")                            // Signal or Stdin of a job that is over
	ErrRunning    = errors.New("the job has not ended")                        // Remove of a job that is not over
	ErrKeyReused  = errors.New("the key was used for a different job")         // Start with the key of another Spec
	ErrPageToken  = errors.New("the page token is not one of this worker")     // List with a token it did not give
	ErrUnready    = errors.New("the worker is not ready")                      // Start while the worker takes no jobs
	ErrClosed     = errors.New("the worker is shutting down")                  // Start and SetReady after Terminate, Shutdown a second time
	ErrNoUID      = errors.New("no free user id for another job")              // Start when -uid-count jobs have files
	ErrNoSpace    = errors.New("the worker's disk takes no more jobs")         // Start below Config.ReserveBytes or above MaxStateBytes, or of a disk that is full or read-only
	ErrBusy       = errors.New("too many calculates at once")                  // Start of one above Config.MaxCalculates
	ErrEventsGone = errors.New("the worker does not have all of these events") // Events after a number that is too old, or none of this worker

	ErrNoStdin     = errors.New("the job has no standard input")                    // Stdin of a job started without
	ErrStdinBusy   = errors.New("somebody else writes to the job's standard input") // Stdin while there is another
	ErrStdinClosed = errors.New("the job's standard input is closed")               // by End, or by the job
	ErrStdinOffset = errors.New("not where the job's standard input goes on")       // Stdin at another offset
)

// A StdinError is why a job's standard input takes no more, or not here.
type StdinError struct {
	Err      error // one of the errors above, or that of the writer's context
	Accepted int64 // bytes that were accepted so far, by all writers: the offset to go on at
}

// Error returns the reason and the count.
func (e *StdinError) Error() string {
	return fmt.Sprintf("%v after %d bytes", e.Err, e.Accepted)
}

// Unwrap returns the reason.
func (e *StdinError) Unwrap() error { return e.Err }

// A FieldError is a part of a request that cannot be right, whatever the worker.
type FieldError struct {
	Field   string // where, as in "limits.cpus" or "argv[1]"; empty for the document itself
	Value   string // what was given, in the notation of JSON, shortened; empty where nothing was
	Problem string // what is wrong with it
}

// Error returns field, value and problem, those that there are.
func (e *FieldError) Error() string {
	var parts []string
	for _, p := range []string{e.Field, e.Value, e.Problem} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, ": ")
}

// A StartError is why a job's program could not be executed.
type StartError struct {
	Stage   string // how far the start had come: "cgroup", "clone", "root", "dir", "exec", …
	Errno   int    // the system's error number, 0 where there is none
	Message string // operation, object and cause, as in `exec: "foo": not found`
}

// Error returns the message.
func (e *StartError) Error() string { return "start job: " + e.Message }

// A LimitError is a limit that this worker cannot enforce. It is never ignored:
// the job is not started.
type LimitError struct {
	Field  string // as in "limits.memory_bytes", or "quota.memory_bytes"
	Reason string // why not
}

// Error returns field and reason.
func (e *LimitError) Error() string { return e.Field + ": " + e.Reason }

// quote shortens and quotes a value for a message.
func quote(s string) string {
	const most = 64
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strconv.Quote(s)
}

// formatNumber writes what are whole numbers in most cases without the digits
// that a float64 does not have.
func formatNumber(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) <= 1<<62 {
		return strconv.FormatInt(int64(v), 10)
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}
