package httpapi

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"mime"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"jobworker/authz"
	"jobworker/job"
)

// An exchange is one request on its way to its answer.
type exchange struct {
	s      *Server
	w      http.ResponseWriter
	r      *http.Request
	id     string // of this request, in the answer and in every log line
	who    authz.Identity
	policy *authz.Policy // one for the whole request
	query  params
	lease  *lease // that it lives on; nil: the answer does not take time
}

// serve identifies the client and turns the error of f into an answer.
func (s *Server) serve(f func(*exchange) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		x := &exchange{s: s, w: w, r: r, id: rand.Text(), policy: s.policy.Load()}
		h := w.Header()
		h.Set("Request-Id", x.id)
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		err := x.deadlines()
		if err == nil {
			err = x.identify()
		}
		if err == nil && s.ctx.Err() != nil {
			err = errShutdown
		}
		if err == nil {
			err = x.admitted(f)
		}
		if err != nil {
			x.fail(err)
		}
	}
}

// admitted is f, if there is room for one more request.
func (x *exchange) admitted(f func(*exchange) error) error {
	user := x.who.User
	if p := x.connection().claim(user); p != nil {
		x.w.Header().Set("Connection", "close")
		return p
	}
	if p := x.s.requests.take(user); p != nil {
		return p
	}
	defer x.s.requests.give(user)
	return f(x)
}

// deadlines clears what an HTTP/1.1 connection has kept of the last request, and
// bounds the time for the body: that of a request which is refused is read too,
// by net/http.
func (x *exchange) deadlines() error {
	if err := x.disarm(); err != nil || x.r.ContentLength == 0 {
		return err
	}
	return http.NewResponseController(x.w).SetReadDeadline(time.Now().Add(x.s.cfg.BodyTimeout))
}

// identify finds out who the client is. A connection may outlive its
// certificate, so this is asked at every request, and again by every lease.
func (x *exchange) identify() error {
	who, err := x.s.cfg.TLS.Identify(x.r.TLS)
	if err != nil {
		x.audit("identify", "", "", false, err.Error())
		return problem(TypeIdentity, err.Error())
	}
	x.who = who
	return nil
}

// allow asks the policy whether the client may do a to the job of owner, and
// logs the decision.
func (x *exchange) allow(a authz.Action, id, owner string) error {
	ok, reason := x.policy.Allow(x.who, a, owner)
	x.audit(a, id, owner, ok, reason)
	if !ok {
		return problem(TypeForbidden, string(a)+": "+reason)
	}
	return nil
}

func (x *exchange) audit(a authz.Action, id, owner string, ok bool, reason string) {
	x.s.cfg.Audit.Log(x.r.Context(), authz.Decision{
		Identity: x.who, RequestID: x.id, Action: a, Object: id, Owner: owner,
		Remote: x.r.RemoteAddr, Allow: ok, Reason: reason,
	})
}

// job returns the job that the path names, if the client may do a to it. A job
// that the client may not see is answered as one that is not there, and until that is
// decided nothing but its owner is looked at: neither a fault of the job nor the time
// that a look takes tells that it exists.
func (x *exchange) job(a authz.Action) (Job, error) {
	id := x.r.PathValue("id")
	owner, err := x.s.cfg.Worker.Owner(id)
	if err != nil {
		x.audit(a, id, "", false, "no such job")
		return Job{}, err
	}
	if !x.policy.Sees(x.who, owner) {
		x.audit(a, id, owner, false, "not visible")
		return Job{}, job.ErrNotFound
	}
	if err := x.allow(a, id, owner); err != nil {
		return Job{}, err
	}
	return x.s.cfg.Worker.Status(id)
}

// readBody decodes the body into *v. It is refused when it is longer than
// MaxBody, takes longer than BodyTimeout or is not JSON.
func (x *exchange) readBody(v any) error {
	if err := x.checkMedia(mediaJSON, "must be "+mediaJSON); err != nil {
		return err
	}
	tooLarge := problem(TypeTooLarge, "the body is longer than "+strconv.FormatInt(x.s.cfg.MaxBody, 10)+" bytes")
	if x.r.ContentLength > x.s.cfg.MaxBody {
		return tooLarge // none of it is waited for
	}
	err := job.DecodeJSON(http.MaxBytesReader(x.w, x.r.Body, x.s.cfg.MaxBody), v)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return problem(TypeTimeout, "the body did not come within "+x.s.cfg.BodyTimeout.String())
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return tooLarge
	}
	if _, ok := errors.AsType[*job.FieldError](err); err != nil && !ok {
		return problem(TypeBadRequest, "the body is cut short: "+err.Error())
	}
	return errors.Join(err, http.NewResponseController(x.w).SetReadDeadline(time.Time{}))
}

// checkMedia refuses, and says otherwise, a body whose headers do not say that it is of
// the media type want, as it is. Of a header that is given twice no two readers take the
// same value, so it has none.
func (x *exchange) checkMedia(want, otherwise string) error {
	given := strings.Join(x.r.Header.Values("Content-Type"), ", ")
	if media, _, err := mime.ParseMediaType(given); err != nil || media != want {
		return wrong(TypeMediaType, "Content-Type", given, otherwise)
	}
	if e := strings.Join(x.r.Header.Values("Content-Encoding"), ", "); e != "" && e != "identity" {
		return wrong(TypeMediaType, "Content-Encoding", e, "must not be encoded")
	}
	return nil
}

// readBodyIfAny is readBody for a request that may have none.
func (x *exchange) readBodyIfAny(v any) error {
	if x.r.ContentLength == 0 {
		return nil
	}
	return x.readBody(v)
}

// reply sends v as JSON.
func (x *exchange) reply(status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	x.w.Header().Set("Content-Type", mediaJSON)
	x.write(status, append(b, '\n'))
	return nil
}

// fail answers with err. Nothing of the answer has been sent yet.
func (x *exchange) fail(err error) {
	p := problemOf(err)
	if p.Type == TypeInternal || p.Type == TypeNoSpace { // for who runs the worker
		x.s.cfg.Log.LogAttrs(x.r.Context(), slog.LevelError, p.Title,
			slog.String("request_id", x.id), slog.String("request", x.r.Pattern), slog.String("error", err.Error()))
	}
	p.RequestID = x.id
	p.shorten()
	h := x.w.Header()
	h.Set("Content-Type", mediaProblem)
	if p.Type == TypeIdentity {
		h.Set("Connection", "close") // the next one needs another handshake
	}
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(p.retryAfter.Seconds()))))
	}
	b, err := json.Marshal(p)
	if err != nil {
		panic("httpapi: " + err.Error()) // strings and numbers only
	}
	x.write(p.Status, append(b, '\n'))
}

// write sends a whole answer, whose body may be empty. Its deadline stays armed:
// what is still buffered is sent when the handler has returned.
func (x *exchange) write(status int, body []byte) {
	err := x.arm()
	if len(body) > 0 {
		x.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	x.w.WriteHeader(status)
	if err == nil && len(body) > 0 {
		_, err = x.w.Write(body)
	}
	if err != nil {
		panic(http.ErrAbortHandler)
	}
}

// send writes p, a part of an answer, to the client now:
//
//	arm the deadline | right lost? | write | flush | clear the deadline
//
// A deadline that stays armed would reset an HTTP/2 stream that is idle. A lease that is
// lost says so first and sets a deadline that is over then: either it is seen here, or
// that deadline comes after ours.
func (x *exchange) send(p []byte) error {
	if err := x.arm(); err != nil {
		return err
	}
	if p := x.lost(); p != nil {
		return p
	}
	if _, err := x.w.Write(p); err != nil {
		return err
	}
	if err := http.NewResponseController(x.w).Flush(); err != nil {
		return err
	}
	return x.disarm()
}

// arm cuts the request when the client does not accept within WriteTimeout what
// is written from here on.
func (x *exchange) arm() error {
	return http.NewResponseController(x.w).SetWriteDeadline(time.Now().Add(x.s.cfg.WriteTimeout))
}

func (x *exchange) disarm() error {
	return http.NewResponseController(x.w).SetWriteDeadline(time.Time{})
}
