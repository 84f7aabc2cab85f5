package httpapi

import (
	"errors"
	"strconv"

	"jobworker/authz"
	"jobworker/job"
)

// calculateBody is a CalculateRequest that tells what is missing from what is 0.
type calculateBody struct {
	Seconds *float64 `json:"seconds"`
	Message *string  `json:"message"`
}

// calculate serves POST /v1/calculate.
func (x *exchange) calculate() error {
	if err := x.allowWork(authz.JobStart); err != nil {
		return err
	}
	key, err := x.idempotencyKey()
	if err != nil {
		return err
	}
	var req calculateBody
	if err := x.readBody(&req); err != nil {
		return err
	}
	switch {
	case req.Seconds == nil:
		return &job.FieldError{Field: "seconds", Problem: "is missing"}
	case req.Message == nil:
		return &job.FieldError{Field: "message", Problem: `is missing: "" prints an empty line`}
	}
	spec := job.CalculateSpec(*req.Seconds, *req.Message)
	j, existing, err := x.startJob(key, spec)
	if err != nil {
		return calculateError(err)
	}
	return x.started(j, existing, false)
}

// calculateError names the field of a CalculateRequest instead of that of the Spec
// which was made of it.
func calculateError(err error) error {
	e, ok := errors.AsType[*job.FieldError](err)
	if !ok {
		return err
	}
	named := *e
	switch e.Field {
	case "argv[1]":
		named.Field = "seconds"
		named.Value, _ = strconv.Unquote(e.Value) // it was a number
	case "argv[2]":
		named.Field = "message"
	}
	return &named
}
