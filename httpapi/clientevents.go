package httpapi

import (
	"encoding/json"
	"fmt"

	"jobworker/stream"
)

// An EventStream is what happens, as it arrives. It is for one goroutine, but for
// Close, which may come from another.
type EventStream struct {
	s *Stream
}

// Next returns the next event. It blocks until there is one or the context of
// the request ends.
//
// It returns io.EOF when the worker has said that it goes down. When the
// connection was cut, the error wraps io.ErrUnexpectedEOF; the caller may ask for
// the rest with Client.Events, from the number of the last event.
func (e *EventStream) Next() (Event, error) {
	s := e.s
	for s.err == nil {
		line, err := s.line()
		if err != nil {
			s.err = err
			break
		}
		var ev Event
		if err := json.Unmarshal(line, &ev); err != nil {
			s.err = fmt.Errorf("events: %w", err)
			break
		}
		switch ev.Type {
		case stream.TypePing:
			continue
		case stream.TypeEnd:
			s.err = s.last()
		default:
			return ev, nil
		}
	}
	return Event{}, s.err
}

// Close ends the stream and frees its part of the connection. A Next that is
// blocked returns context.Canceled.
func (e *EventStream) Close() error { return e.s.Close() }
