package httpapi

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"jobworker/job"
)

// A Client talks to one worker. It keeps one HTTP/2 connection and is safe for
// concurrent use. Every method blocks until the answer is there or its context
// ends.
//
// An answer that is an error is returned as a *Problem. An answer that is not of
// this API (another status or media type, a redirect, bad JSON) is a plain error.
// What the connection reports (refused, reset, a certificate) is returned
// wrapped, as net/http gives it; where the worker refuses the client's own
// certificate that is always the alert, a *net.OpError of "remote error".
type Client struct {
	// IdleTimeout is how long a stream may be silent before its connection
	// is taken for dead. Zero means three times DefaultHeartbeat. It is set
	// before the first request.
	IdleTimeout time.Duration

	base string // without a slash at its end
	http *http.Client

	addr string      // host:port
	tls  *tls.Config // of a connection outside http; see refusal
}

const (
	// clientFrame is the HTTP/2 frame size that the worker may use: 1 MiB
	// instead of 16 KiB saves it most of its writes when it replays output.
	clientFrame = 1 << 20

	// clientWindow is how far the worker may be ahead of a reader.
	clientWindow = 4 << 20

	// maxAnswer bounds an answer that is read as a whole: a page of
	// DefaultPage jobs that each have the longest arguments.
	maxAnswer = DefaultPage * (job.MaxArgBytes + 64<<10)
)

// NewClient returns a client of the worker at baseURL, as in
// "https://127.0.0.1:8443". cfg carries the client's certificate and the CAs
// that it trusts, and is not changed. Proxy settings of the environment are
// ignored: a proxy could not present the client's certificate.
func NewClient(baseURL string, cfg *tls.Config) (*Client, error) {
	u, err := url.Parse(baseURL)
	if err != nil {
		return nil, fmt.Errorf("worker's address: %w", err)
	}
	if u.Scheme != "https" || u.Host == "" || u.User != nil || (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("worker's address %q: must be https://host:port and no more", baseURL)
	}
	if cfg == nil {
		return nil, fmt.Errorf("worker's address %q: no TLS configuration", baseURL)
	}
	c := &Client{base: "https://" + u.Host, addr: net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "443")), tls: cfg.Clone()}
	c.tls.NextProtos = []string{"h2", "http/1.1"}
	c.http = &http.Client{
		Transport:     newTransport(cfg),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

func newTransport(cfg *tls.Config) *http.Transport {
	var p http.Protocols
	p.SetHTTP1(true)
	p.SetHTTP2(true)
	return &http.Transport{
		TLSClientConfig:     cfg.Clone(),
		Protocols:           &p,
		TLSHandshakeTimeout: 10 * time.Second,
		IdleConnTimeout:     90 * time.Second,
		DisableCompression:  true,
		ReadBufferSize:      256 << 10,
		HTTP2: &http.HTTP2Config{
			MaxReadFrameSize:              clientFrame,
			MaxReceiveBufferPerStream:     clientWindow,
			MaxReceiveBufferPerConnection: 4 * clientWindow,
			SendPingTimeout:               DefaultHeartbeat, // notices a dead worker under a long poll
			PingTimeout:                   DefaultHeartbeat,
		},
	}
}

// Close closes the idle connections. Streams that are open stay open.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Start starts a job. With a key it is idempotent: the same key and spec return
// the same job, whatever became of the first answer.
func (c *Client) Start(ctx context.Context, spec Spec, key string) (Job, error) {
	var j Job
	req, err := c.post(ctx, "/v1/jobs", nil, spec)
	if err != nil {
		return j, err
	}
	setKey(req, key)
	return j, c.do(req, &j, http.StatusCreated, http.StatusOK)
}

// Run starts a job and follows its output from the first byte, in one round
// trip. The first frame of the stream is of type "start" and names the job. The
// caller closes the stream.
func (c *Client) Run(ctx context.Context, spec Spec, key string) (*Stream, error) {
	return c.stream(ctx, 0, func(ctx context.Context) (*http.Request, error) {
		req, err := c.post(ctx, "/v1/jobs", url.Values{"follow": {"true"}}, spec)
		if err == nil {
			setKey(req, key)
		}
		return req, err
	})
}

// Status returns the job as it is now.
func (c *Client) Status(ctx context.Context, id string) (Job, error) {
	return c.Wait(ctx, id, 0)
}

// Wait waits up to d, and at most MaxWait, for the job to end and returns it as
// it is then.
func (c *Client) Wait(ctx context.Context, id string, d time.Duration) (Job, error) {
	q := url.Values{}
	if d > 0 {
		q.Set("wait", min(d, MaxWait).String())
	}
	var j Job
	req, err := c.get(ctx, jobPath(id, ""), q)
	if err != nil {
		return j, err
	}
	return j, c.do(req, &j, http.StatusOK)
}

// List returns one page of the jobs that the client may see, newest first.
func (c *Client) List(ctx context.Context, o ListOptions) (JobList, error) {
	var l JobList
	req, err := c.get(ctx, "/v1/jobs", o.query())
	if err != nil {
		return l, err
	}
	return l, c.do(req, &l, http.StatusOK)
}

func (o ListOptions) query() url.Values {
	q := url.Values{}
	setString(q, "state", string(o.State))
	setString(q, "owner", o.Owner)
	setString(q, "page_token", o.PageToken)
	setInt(q, "limit", int64(o.Limit))
	for k, v := range o.Labels {
		q.Add("label", k+"="+v)
	}
	return q
}

// Stop asks the job to end, by force after its grace period, and returns it when
// it is over. Stopping an ended job returns it as it is. The end of ctx ends the
// waiting, not the stop.
func (c *Client) Stop(ctx context.Context, id string, r StopRequest) (Job, error) {
	var j Job
	req, err := c.post(ctx, jobPath(id, "/stop"), nil, r)
	if err != nil {
		return j, err
	}
	return j, c.do(req, &j, http.StatusOK)
}

// Signal sends a signal, as in "TERM", "SIGTERM" or "15", to the job's main
// process.
func (c *Client) Signal(ctx context.Context, id, signal string) error {
	req, err := c.post(ctx, jobPath(id, "/signal"), nil, SignalRequest{signal})
	if err != nil {
		return err
	}
	return c.do(req, nil, http.StatusNoContent)
}

// Stdin sends r to the job's standard input, from byte offset of the whole input
// on, and its end is the end of the input. It blocks for as long as the job does
// not read. An error of r leaves the input open.
//
// A *Problem that tells how many bytes the job has been given, in Accepted, is of
// TypeStdinOffset (go on there), TypeStdinBusy, TypeStdinClosed, TypeJobEnded or
// TypeShuttingDown; after an error of the connection Status tells it. The problem
// comes when it happens, before the end of r. If r is an io.Closer it is closed in
// the end, and when ctx ends, which should end a Read that is blocked: net/http waits
// for that.
func (c *Client) Stdin(ctx context.Context, id string, offset int64, r io.Reader) (StdinAnswer, error) {
	var a StdinAnswer
	q := url.Values{}
	setInt(q, "offset", offset)
	req, err := c.request(ctx, http.MethodPut, jobPath(id, "/stdin"), q, r)
	if err != nil {
		return a, err
	}
	req.Header.Set("Content-Type", mediaRaw)
	if closer, ok := r.(io.Closer); ok {
		defer closer.Close()
		defer context.AfterFunc(ctx, func() { closer.Close() })()
	}
	return a, c.do(req, &a, http.StatusOK)
}

// Output returns the job's output. The caller closes the stream.
func (c *Client) Output(ctx context.Context, id string, o OutputOptions) (*Stream, error) {
	return c.stream(ctx, o.Offset, func(ctx context.Context) (*http.Request, error) {
		return c.get(ctx, jobPath(id, "/output"), o.query())
	})
}

func (o OutputOptions) query() url.Values {
	q := url.Values{}
	setInt(q, "offset", o.Offset)
	setInt(q, "tail_lines", int64(o.TailLines))
	setInt(q, "limit", o.Limit)
	setString(q, "stream", string(o.Source))
	if !o.Since.IsZero() {
		q.Set("since", o.Since.Format(time.RFC3339Nano))
	}
	if o.Follow {
		q.Set("follow", "true")
	}
	return q
}

// Remove forgets a job that is over, and its output.
func (c *Client) Remove(ctx context.Context, id string) error {
	req, err := c.request(ctx, http.MethodDelete, jobPath(id, ""), nil, nil)
	if err != nil {
		return err
	}
	return c.do(req, nil, http.StatusNoContent)
}

// WhoAmI returns how the worker sees this client.
func (c *Client) WhoAmI(ctx context.Context) (WhoAmI, error) {
	var w WhoAmI
	req, err := c.get(ctx, "/v1/whoami", nil)
	if err != nil {
		return w, err
	}
	return w, c.do(req, &w, http.StatusOK)
}

// Live asks the worker for a sign of life.
func (c *Client) Live(ctx context.Context) error {
	req, err := c.get(ctx, "/livez", nil)
	if err != nil {
		return err
	}
	var h health
	return c.do(req, &h, http.StatusOK)
}
