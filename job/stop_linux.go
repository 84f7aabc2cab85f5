package job

import (
	"cmp"
	"errors"
	"time"

	"jobworker/internal/failpoint"
	"jobworker/nsinit"
)

// requestStop begins to end a job that has started. The request is on file before
// anything is done, and again when the signal is sent, so that the next worker goes on
// where this one dies. Only between the latter two it would send the signal again.
func (t *task) requestStop(reason string, o StopOptions) error {
	sig, grace, err := t.stopOptions(&o)
	if err != nil {
		return err
	}
	t.stops.Lock()
	defer t.stops.Unlock()
	r, send, err := t.planStop(reason, o, grace)
	if r == nil {
		return err
	}
	failpoint.Here("stop.asked")
	// That it cannot be written down, on a full disk, is no reason to let it run.
	t.complain("stop", r.append(t.dir))
	failpoint.Here("stop.written")
	err = t.beginStop(r, grace)
	failpoint.Here("stop.begun")
	if send {
		err = errors.Join(err, t.sendStop(r, sig, o.By))
	}
	return err
}

// sendStop sends the signal of r, and notes that it has.
func (t *task) sendStop(r *stopRequest, sig int, by string) error {
	switch err := t.signal(sig, by); {
	case errors.Is(err, ErrEnded):
		return nil
	case err != nil:
		return err
	}
	failpoint.Here("stop.sent")
	r.Sent = true
	t.complain("stop", r.append(t.dir))
	failpoint.Here("stop.noted")
	return nil
}

// stopOptions returns what o, or else the spec, says. It sets o.Signal to the name of
// the signal, unless it is the spec's.
func (t *task) stopOptions(o *StopOptions) (sig int, grace time.Duration, err error) {
	name := cmp.Or(o.Signal, t.spec.stopSignal())
	if sig, err = ParseSignal(name); err != nil {
		return 0, 0, &FieldError{"signal", quote(name), err.Error()}
	}
	grace = t.spec.grace()
	if o.Grace != nil {
		grace = time.Duration(*o.Grace)
	}
	if grace < 0 || grace > maxGrace {
		return 0, 0, &FieldError{"grace", grace.String(), "must be from 0s to 24h"}
	}
	return sig, grace, nil
}

// planStop describes a stop request, and says whether it is one to send a signal for.
// There is none for a job that is over.
func (t *task) planStop(reason string, o StopOptions, grace time.Duration) (r *stopRequest, send bool, err error) {
	now, err := nsinit.Clock()
	if err != nil {
		return nil, false, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == Ended || t.proc == nil {
		return nil, false, nil
	}
	r = &stopRequest{Version: recordVersion, Reason: t.reason, By: t.by, At: t.askedAt, Kill: now + grace,
		Signal: cmp.Or(o.Signal, t.spec.stopSignal())}
	first := t.state == Running
	if first {
		r.Reason, r.By, r.At = reason, o.By, time.Now().UTC()
	}
	if left := time.Until(t.killAt); !t.killAt.IsZero() && left < grace {
		r.Kill = now + left
	}
	send = first || o.Signal != ""
	r.Sent = !send
	return r, send, nil
}

// beginStop enters the stopping state, as r says.
func (t *task) beginStop(r *stopRequest, left time.Duration) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == Ended {
		return nil
	}
	t.state, t.reason, t.by, t.askedAt = Stopping, r.Reason, r.By, r.At
	if at := time.Now().Add(left); t.killAt.IsZero() || at.Before(t.killAt) {
		t.killAt = at
	}
	return t.arm()
}
