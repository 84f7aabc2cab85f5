package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"jobworker/authz"
	"jobworker/job"
	"jobworker/stream"
)

// An eventFeed sends what happens to one client. It is a position in the worker's
// events: nobody waits for it.
type eventFeed struct {
	*exchange
	events *job.Events
	buf    bytes.Buffer // the lines at hand
	last   time.Time    // when the client was sent something
}

// events serves GET /v1/events.
func (x *exchange) events() error {
	since, err := x.query.int("since", 1, math.MaxInt64)
	if err != nil {
		return err
	}
	if err := x.allow(authz.EventsRead, "", ""); err != nil {
		return err
	}
	l, err := x.hold(authz.EventsRead, "", "")
	if err != nil {
		return err
	}
	defer l.release()
	events, err := x.s.cfg.Worker.Events(since)
	if errors.Is(err, job.ErrEventsGone) {
		return wrong(TypeEventsGone, "since", strconv.FormatInt(since, 10), err.Error()+"; GET /v1/worker has the number of the newest")
	}
	if err != nil {
		return err
	}
	l.begun()
	x.beginLines()
	if x.r.Method == http.MethodHead {
		return nil
	}
	f := &eventFeed{exchange: x, events: events}
	x.cut(f.run(), "")
	return nil
}

// run says at once where the stream begins, then sends events until there are no
// more.
func (f *eventFeed) run() error {
	err := f.mark(stream.TypePing, "")
	for err == nil {
		var events []Event
		events, err = f.next()
		switch {
		case err == nil:
			err = f.tell(events)
		case errors.Is(err, job.ErrClosed), f.shutdown(err):
			return errors.Join(f.mark(stream.TypeEnd, stream.EndShutdown), f.arm())
		case f.silent(err):
			err = f.mark(stream.TypePing, "")
		}
	}
	return err
}

// next waits for events until the client has to be told that the stream lives: also
// when much happens, but nothing that is for it to see.
func (f *eventFeed) next() ([]Event, error) {
	ctx, cancel := f.untilHeartbeat(f.last)
	defer cancel()
	return f.events.Next(ctx)
}

// tell sends those of events that are for the client to see, by the policy of now.
func (f *eventFeed) tell(events []Event) error {
	policy := f.s.policy.Load()
	hidden := func(e Event) bool { return e.Job != "" && !policy.Sees(f.who, e.Owner) }
	f.buf.Reset()
	enc := json.NewEncoder(&f.buf)
	for _, e := range slices.DeleteFunc(events, hidden) {
		if err := enc.Encode(e); err != nil {
			return err
		}
	}
	if f.buf.Len() == 0 {
		return nil
	}
	return f.line(f.buf.Bytes())
}

// An eventMark is a line among events that is none.
type eventMark struct {
	Type   string `json:"type"`             // "ping" or "end"
	Next   int64  `json:"next"`             // number of the next event, seen or not
	Reason string `json:"reason,omitempty"` // end: "shutdown"
}

func (f *eventFeed) mark(kind, reason string) error {
	b, err := json.Marshal(eventMark{kind, f.events.Position(), reason})
	if err != nil {
		return err
	}
	return f.line(append(b, '\n'))
}

// line sends one line or more.
func (f *eventFeed) line(b []byte) error {
	f.last = time.Now()
	return f.send(b)
}
