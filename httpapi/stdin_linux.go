package httpapi

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/http"
	"sync"
	"time"

	"jobworker/authz"
	"jobworker/job"
)

// stdinPiece is how much input is read at once, and how much a request holds
// beside what the kernel and net/http do.
const stdinPiece = 256 << 10

// An inputStream writes the body of one request to a job's standard input.
type inputStream struct {
	*exchange
	job Job // as it was when the request came
	in  *job.Stdin
}

// stdin serves PUT /v1/jobs/{id}/stdin. An answer may come long before the end of
// the body, for which net/http must not wait then.
func (x *exchange) stdin() error {
	if err := http.NewResponseController(x.w).EnableFullDuplex(); err != nil {
		return err
	}
	a, err := x.input()
	if err != nil {
		x.hangUp()
		return err
	}
	return x.reply(http.StatusOK, a)
}

// linger is how long an HTTP/1.1 connection is read on after an early answer. To
// close it with something unread resets it, and the client may lose the answer.
const linger = time.Second

// hangUp has net/http drop the rest of the body. HTTP/1.1 loses its connection for
// that; in HTTP/2 the header would end it for all streams.
func (x *exchange) hangUp() {
	if x.r.ProtoMajor > 1 {
		x.stopReading()
		return
	}
	x.w.Header().Set("Connection", "close")
	http.NewResponseController(x.w).SetReadDeadline(time.Now().Add(linger)) // as in stopReading
}

// stopReading makes every read of the body fail, one that is blocked too.
func (x *exchange) stopReading() {
	http.NewResponseController(x.w).SetReadDeadline(time.Unix(1, 0)) // the error would be that there is nothing to read
}

func (x *exchange) input() (a StdinAnswer, err error) {
	offset, err := x.query.int("offset", 0, math.MaxInt64)
	if err != nil {
		return a, err
	}
	end, err := x.query.word("close", "true", "false")
	if err != nil {
		return a, err
	}
	if err := x.rawBody(); err != nil {
		return a, err
	}
	j, err := x.job(authz.JobStdin)
	if err != nil {
		return a, err
	}
	leave, err := x.enterInput()
	if err != nil {
		return a, err
	}
	defer leave()
	l, err := x.hold(authz.JobStdin, j.ID, j.Owner)
	if err != nil {
		return a, err
	}
	defer l.release()
	in, err := x.s.cfg.Worker.Stdin(x.r.Context(), j.ID, offset)
	if err != nil {
		return a, err
	}
	defer in.Close()
	if err := (&inputStream{x, j, in}).run(); err != nil {
		return a, err
	}
	if end != "false" {
		if err := in.End(); err != nil {
			return a, err
		}
	}
	return StdinAnswer{in.Accepted(), end != "false"}, nil
}

// enterInput counts the request among those that may hold what their jobs do not read,
// until leave.
func (x *exchange) enterInput() (leave func(), err error) {
	c, user, most := x.connection(), x.who.User, x.s.cfg.Limits.InputsPerConnection
	if int(c.inputs.Add(1)) > most {
		c.inputs.Add(-1)
		return nil, problem(TypeTooMany, fmt.Sprintf("%d inputs at once over one connection", most))
	}
	if p := x.s.inputs.take(user); p != nil {
		c.inputs.Add(-1)
		return nil, p
	}
	return func() { x.s.inputs.give(user); c.inputs.Add(-1) }, nil
}

// rawBody refuses a body that is meant as something else, as curl's -d is, and
// takes the deadline off the rest: input may take as long as it wants.
func (x *exchange) rawBody() error {
	if len(x.r.Header.Values("Content-Type")) == 0 {
		x.r.Header.Set("Content-Type", mediaRaw)
	}
	if err := x.checkMedia(mediaRaw, "must be "+mediaRaw+", or absent"); err != nil {
		return err
	}
	return http.NewResponseController(x.w).SetReadDeadline(time.Time{})
}

// run copies the body to its end. Beside it a goroutine waits for what must end a
// read of the body: the end of the job, of the client, of its right or of the worker.
func (s *inputStream) run() error {
	copied := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-s.in.Done():
			s.stopReading()
		case <-s.r.Context().Done():
			s.stopReading()
		case <-copied:
		}
	})
	err := s.copy()
	close(copied)
	watch.Wait()
	return err
}

func (s *inputStream) copy() error {
	buf := make([]byte, stdinPiece)
	for {
		n, err := s.r.Body.Read(buf)
		if n > 0 {
			if err := s.write(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return s.cut(err)
		}
	}
}

func (s *inputStream) write(p []byte) error {
	if p := s.lost(); p != nil {
		return &job.StdinError{Err: p, Accepted: s.in.Accepted()}
	}
	_, err := s.in.Write(p)
	if err != nil && s.r.Context().Err() != nil {
		return s.cut(err)
	}
	return err
}

// cut is why a body ended before its end. Only its true end is the end of the
// input: a job must not take for whole what is not.
func (s *inputStream) cut(err error) error {
	accepted := s.in.Accepted()
	select {
	case <-s.in.Done():
		return &job.StdinError{Err: job.ErrEnded, Accepted: accepted}
	default:
	}
	if p := s.lost(); p != nil {
		return &job.StdinError{Err: p, Accepted: accepted}
	}
	if context.Cause(s.r.Context()) == errShutdown {
		return &job.StdinError{Err: errShutdown, Accepted: accepted}
	}
	s.s.cfg.Log.LogAttrs(s.r.Context(), slog.LevelInfo, "input cut", slog.String("request_id", s.id), slog.String("job", s.job.ID),
		slog.String("user", s.who.User), slog.Int64("accepted", accepted), slog.String("error", err.Error()))
	return &job.StdinError{Err: problem(TypeBadRequest, "the body is cut short: "+err.Error()), Accepted: accepted}
}
