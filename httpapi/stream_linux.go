package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"
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
// nothing since some time has to be told that the stream lives.
func (x *exchange) untilHeartbeat(since time.Time) (context.Context, context.CancelFunc) {
	return context.WithDeadline(x.r.Context(), since.Add(x.s.cfg.Heartbeat))
}

// silent reports whether err is the end of untilHeartbeat and of nothing else.
func (x *exchange) silent(err error) bool {
	return x.r.Context().Err() == nil && errors.Is(err, context.DeadlineExceeded)
}

// shutdown reports whether err ended a wait because the server ends.
func (x *exchange) shutdown(err error) bool {
	return context.Cause(x.r.Context()) == errShutdown && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded))
}

// cut ends a stream that has gone wrong, if it has: the connection is aborted
// (HTTP/1.1) or the stream reset (HTTP/2), so that the client does not take what it
// has for all.
func (x *exchange) cut(err error, id string) {
	if err == nil {
		return
	}
	err = x.because(err)
	x.s.cfg.Log.LogAttrs(x.r.Context(), slog.LevelInfo, "stream cut",
		slog.String("request_id", x.id), slog.String("job", id), slog.String("user", x.who.User), slog.String("error", err.Error()))
	panic(http.ErrAbortHandler)
}
