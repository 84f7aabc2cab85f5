package job

import (
	"context"
	"sync"
	"time"
)

// An eventLog holds the newest events of a worker in a ring. A reader is nothing
// but a position in it: publishing waits for nobody, and who falls out of the ring
// has lost.
type eventLog struct {
	// mu guards the rest, for as long as it takes to copy a few events.
	mu     sync.Mutex
	first  int64         // number of the first event there ever was
	next   int64         // number that the next one will get
	ring   []Event       // event n is at (n-first) % size
	size   int           // most events that are held
	grown  chan struct{} // closed with the next event; nil: nobody waits for it
	closed bool
}

func (l *eventLog) init(first int64, size int) { l.first, l.next, l.size = first, first, size }

// publish gives e its number and time. The caller holds the lock under which
// what e tells of has happened, so that the order of events is that of things.
func (l *eventLog) publish(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.Seq, e.Time = l.next, time.Now().UTC()
	if len(l.ring) < l.size {
		l.ring = append(l.ring, e)
	} else {
		l.ring[(e.Seq-l.first)%int64(l.size)] = e
	}
	l.next++
	l.wake()
}

// newest returns the number of the last event, or the one before the first.
func (l *eventLog) newest() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next - 1
}

// wake needs l.mu.
func (l *eventLog) wake() {
	if l.grown != nil {
		close(l.grown)
		l.grown = nil
	}
}

// close lets readers come to an end. Nothing is published after.
func (l *eventLog) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.wake()
}

// has needs l.mu. It reports whether all events from number n on are there.
func (l *eventLog) has(n int64) bool { return l.next-int64(len(l.ring)) <= n && n <= l.next }

// from returns up to most events from number n on, or a channel that is closed
// when there may be one.
func (l *eventLog) from(n int64, most int) ([]Event, <-chan struct{}, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !l.has(n):
		return nil, nil, ErrEventsGone
	case n < l.next:
		events := make([]Event, min(l.next-n, int64(most)))
		for i := range events {
			events[i] = l.ring[(n+int64(i)-l.first)%int64(l.size)]
		}
		return events, nil, nil
	case l.closed:
		return nil, nil, ErrClosed
	}
	if l.grown == nil {
		l.grown = make(chan struct{})
	}
	return nil, l.grown, nil
}

// Events is a reader of what happens to a worker and its jobs. It holds nothing
// that would have to be freed. It is for one goroutine.
type Events struct {
	log  *eventLog
	next int64
}

// Events returns a reader of the events after number since, or of those from now
// on if since is 0. Numbers rise by one; the first is the time at which the worker
// was opened (Info.Opened) in microseconds since 1970, so that they rise from
// worker to worker, and the number before that asks for all events.
//
// It returns ErrEventsGone where the worker does not have all of the events after
// since any more, or has not given the number since.
func (w *Worker) Events(since int64) (*Events, error) {
	l := &w.events
	l.mu.Lock()
	defer l.mu.Unlock()
	next := since + 1
	if since == 0 {
		next = l.next
	}
	if !l.has(next) {
		return nil, ErrEventsGone
	}
	return &Events{l, next}, nil
}

// maxEvents is how many events Next returns at most: written as JSON they are one
// piece of an answer, and a message may take six times its size there.
const maxEvents = 8

// Next returns the events that it has not returned yet, the oldest first, at least
// one and at most 8. What the pointers of an event lead to is for reading only.
// It blocks until there is an event; those that are there it returns whatever
// became of ctx.
//
// The errors are ctx's, ErrEventsGone when the reader was so slow that an event is
// lost, and ErrClosed after the last event of a worker that was shut down.
func (e *Events) Next(ctx context.Context) ([]Event, error) {
	for {
		events, grown, err := e.log.from(e.next, maxEvents)
		e.next += int64(len(events))
		if err != nil || len(events) > 0 {
			return events, err
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Position returns the number of the event that Next returns next.
func (e *Events) Position() int64 { return e.next }
