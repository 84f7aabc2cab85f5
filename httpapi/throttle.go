package httpapi

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// A throttle keeps those who have no certificate from filling the log: of the lines that they
// can cause it lets some through in a time, and says how many it has not. The zero throttle is
// ready. It is safe for concurrent use.
type throttle struct {
	mu     sync.Mutex // of all below
	since  time.Time  // when the time began
	passed int        // lines since then
	left   int        // out since the last line
}

const (
	throttleTime  = 10 * time.Second
	throttleLines = 20
)

// pass reports whether a line may be written, and how many were left out before it.
func (t *throttle) pass() (left int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now(); now.Sub(t.since) >= throttleTime {
		t.since, t.passed = now, 0
	}
	if t.passed == throttleLines {
		t.left++
		return 0, false
	}
	t.passed++
	left, t.left = t.left, 0
	return left, true
}

// An errorLog is where net/http writes what has no request: failed handshakes, mostly.
type errorLog struct {
	log   *slog.Logger
	lines throttle
}

// Write implements io.Writer for a log.Logger, which writes a line at a time.
func (e *errorLog) Write(p []byte) (int, error) {
	if left, ok := e.lines.pass(); ok {
		e.log.LogAttrs(context.Background(), slog.LevelWarn, strings.TrimSuffix(string(p), "\n"), slog.Int("lines_left_out", left))
	}
	return len(p), nil
}
