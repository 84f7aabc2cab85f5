package httpapi

import (
	"context"
	"errors"
	"time"

	"jobworker/job"
)

// faults are the errors of package job that are the client's to handle, and what
// to say that the title does not.
var faults = []struct {
	err          error
	kind, detail string
}{
	{job.ErrEnded, TypeJobEnded, ""},
	{job.ErrRunning, TypeJobRunning, ""},
	{job.ErrUnready, TypeUnready, "the worker is unready: type start in jobcli console, or POST /v1/worker/start"},
	{job.ErrKeyReused, TypeKeyReused, ""},
	{job.ErrBusy, TypeBusy, job.ErrBusy.Error()},
	{job.ErrNoStdin, TypeNoStdin, ""},
	{job.ErrStdinBusy, TypeStdinBusy, ""},
	{job.ErrStdinOffset, TypeStdinOffset, ""},
	{job.ErrStdinClosed, TypeStdinClosed, ""},
	{job.ErrNoUID, TypeNoCapacity, ""},
	{job.ErrNoSpace, TypeNoSpace, "it is full, or nearly so, or the jobs take as much as they may: those that are over can be removed"},
	{job.ErrClosed, TypeShuttingDown, ""},
	{errShutdown, TypeShuttingDown, ""},
	{context.Canceled, TypeShuttingDown, ""}, // where it was the client nobody reads it
}

// problemOf returns the answer for err. What is not known is internal, and what
// it says is for the log alone.
func problemOf(err error) *Problem {
	if e, ok := errors.AsType[*job.StdinError](err); ok {
		p := *problemOf(e.Err)
		p.Accepted = &e.Accepted
		return &p
	}
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	if e, ok := errors.AsType[*job.FieldError](err); ok {
		p := problem(TypeBadRequest, e.Problem)
		p.Field, p.Value = e.Field, e.Value
		return p
	}
	if e, ok := errors.AsType[*job.PermitError](err); ok {
		p := problem(TypeForbidden, e.Reason)
		p.Field, p.Value = e.Field, e.Value
		return p
	}
	if e, ok := errors.AsType[*job.LimitError](err); ok {
		return wrong(TypeLimitUnavailable, e.Field, "", e.Reason)
	}
	if e, ok := errors.AsType[*job.QuotaError](err); ok {
		return quotaProblem(e)
	}
	if e, ok := errors.AsType[*job.StartError](err); ok {
		p := problem(TypeStartFailed, e.Message)
		p.Stage, p.Errno = e.Stage, e.Errno
		return p
	}
	if errors.Is(err, job.ErrNotFound) {
		return notFound("/v1/jobs/")
	}
	for _, f := range faults {
		if errors.Is(err, f.err) {
			return problem(f.kind, f.detail)
		}
	}
	return problem(TypeInternal, "see the worker's log")
}

// quotaProblem says when to ask again: at once for jobs, which end at any time, later
// for what somebody has to remove, and not at all for what is more than the whole quota.
func quotaProblem(e *job.QuotaError) *Problem {
	p := problem(TypeQuota, e.Error())
	p.Quota = &Excess{Bound: e.Bound, Limit: e.Limit, Used: e.Used, Asked: e.Asked}
	switch {
	case e.Asked > e.Limit:
		p.retryAfter = 0
	case e.Retry > 0:
		p.retryAfter = e.Retry
	case e.Bound == "kept_jobs", e.Bound == "spec_bytes", e.Bound == "output_bytes":
		p.retryAfter = time.Minute
	}
	return p
}

// invalidSpec makes what is wrong with a part of the request a fault of the job
// that it asks for.
func invalidSpec(err error) error {
	e, ok := errors.AsType[*job.FieldError](err)
	if !ok {
		return err
	}
	p := problem(TypeInvalidSpec, e.Problem)
	p.Field, p.Value = e.Field, e.Value
	return p
}
