package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"jobworker/httpapi"
)

// A link is one worker, as the console sees it.
type link struct {
	name    string
	worker  *worker
	client  *httpapi.Client
	console *console
	queue   chan func(context.Context) // has room for one from each command without a reply
	tried   chan struct{}              // closed when the follower has connected or failed to, once

	// mu guards the rest. It is held while a line is written that tells of
	// an event, so that they come in order, and never across a request.
	mu       sync.Mutex
	state    string              // the worker's, or one of the words below
	own      map[string]*started // by the job's id, until its end has been told
	starting bool                // a start is on its way: the id of its job is not known yet
	held     []httpapi.Event     // what happened meanwhile
}

// States of a link without a worker.
const (
	connecting = "connecting"
	gone       = "gone"
)

// started is a job that this console has started.
type started struct {
	number  int
	what    string    // "calculate"; empty becomes "job ID"
	message *string   // that a calculate prints
	at      time.Time // by the worker's clock
	told    bool      // its end has been told, but its event has not come
}

func newLink(c *console, name string, w *worker, client *httpapi.Client) *link {
	return &link{
		name: name, worker: w, client: client, console: c, state: connecting,
		queue: make(chan func(context.Context), maxPending+maxAside), tried: make(chan struct{}),
		own: make(map[string]*started),
	}
}

// send does what is in the queue, one after the other, until ctx ends.
func (l *link) send(ctx context.Context) {
	for {
		select {
		case do := <-l.queue:
			do(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// passed returns a channel that is closed when all has been done that is in the
// queue now.
func (l *link) passed() <-chan struct{} {
	done := make(chan struct{})
	l.queue <- func(context.Context) { close(done) }
	return done
}

func (l *link) stateNow() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// enter notes a new state and shows it in the prompt.
func (l *link) enter(state string) {
	l.mu.Lock()
	l.state = state
	l.mu.Unlock()
	l.console.refresh()
}

// launch starts a job through start and replies with what it is. What happens to
// the worker's jobs meanwhile is told after the reply: it may be the end of this one.
func (l *link) launch(k *call, s *started, start func() (httpapi.Job, error)) error {
	l.mu.Lock()
	l.starting = true
	l.mu.Unlock()
	defer l.console.refresh()
	j, err := start()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		s.number = k.number
		if s.at = j.CreatedAt; j.StartedAt != nil {
			s.at = *j.StartedAt
		}
		s.what = cmp.Or(s.what, "job "+j.ID)
		l.own[j.ID] = s
		k.reply("job %s started", j.ID)
	}
	l.starting = false
	for _, ev := range l.held {
		l.show(ev)
	}
	l.held = nil
	return mayRun(err)
}

// take tells of an event, or keeps it until it can be told.
func (l *link) take(ev httpapi.Event) {
	l.mu.Lock()
	if l.starting {
		l.held = append(l.held, ev)
	} else {
		l.show(ev)
	}
	l.mu.Unlock()
	l.console.refresh()
}

// show needs l.mu.
func (l *link) show(ev httpapi.Event) {
	by := ""
	if ev.By != "" {
		by = ", by " + ev.By
	}
	switch ev.Type {
	case httpapi.WorkerReady, httpapi.WorkerUnready, httpapi.WorkerTerminating:
		l.state = strings.TrimPrefix(ev.Type, "worker.")
		l.push("%s%s", l.state, by)
	case httpapi.JobEnded:
		if s := l.own[ev.Job]; s != nil {
			l.tell(s, ev.Verdict, ev.Time)
			delete(l.own, ev.Job)
			return
		}
		l.push("%s", foreignEnd(ev))
	}
}

// push writes what was not asked for.
func (l *link) push(format string, args ...any) {
	l.console.display.data("["+l.name+"] ", fmt.Sprintf(format, args...))
}

// foreignEnd tells of a job that somebody else started.
func foreignEnd(ev httpapi.Event) string {
	what := "job " + ev.Job
	if ev.Message != nil {
		what = "calculate " + ev.Job
	}
	if ev.Name != "" {
		what += " (" + ev.Name + ")"
	}
	what += " of " + ev.Owner
	switch {
	case ev.Message != nil:
		return what + " done: " + strconv.Quote(*ev.Message)
	case ev.Verdict != nil:
		return what + " over: " + verdictText(ev.Verdict)
	}
	return what + " over"
}

// tell needs l.mu. It tells once of the end of a job of this console.
func (l *link) tell(s *started, v *httpapi.Verdict, at time.Time) {
	if s.told {
		return
	}
	s.told = true
	took := max(0, at.Sub(s.at)).Round(time.Millisecond)
	end := "how it ended is not known"
	switch {
	case v == nil:
	case s.message != nil && v.Reason == httpapi.Exited && v.Code != nil && *v.Code == 0:
		end = fmt.Sprintf("done after %s: %s", took, strconv.Quote(*s.message))
	default:
		end = fmt.Sprintf("over after %s: %s", took, verdictText(v))
	}
	l.console.display.data(prefix(s.number, l), s.what+" "+end)
}

// settle tells of the end of a job that its worker was asked for; err is what
// became of the question. A job that is not there any more has ended.
func (l *link) settle(id string, j httpapi.Job, err error) error {
	p, _ := errors.AsType[*httpapi.Problem](err)
	if err != nil && (p == nil || p.Type != httpapi.TypeNotFound) {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.own[id]
	if s == nil || err == nil && j.Verdict == nil {
		return nil
	}
	at := time.Now()
	if j.EndedAt != nil {
		at = *j.EndedAt
	}
	l.tell(s, j.Verdict, at)
	return nil
}

// unsettled are the jobs of this console whose end has not been told.
func (l *link) unsettled() (ids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, s := range l.own {
		if !s.told {
			ids = append(ids, id)
		}
	}
	return ids
}

// forget drops the jobs whose end has been told. Their events will not come.
func (l *link) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, s := range l.own {
		if s.told {
			delete(l.own, id)
		}
	}
}
