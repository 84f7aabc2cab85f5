package httpapi

import (
	"context"
	"net/http"
	"net/url"
)

// Worker returns the worker as it is now.
func (c *Client) Worker(ctx context.Context) (Worker, error) {
	var w Worker
	req, err := c.get(ctx, "/v1/worker", nil)
	if err != nil {
		return w, err
	}
	return w, c.do(req, &w, http.StatusOK)
}

// StartWorker makes the worker ready, StopWorker unready: it then refuses Ping,
// Calculate and Start. Both may be repeated.
func (c *Client) StartWorker(ctx context.Context) (WorkerChange, error) {
	return c.change(ctx, "start")
}

// StopWorker is the opposite of StartWorker. What runs goes on.
func (c *Client) StopWorker(ctx context.Context) (WorkerChange, error) {
	return c.change(ctx, "stop")
}

// TerminateWorker has the worker stop its jobs, clean up and exit. It returns
// when that has begun.
func (c *Client) TerminateWorker(ctx context.Context) (WorkerChange, error) {
	return c.change(ctx, "terminate")
}

func (c *Client) change(ctx context.Context, command string) (WorkerChange, error) {
	var w WorkerChange
	req, err := c.request(ctx, http.MethodPost, "/v1/worker/"+command, nil, nil)
	if err != nil {
		return w, err
	}
	return w, c.do(req, &w, http.StatusOK)
}

// Ping returns the worker's clock in Unix seconds.
func (c *Client) Ping(ctx context.Context) (int64, error) {
	var p Pong
	req, err := c.request(ctx, http.MethodPost, "/v1/ping", nil, nil)
	if err != nil {
		return 0, err
	}
	return p.Time, c.do(req, &p, http.StatusOK)
}

// Calculate starts a calculate and returns its job. A key makes it idempotent,
// as in Start.
func (c *Client) Calculate(ctx context.Context, r CalculateRequest, key string) (Job, error) {
	var j Job
	req, err := c.post(ctx, "/v1/calculate", nil, r)
	if err != nil {
		return j, err
	}
	setKey(req, key)
	return j, c.do(req, &j, http.StatusCreated, http.StatusOK)
}

// Events follows what happens to the jobs that the client may see and to the
// worker: after event number since, or from now on if that is 0. It returns a
// *Problem of TypeEventsGone where the worker no longer has all of them. The
// caller closes the stream.
func (c *Client) Events(ctx context.Context, since int64) (*EventStream, error) {
	s, err := c.stream(ctx, 0, func(ctx context.Context) (*http.Request, error) {
		q := url.Values{}
		setInt(q, "since", since)
		return c.get(ctx, "/v1/events", q)
	})
	if err != nil {
		return nil, err
	}
	return &EventStream{s: s}, nil
}
