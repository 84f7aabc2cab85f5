package httpapi

import (
	"context"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"jobworker/authz"
)

// A lease is the right that a request lives on whose answer takes time: a stream, a
// wait, input. What gave it may be taken back meanwhile, also while nothing is said
// on the connection for hours:
//
//	Server.Reload, Server.SetPolicy     decide every lease again, there and then
//	the certificate, its CA or the      a timer for the moment at which the first of
//	CA's revocation list runs out       them does decides again
//	a clock that is set                 the same timer, which runs once a minute at least
//
// A right that is lost ends the request's context, with the Problem as its cause. A
// stream finds out in all that it waits for, and in a write that is blocked; while all
// is well it costs one atomic load for each piece that is sent, and no goroutine.
type lease struct {
	x             *exchange
	action        authz.Action
	object, owner string
	end           context.CancelCauseFunc
	lost          atomic.Pointer[Problem] // why, once it is

	mu      sync.Mutex  // held while the lease is decided: no longer than the request lasts
	over    bool        // released, or lost
	timer   *time.Timer // decides again; when lost, closes the connection
	writing bool        // the answer has begun: end a write that is blocked too
}

const (
	decideAgain = time.Minute // how long a lease is not looked at, if nothing happens
	stuck       = time.Second // how long a request may take to end without its right
)

// hold makes the request live on the right to do a to what is owner's, and replaces
// the request's context by one that ends with it. The caller releases the lease when
// the answer is complete. The error is that the right is gone already.
func (x *exchange) hold(a authz.Action, id, owner string) (*lease, error) {
	ctx, end := context.WithCancelCause(x.r.Context())
	x.r = x.r.WithContext(ctx)
	l := &lease{x: x, action: a, object: id, owner: owner, end: end}
	l.timer = time.AfterFunc(decideAgain, l.decide)
	x.lease = l
	x.s.leases.add(l)
	// What was changed between the decision on the request and this has not
	// met the lease: so it is decided once more. It sets the timer, too.
	l.decide()
	if p := l.lost.Load(); p != nil {
		l.release()
		return nil, p
	}
	return l, nil
}

// begun makes the loss of the right end a write that is blocked, which resets the stream
// (HTTP/2) or the connection (HTTP/1.1). It is for when the answer has begun: before, the
// loss itself is the answer.
func (l *lease) begun() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writing = true
}

func (l *lease) release() {
	l.x.s.leases.remove(l)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	l.timer.Stop()
	l.end(nil)
}

// decide asks once more what was asked when the request came.
func (l *lease) decide() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return
	}
	who, p := l.x.s.decide(l.x.r, l.action, l.owner)
	if p == nil {
		// A certificate is good to the end of its last second, Identity.Expired.
		l.timer.Reset(min(decideAgain, time.Until(who.NotAfter)+time.Millisecond))
		return
	}
	l.over = true
	l.lost.Store(p) // before the deadline: see exchange.send
	l.end(p)
	if l.writing {
		l.x.stopWriting()
		// The reset of a stream has to wait for the frame before it, which may be stuck in TCP. A
		// request that has not ended by then loses its connection.
		l.timer.Stop()
		l.timer = time.AfterFunc(stuck, func() { l.x.connection().Close() })
	}
	l.x.audit(l.action, l.object, l.owner, false, "no longer: "+p.Detail)
}

// stopWriting makes a write of the answer fail, one that is blocked too. On HTTP/1.1 a
// deadline would not do: net/http closes the connection then, and crypto/tls takes up to
// 5 seconds to say so to a peer that does not read.
func (x *exchange) stopWriting() {
	if x.r.ProtoMajor > 1 {
		http.NewResponseController(x.w).SetWriteDeadline(time.Unix(1, 0)) // the error would be that there is nothing to write
		return
	}
	x.connection().Close() // the error would be that it is closed
}

// decide returns who sends r, or why it may not do a to what is owner's.
func (s *Server) decide(r *http.Request, a authz.Action, owner string) (authz.Identity, *Problem) {
	who, err := s.cfg.TLS.Identify(r.TLS)
	if err != nil {
		return who, problem(TypeIdentity, err.Error())
	}
	if ok, reason := s.policy.Load().Allow(who, a, owner); !ok {
		return who, problem(TypeForbidden, string(a)+": "+reason)
	}
	return who, nil
}

// lost returns why the request has no right to go on, if it has lost it.
func (x *exchange) lost() *Problem {
	if x.lease == nil {
		return nil
	}
	return x.lease.lost.Load()
}

// because returns the loss of the right, if that is what is behind err.
func (x *exchange) because(err error) error {
	if p := x.lost(); p != nil {
		return p
	}
	return err
}

// leases are those that are held.
type leases struct {
	mu   sync.Mutex // of all, for moments
	held map[*lease]bool
}

func (s *leases) add(l *lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held[l] = true
}

func (s *leases) remove(l *lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, l)
}

// decide decides all leases again. A request that comes meanwhile is decided anyway.
func (s *leases) decide() {
	s.mu.Lock()
	list := make([]*lease, 0, len(s.held))
	for l := range s.held {
		list = append(list, l)
	}
	s.mu.Unlock()
	for _, l := range list {
		l.decide()
	}
}
