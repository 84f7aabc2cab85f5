package httpapi

import (
	"context"
	"errors"
	"log"
	"log/slog"
	"math"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"jobworker/authz"
	"jobworker/job"
)

// A Config is what a Server is made of. The zero value of every field but Worker
// and TLS asks for the default.
type Config struct {
	Worker *job.Worker      // runs the jobs; the Server does not shut it down
	TLS    *authz.ServerTLS // certificates, and who a client is
	Policy *authz.Policy    // who may do what; nil: authz.Builtin
	Audit  *authz.Audit     // gets every decision; nil: they are not logged
	Log    *slog.Logger     // faults of the worker and refused connections; nil: not logged

	// Terminate begins the end of the program, once, after a client was
	// told that it will come. It must not block. nil: the worker is part of
	// a program that does not end for a client, and terminate is refused.
	Terminate func()

	// Heartbeat is the longest that a following stream is silent. Zero means
	// DefaultHeartbeat; a longer one does too, since clients rely on it.
	Heartbeat time.Duration

	// WriteTimeout is how long a client may take to accept one piece of an
	// answer, at most some 256 KiB, before its request is cut. Zero means
	// 30 seconds.
	WriteTimeout time.Duration

	// BodyTimeout is how long a client may take to send a request's body.
	// Zero means 30 seconds.
	BodyTimeout time.Duration

	// MaxBody is the size in bytes that a request's body may have, other than
	// that of input. Zero, or more than the constant MaxBody, means that one.
	MaxBody int64

	// MaxHeader is the size in bytes that a request's header may have, request
	// line included; net/http adds some 4 KiB to it. Zero means 64 KiB.
	MaxHeader int

	// HeaderTimeout is how long a client may take for the TLS handshake, and
	// then for the header of a request. Zero means 10 seconds.
	HeaderTimeout time.Duration

	Limits ClientLimits // on what clients may hold
}

// A Server serves the API to any number of listeners. It is safe for concurrent
// use.
type Server struct {
	cfg    Config
	policy atomic.Pointer[authz.Policy]
	leases leases // of the requests whose answers take time
	http   *http.Server

	connections *connections
	requests    *tally
	inputs      *tally

	// ctx is the parent of every request's context. It ends, with the cause
	// errShutdown, when Shutdown begins.
	ctx context.Context
	end context.CancelCauseFunc
}

// errShutdown is why a request's context ended, where it was not the client.
var errShutdown = errors.New("the worker is shutting down")

// NewServer returns a Server that serves nothing yet.
func NewServer(cfg Config) *Server {
	s := &Server{cfg: cfg.withDefaults(), leases: leases{held: make(map[*lease]bool)}}
	limits := s.cfg.Limits
	s.connections = newConnections(limits, s.cfg.Log)
	s.requests = newTally("requests", limits.Requests, limits.RequestsPerUser)
	s.inputs = newTally("inputs", limits.Requests, limits.InputsPerUser)
	s.policy.Store(s.cfg.Policy)
	s.ctx, s.end = context.WithCancelCause(context.Background())
	s.http = s.newHTTP()
	return s
}

func (c Config) withDefaults() Config {
	if c.Policy == nil {
		c.Policy = authz.Builtin()
	}
	if c.Audit == nil {
		c.Audit = authz.NewAudit(nil)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Heartbeat <= 0 || c.Heartbeat > DefaultHeartbeat {
		c.Heartbeat = DefaultHeartbeat
	}
	if c.MaxBody <= 0 || c.MaxBody > MaxBody {
		c.MaxBody = MaxBody
	}
	if c.MaxHeader <= 0 {
		c.MaxHeader = DefaultHeader
	}
	setDefault(&c.WriteTimeout, 30*time.Second)
	setDefault(&c.BodyTimeout, 30*time.Second)
	setDefault(&c.HeaderTimeout, 10*time.Second)
	c.Limits = c.Limits.withDefaults()
	return c
}

func setDefault(d *time.Duration, v time.Duration) {
	if *d <= 0 {
		*d = v
	}
}

// Of an HTTP/2 connection.
const (
	maxStreams   = 250       // requests at once
	streamWindow = 512 << 10 // bytes of a body that are sent before the handler has read any
)

// newHTTP bounds what a client can hold: http.Server alone has no timeout at
// all. There is no WriteTimeout here because it would end every stream; see
// outputStream.send for the deadline of each write.
func (s *Server) newHTTP() *http.Server {
	// Inputs that no job reads must not hold up the rest of their connection.
	window := min(2*s.cfg.Limits.InputsPerConnection*streamWindow, math.MaxInt32)
	return &http.Server{
		Handler:                      s.handler(),
		TLSConfig:                    s.cfg.TLS.Config(),
		ReadHeaderTimeout:            s.cfg.HeaderTimeout, // of the TLS handshake too
		IdleTimeout:                  2 * time.Minute,
		MaxHeaderBytes:               s.cfg.MaxHeader,
		DisableGeneralOptionsHandler: true, // it would answer "OPTIONS *" before the certificate is looked at
		ErrorLog:                     log.New(&errorLog{log: s.cfg.Log}, "", 0),
		BaseContext:                  func(net.Listener) context.Context { return s.ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, c)
		},
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          maxStreams,
			MaxReadFrameSize:              64 << 10,
			MaxReceiveBufferPerStream:     streamWindow,
			MaxReceiveBufferPerConnection: window,
			SendPingTimeout:               15 * time.Second, // a client that is gone without a word
			PingTimeout:                   15 * time.Second,
			// For a connection that accepts nothing at all. It does not
			// end a stream that flow control holds up.
			WriteByteTimeout: s.cfg.WriteTimeout,
		},
	}
}

// SetPolicy replaces the policy for every request from now on, and for those that are
// being answered: what it no longer allows is ended before SetPolicy returns.
func (s *Server) SetPolicy(p *authz.Policy) {
	s.policy.Store(p)
	s.leases.decide()
}

// Reload reads the certificates again, as authz.ServerTLS.Reload does, and ends the
// answers to clients whose certificates do not hold any more. On an error everything
// stays as it was.
func (s *Server) Reload() error {
	if err := s.cfg.TLS.Reload(); err != nil {
		return err
	}
	s.leases.decide()
	return nil
}

// Serve answers the connections of l with TLS until Shutdown, and then returns
// http.ErrServerClosed. It closes l.
func (s *Server) Serve(l net.Listener) error {
	return s.http.ServeTLS(listener{l, s.connections}, "", "")
}

// Shutdown refuses new requests, ends every stream with the reason "shutdown"
// and every wait with what is known by then, and blocks until all requests are
// answered. When ctx ends first it closes their connections and returns ctx's
// error. The jobs go on.
func (s *Server) Shutdown(ctx context.Context) error {
	s.end(errShutdown)
	err := s.http.Shutdown(ctx)
	if err != nil {
		return errors.Join(err, s.http.Close())
	}
	return nil
}
