package httpapi

import (
	"encoding/json"
	"fmt"

	"jobworker/stream"
)

// An EventStream is what happens, as it arrives. It is for one goroutine, but for
// Close, which may come from another.
type EventStream struct {
	s        *Stream
	position int64
}

// Next returns the next event. It blocks until there is one or the context of
// the request ends.
//
// It returns io.EOF when the worker has said that it goes down. When the
// connection was cut, the error wraps io.ErrUnexpectedEOF; the caller may ask for
// the rest with Client.Events, from Position.
func (e *EventStream) Next() (Event, error) {
	s := e.s
	for s.err == nil {
		line, err := s.line()
		if err != nil {
			s.err = err
			break
		}
		var ev struct {
			Event
			Next int64 `json:"next"` // of a ping and of the end
		}
		if err := json.Unmarshal(line, &ev); err != nil {
			s.err = fmt.Errorf("events: %w", err)
			break
		}
		e.position = max(e.position, ev.Seq, ev.Next-1)
		switch ev.Type {
		case stream.TypePing:
			continue
		case stream.TypeEnd:
			s.err = s.last()
		default:
			return ev.Event, nil
		}
	}
	return Event{}, s.err
}

// Position returns the number to ask for the rest with, or 0 before the first line.
// It is that of the last event or, when a ping has told of more events which the
// client may not see, of the last of those.
func (e *EventStream) Position() int64 { return e.position }

// Close ends the stream and frees its part of the connection. A Next that is
// blocked returns context.Canceled.
func (e *EventStream) Close() error { return e.s.Close() }
