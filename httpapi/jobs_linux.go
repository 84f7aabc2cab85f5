package httpapi

import (
	"context"
	"errors"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"jobworker/authz"
	"jobworker/job"
	"jobworker/stream"
)

// start serves POST /v1/jobs.
func (x *exchange) start() error {
	if err := x.allowWork(authz.JobStart); err != nil {
		return err
	}
	follow, err := x.query.bool("follow")
	if err != nil {
		return err
	}
	key, err := x.idempotencyKey()
	if err != nil {
		return err
	}
	var spec Spec
	if err := x.readBody(&spec); err != nil {
		return invalidSpec(err)
	}
	if err := spec.Validate(); err != nil {
		return invalidSpec(err)
	}
	if follow {
		if err := x.allow(authz.JobOutput, "", x.who.User); err != nil {
			return err
		}
	}
	j, existing, err := x.startJob(key, spec)
	if err != nil {
		return invalidSpec(err)
	}
	return x.started(j, existing, follow)
}

// startJob starts a job of the client, with what its grants permit and within its
// quota. The decision to allow it was logged before there was a job; this logs what came
// of it.
func (x *exchange) startJob(key string, spec Spec) (j Job, existing bool, err error) {
	j, existing, err = x.s.cfg.Worker.Start(x.r.Context(), job.StartOptions{
		Owner: x.who.User, Key: key, Spec: spec, Quota: job.Quota(x.policy.Quota(x.who)), Permit: permit(x.policy.Grants(x.who)),
	})
	x.auditStart(j, existing, err)
	return j, existing, err
}

// auditStart logs what came of a start that was allowed: a job, a fault, or that the
// policy does not allow this one.
func (x *exchange) auditStart(j Job, existing bool, err error) {
	_, quota := errors.AsType[*job.QuotaError](err)
	_, permit := errors.AsType[*job.PermitError](err)
	switch {
	case quota, permit:
		x.audit(authz.JobStart, "", "", false, err.Error())
	case err != nil:
		x.audit(authz.JobStart, "", "", true, err.Error())
	case existing:
		x.audit(authz.JobStart, j.ID, j.Owner, true, "started before, with the same key")
	default:
		x.audit(authz.JobStart, j.ID, j.Owner, true, "started")
	}
}

// permit puts what the policy grants in the words of package job.
func permit(g authz.Grants) job.Permit {
	p := job.Permit{
		HostProfile: slices.Contains(g.Profiles, job.ProfileHost), HostNet: slices.Contains(g.Net, job.NetHost),
		Userns: g.Userns, Users: g.RunAs,
	}
	for _, r := range g.Rootfs {
		p.Rootfs = append(p.Rootfs, job.PathGrant{Path: r.Path, Write: r.Write})
	}
	for _, b := range g.Binds {
		p.Binds = append(p.Binds, job.PathGrant{Path: b.Path, Write: b.Write})
	}
	return p
}

func (x *exchange) started(j Job, existing, follow bool) error {
	x.w.Header().Set("Location", "/v1/jobs/"+j.ID)
	if follow {
		return x.stream(j, stream.Query{Follow: true}, false)
	}
	status := http.StatusCreated
	if existing {
		status = http.StatusOK
	}
	return x.reply(status, j)
}

// maxKey is the longest Idempotency-Key.
const maxKey = 255

func (x *exchange) idempotencyKey() (string, error) {
	const name = "Idempotency-Key"
	values := x.r.Header.Values(name)
	if len(values) == 0 {
		return "", nil
	}
	key := values[0]
	unfit := func(r rune) bool { return r < '!' || r > '~' }
	if len(values) > 1 || key == "" || len(key) > maxKey || strings.ContainsFunc(key, unfit) {
		return "", wrong(TypeBadRequest, name, strings.Join(values, ", "), "must be one header of 1 to 255 visible ASCII characters")
	}
	return key, nil
}

// list serves GET /v1/jobs.
func (x *exchange) list() error {
	if err := x.allow(authz.JobList, "", ""); err != nil {
		return err
	}
	f, err := x.filter()
	if err != nil {
		return err
	}
	l := JobList{Jobs: []Job{}}
	if !x.policy.SeesAll(x.who) {
		if f.Owner != "" && f.Owner != x.who.User {
			return x.reply(http.StatusOK, l) // as if there were none
		}
		f.Owner = x.who.User
	}
	jobs, next, err := x.s.cfg.Worker.List(f)
	if errors.Is(err, job.ErrPageToken) {
		return wrong(TypeBadRequest, "page_token", f.PageToken, err.Error())
	}
	if err != nil {
		return err
	}
	// The rule for a single job holds for each of a list, whatever the filter.
	hidden := func(j Job) bool { return !x.policy.Sees(x.who, j.Owner) }
	l.Jobs = append(l.Jobs, slices.DeleteFunc(jobs, hidden)...)
	l.NextPageToken = next
	return x.reply(http.StatusOK, l)
}

func (x *exchange) filter() (f job.Filter, err error) {
	state, err := x.query.word("state", string(Starting), string(Running), string(Stopping), string(Ended))
	if err != nil {
		return f, err
	}
	limit, err := x.query.int("limit", 1, MaxPage)
	if err != nil {
		return f, err
	}
	if limit == 0 {
		limit = DefaultPage
	}
	labels, err := x.query.pairs("label")
	return job.Filter{
		Owner: x.query.Get("owner"), State: State(state), Labels: labels,
		Limit: int(limit), PageToken: x.query.Get("page_token"),
	}, err
}

// status serves GET /v1/jobs/{id}.
func (x *exchange) status() error {
	wait, err := x.query.duration("wait", MaxWait)
	if err != nil {
		return err
	}
	j, err := x.job(authz.JobRead)
	if err != nil {
		return err
	}
	if wait > 0 && j.State != Ended {
		if err := x.await(j, wait); err != nil {
			return err
		}
	}
	if j, err = x.s.cfg.Worker.Inspect(j.ID); err != nil {
		return err
	}
	return x.reply(http.StatusOK, j)
}

// await waits for the end of the job, of d or of the request, and returns an error if
// the client loses its right to know.
func (x *exchange) await(j Job, d time.Duration) error {
	l, err := x.hold(authz.JobRead, j.ID, j.Owner)
	if err != nil {
		return err
	}
	defer l.release()
	ctx, cancel := context.WithTimeout(x.r.Context(), d)
	defer cancel()
	_, err = x.s.cfg.Worker.Wait(ctx, j.ID)
	if ctx.Err() != nil {
		err = nil
	}
	return x.because(err)
}

// stop serves POST /v1/jobs/{id}/stop.
func (x *exchange) stop() error {
	var req StopRequest
	if err := x.readBodyIfAny(&req); err != nil {
		return err
	}
	if req.Signal != "" {
		if _, err := job.ParseSignal(req.Signal); err != nil {
			return wrong(TypeBadRequest, "signal", req.Signal, err.Error())
		}
	}
	j, err := x.job(authz.JobStop)
	if err != nil {
		return err
	}
	l, err := x.hold(authz.JobStop, j.ID, j.Owner)
	if err != nil {
		return err
	}
	defer l.release()
	j, err = x.s.cfg.Worker.Stop(x.r.Context(), j.ID, job.StopOptions{By: x.who.User, Signal: req.Signal, Grace: req.Grace})
	if err != nil {
		return x.because(err)
	}
	return x.reply(http.StatusOK, j)
}

// signal serves POST /v1/jobs/{id}/signal.
func (x *exchange) signal() error {
	var req SignalRequest
	if err := x.readBody(&req); err != nil {
		return err
	}
	if _, err := job.ParseSignal(req.Signal); err != nil {
		return wrong(TypeBadRequest, "signal", req.Signal, err.Error())
	}
	j, err := x.job(authz.JobSignal)
	if err != nil {
		return err
	}
	if err := x.s.cfg.Worker.Signal(j.ID, req.Signal, x.who.User); err != nil {
		return err
	}
	x.write(http.StatusNoContent, nil)
	return nil
}

// remove serves DELETE /v1/jobs/{id}.
func (x *exchange) remove() error {
	j, err := x.job(authz.JobRemove)
	if err != nil {
		return err
	}
	if err := x.s.cfg.Worker.Remove(x.r.Context(), j.ID, x.who.User); err != nil {
		return err
	}
	x.write(http.StatusNoContent, nil)
	return nil
}

// output serves GET /v1/jobs/{id}/output.
func (x *exchange) output() error {
	q, err := x.outputQuery()
	if err != nil {
		return err
	}
	format, err := x.query.word("format", "jsonl", "raw")
	if err != nil {
		return err
	}
	j, err := x.job(authz.JobOutput)
	if err != nil {
		return err
	}
	return x.stream(j, q, format == "raw")
}

func (x *exchange) outputQuery() (q stream.Query, err error) {
	if q.Follow, err = x.query.bool("follow"); err != nil {
		return q, err
	}
	if q.Offset, err = x.query.int("offset", 0, math.MaxInt64); err != nil {
		return q, err
	}
	if q.Limit, err = x.query.int("limit", 1, math.MaxInt64); err != nil {
		return q, err
	}
	lines, err := x.query.int("tail_lines", 1, math.MaxInt32)
	if err != nil {
		return q, err
	}
	source, err := x.query.word("stream", string(stream.Stdout), string(stream.Stderr))
	if err != nil {
		return q, err
	}
	q.TailLines, q.Source = int(lines), stream.Source(source)
	q.Since, err = x.query.time("since")
	return q, err
}
