package job

import (
	"maps"
	"time"
)

// A pace is an owner's rate of starts, kept as one time: each start takes up its share of
// a minute after those before it, and a minute's worth may come at once. That is the
// generic cell rate algorithm.
type pace struct {
	until time.Time     // when all starts so far are forgotten
	each  time.Duration // how long one counts
}

// startsOf needs w.mu. It returns how many starts of the last minute owner has in use.
func (w *Worker) startsOf(owner string) int64 {
	p := w.starts[owner]
	until := time.Until(p.until)
	if until <= 0 {
		return 0
	}
	return int64((until + p.each - 1) / p.each)
}

// countStart needs w.mu. It counts a start of owner, or returns a *QuotaError when
// there have been perMinute in the last minute.
func (w *Worker) countStart(owner string, perMinute int64) error {
	if perMinute == 0 {
		return nil
	}
	now := time.Now()
	maps.DeleteFunc(w.starts, func(_ string, p pace) bool { return !p.until.After(now) })
	p := pace{until: w.starts[owner].until, each: time.Minute / time.Duration(perMinute)}
	if now.After(p.until) {
		p.until = now
	}
	p.until = p.until.Add(p.each)
	if late := p.until.Sub(now) - time.Minute; late > 0 {
		return &QuotaError{Bound: "starts_per_minute", Limit: float64(perMinute), Used: float64(perMinute), Asked: 1, Retry: late}
	}
	w.starts[owner] = p
	return nil
}
