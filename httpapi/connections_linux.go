package httpapi

import (
	"container/list"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// connections are those of a server, counted as ClientLimits says.
//
//	accepted ──▶ strange: counts for its address ──first request──▶ counts for its user ──▶ closed
//	                 └──▶ closed for a newer one
//
// That the oldest has to go, and not that the newest may not come, is for those who mean
// well: a handshake takes milliseconds, and whoever holds silent ones has the oldest.
type connections struct {
	limits  ClientLimits
	log     *slog.Logger
	refused throttle // lines about connections that were refused

	mu        sync.Mutex // of all below, and of the fields of each connection
	open      int
	strange   list.List            // of *connection: without a request, the oldest first
	byAddress map[netip.Prefix]int // of strange
	byUser    map[string]int
}

// A connection is one of them.
type connection struct {
	net.Conn
	of      *connections
	address netip.Prefix
	inputs  atomic.Int32 // requests on it that write to a job's input

	// Guarded by of.mu.
	place  *list.Element // in of.strange; nil: not there
	user   string        // "" until the first request
	closed bool
}

func newConnections(limits ClientLimits, log *slog.Logger) *connections {
	return &connections{limits: limits, log: log, byAddress: make(map[netip.Prefix]int), byUser: make(map[string]int)}
}

// A listener counts what it accepts.
type listener struct {
	net.Listener
	connections *connections
}

// Accept returns the next connection that may stay.
func (l listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if counted, ok := l.connections.admit(c); ok {
			return counted, nil
		}
	}
}

// admit counts c, and closes it or an older one where there are too many.
func (s *connections) admit(c net.Conn) (*connection, bool) {
	n := &connection{Conn: c, of: s, address: network(c.RemoteAddr())}
	limit, victim := s.add(n)
	if limit == "" {
		return n, true
	}
	if victim == nil {
		s.refuse(limit, c)
		c.Close()
		return nil, false
	}
	s.refuse(limit, victim)
	victim.Close()
	return n, true
}

// add adds n if there is room, or will be when victim has been closed. limit names what
// has been reached.
func (s *connections) add(n *connection) (limit string, victim *connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byAddress[n.address] >= s.limits.ConnectionsPerAddress {
		limit, victim = "connections of an address", s.oldest(n.address)
	} else if s.open >= s.limits.Connections {
		limit, victim = "connections", s.oldest(netip.Prefix{})
	}
	if limit != "" && victim == nil {
		return limit, nil
	}
	s.open++
	s.byAddress[n.address]++
	n.place = s.strange.PushBack(n)
	return limit, victim
}

// oldest returns the oldest strange connection, of an address if that is valid.
func (s *connections) oldest(address netip.Prefix) *connection {
	for e := s.strange.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*connection); !c.closed && (!address.IsValid() || c.address == address) {
			return c
		}
	}
	return nil
}

func (s *connections) refuse(limit string, c net.Conn) {
	if more, ok := s.refused.pass(); ok {
		s.log.LogAttrs(context.Background(), slog.LevelWarn, "connection closed: too many",
			slog.String("limit", limit), slog.String("remote", c.RemoteAddr().String()), slog.Int("lines_left_out", more))
	}
}

// network is what counts as one address. Who has an IPv6 address has all of its network
// (RFC 6177). A connection of another kind has none.
func network(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		panic("httpapi: " + err.Error()) // for bad lengths only
	}
	return p
}

// Close implements net.Conn.
func (c *connection) Close() error {
	c.of.remove(c)
	return c.Conn.Close()
}

func (s *connections) remove(c *connection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	s.open--
	s.leaveAddress(c)
	if c.user != "" {
		decrement(s.byUser, c.user)
	}
}

func (s *connections) leaveAddress(c *connection) {
	if c.place != nil {
		s.strange.Remove(c.place)
		c.place = nil
		decrement(s.byAddress, c.address)
	}
}

// decrement keeps a map of counts without those that are 0.
func decrement[K comparable](counts map[K]int, k K) {
	if counts[k]--; counts[k] == 0 {
		delete(counts, k)
	}
}

// claim counts the connection for its user, at the first request.
func (c *connection) claim(user string) *Problem {
	s := c.of
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case c.user != "" || c.closed:
		return nil
	case s.byUser[user] >= s.limits.ConnectionsPerUser:
		return problem(TypeTooMany, fmt.Sprintf("%d connections of one user", s.limits.ConnectionsPerUser))
	}
	c.user = user
	s.byUser[user]++
	s.leaveAddress(c)
	return nil
}

// connKey is the key of a request's *tls.Conn in its context.
type connKey struct{}

// connection returns that of the request.
func (x *exchange) connection() *connection {
	return x.r.Context().Value(connKey{}).(*tls.Conn).NetConn().(*connection)
}

// A tally counts what users have at the same time.
type tally struct {
	what      string
	all, each int // the most, of all and of each user

	mu     sync.Mutex // of all below
	total  int
	byUser map[string]int
}

func newTally(what string, all, each int) *tally {
	return &tally{what: what, all: all, each: each, byUser: make(map[string]int)}
}

// take counts one more of user's, which give undoes.
func (t *tally) take(user string) *Problem {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.byUser[user] >= t.each:
		return problem(TypeTooMany, fmt.Sprintf("%d %s of one user at once", t.each, t.what))
	case t.total >= t.all:
		return problem(TypeTooMany, fmt.Sprintf("%d %s at once", t.all, t.what))
	}
	t.total++
	t.byUser[user]++
	return nil
}

func (t *tally) give(user string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total--
	decrement(t.byUser, user)
}
