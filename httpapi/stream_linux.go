package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"jobworker/authz"
)

// beginLines sends the header of an answer of lines.
func (x *exchange) beginLines() {
	media := mediaLines
	if accept := x.r.Header.Get("Accept"); strings.Contains(accept, mediaNDJSON) && !strings.Contains(accept, mediaLines) {
		media = mediaNDJSON
	}
	x.w.Header().Set("Content-Type", media)
	x.w.WriteHeader(http.StatusOK)
}

// untilHeartbeat returns a context that ends when a client that has been sent
// nothing since some time has to be told that the stream lives, or its certificate
// ends.
func (x *exchange) untilHeartbeat(since time.Time) (context.Context, context.CancelFunc) {
	wake := since.Add(x.s.cfg.Heartbeat)
	if expiry := x.who.NotAfter.Add(time.Millisecond); expiry.Before(wake) {
		wake = expiry
	}
	return context.WithDeadline(x.r.Context(), wake)
}

// silent reports whether err is the end of untilHeartbeat and of nothing else.
func (x *exchange) silent(err error) bool {
	return x.r.Context().Err() == nil && errors.Is(err, context.DeadlineExceeded)
}

// shutdown reports whether err ended a wait because the server ends.
func (x *exchange) shutdown(err error) bool {
	return context.Cause(x.r.Context()) == errShutdown && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded))
}

// stillAllowed decides again what was decided when the stream began: the
// certificate may have expired, its CA may be gone, and the policy may be
// another. Revocation, once there is such a thing, is a matter of
// authz.ServerTLS.Identify and needs nothing here. The new policy is that of the
// exchange from then on.
func (x *exchange) stillAllowed(a authz.Action, id, owner string) error {
	if err := x.identify(); err != nil {
		return err
	}
	x.policy = x.s.policy.Load()
	ok, reason := x.policy.Allow(x.who, a, owner)
	if !ok {
		x.audit(a, id, owner, false, reason)
		return problem(TypeForbidden, string(a)+": "+reason)
	}
	return nil
}

// cut ends a stream that has gone wrong, if it has: the connection is aborted
// (HTTP/1.1) or the stream reset (HTTP/2), so that the client does not take what it
// has for all.
func (x *exchange) cut(err error, id string) {
	if err == nil {
		return
	}
	x.s.cfg.Log.LogAttrs(x.r.Context(), slog.LevelInfo, "stream cut",
		slog.String("request_id", x.id), slog.String("job", id), slog.String("user", x.who.User), slog.String("error", err.Error()))
	panic(http.ErrAbortHandler)
}
