package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"jobworker/authz"
	"jobworker/job"
	"jobworker/stream"
)

// An outputStream sends a job's output to one client.
type outputStream struct {
	*exchange
	job Job // as it was when the stream began
	rd  *stream.Reader
	raw bool
	buf []byte // payload of the lines at hand, if raw

	// rest is whether the server ends, but the job is over: then what is
	// left of its output is there, and is not waited for.
	rest bool
}

// stream answers with the output of j that q selects. It returns an error only
// while it can still be answered; what goes wrong later aborts the connection
// (HTTP/1.1) or resets the stream (HTTP/2), so that the client does not take
// what it has for all.
func (x *exchange) stream(j Job, q stream.Query, raw bool) error {
	l, err := x.hold(authz.JobOutput, j.ID, j.Owner)
	if err != nil {
		return err
	}
	defer l.release()
	rd, err := x.s.cfg.Worker.Output(j.ID, q)
	if errors.Is(err, stream.ErrOffset) {
		return wrong(TypeOffset, "offset", strconv.FormatInt(q.Offset, 10), fmt.Sprintf("the output has %d bytes so far", j.OutputBytes))
	}
	if err != nil {
		return err
	}
	defer rd.Close()
	o := &outputStream{exchange: x, job: j, rd: rd, raw: raw}
	l.begun()
	o.header()
	if x.r.Method == http.MethodHead {
		return nil
	}
	x.cut(o.run(), j.ID)
	return nil
}

func (o *outputStream) header() {
	if o.raw {
		h := o.w.Header()
		h.Set("Content-Type", mediaRaw)
		h.Set("Trailer", "Job-State, Job-Exit-Code")
		o.w.WriteHeader(http.StatusOK)
		return
	}
	o.beginLines()
}

// run sends the headers at once, then lines until there are no more.
func (o *outputStream) run() error {
	err := o.send(nil)
	for err == nil {
		var lines []byte
		lines, err = o.next()
		switch {
		case err == nil:
			err = o.lines(lines)
		case err == io.EOF:
			return o.end(o.rd.End())
		case o.shutdown(err) && o.over():
			o.rest, err = true, nil
		case o.shutdown(err):
			end := o.rd.End()
			end.Reason = stream.EndShutdown
			return o.end(end)
		case o.silent(err):
			err = o.idle()
		}
	}
	return err
}

// next waits for lines until the client has to be told that the stream lives.
func (o *outputStream) next() ([]byte, error) {
	if o.rest {
		return o.rd.Next(context.WithoutCancel(o.r.Context()))
	}
	if err := o.r.Context().Err(); err != nil {
		return nil, err
	}
	ctx, cancel := o.untilHeartbeat(time.Now())
	defer cancel()
	return o.rd.Next(ctx)
}

// over reports whether the job is.
func (o *outputStream) over() bool {
	j, err := o.s.cfg.Worker.Status(o.job.ID)
	return err == nil && j.State == Ended
}

func (o *outputStream) lines(lines []byte) error {
	if !o.raw {
		return o.send(lines)
	}
	var err error
	if o.buf, err = stream.AppendPayload(o.buf[:0], lines); err != nil {
		return err
	}
	return o.send(o.buf)
}

func (o *outputStream) idle() error {
	if o.raw {
		return nil
	}
	return o.send(stream.Frame{Type: stream.TypePing}.Append(nil))
}

// end is the last line, or the trailers of a raw stream. A raw stream has no way
// to say that the worker goes down, so it is cut.
func (o *outputStream) end(f stream.Frame) error {
	j, err := o.final(f)
	if err != nil {
		return err
	}
	if !o.raw {
		return errors.Join(o.send(f.Append(nil)), o.arm())
	}
	if f.Reason == stream.EndShutdown {
		return errShutdown
	}
	if f.Reason == stream.EndComplete && j.State != Ended {
		return job.ErrNotFound // it has been removed: better no end than an untrue one
	}
	h := o.w.Header()
	h.Set("Job-State", string(j.State))
	if j.Verdict != nil && j.Verdict.Code != nil {
		h.Set("Job-Exit-Code", strconv.Itoa(*j.Verdict.Code))
	}
	return o.arm()
}

// final is the job at the end of the stream. The exit frame is in the log a
// moment before the job is over for all to see; who has read the one and asks
// for the status, or for its removal, must find the other. A job that has been
// removed in the meantime is as it was when the stream began.
func (o *outputStream) final(end stream.Frame) (j Job, err error) {
	if end.Reason == stream.EndComplete {
		j, err = o.s.cfg.Worker.Wait(context.WithoutCancel(o.r.Context()), o.job.ID)
	} else {
		j, err = o.s.cfg.Worker.Status(o.job.ID)
	}
	if errors.Is(err, job.ErrNotFound) {
		return o.job, nil
	}
	return j, err
}
