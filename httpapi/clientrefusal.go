package httpapi

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"
)

// send makes a request. In TLS 1.3 a client has finished its handshake, and sends, when the worker
// has not yet looked at its certificate. That it is refused comes as an alert at any time after, and
// net/http reports what it meets first: the alert, or that it cannot write any more. So where a
// connection broke it is asked once more, to tell the user which of the two it is.
func (c *Client) send(req *http.Request) (*http.Response, error) {
	resp, err := c.http.Do(req)
	if u, ok := errors.AsType[*url.Error](err); ok && req.Context().Err() == nil && unexplained(err) {
		if alert := c.refusal(req.Context()); alert != nil {
			u.Err = alert
		}
	}
	return resp, err
}

// unexplained reports whether err is neither that there is no connection, nor the alert itself, nor
// that the client does not believe the worker.
func unexplained(err error) bool {
	_, disbelieved := errors.AsType[*tls.CertificateVerificationError](err)
	return !isOp(err, "dial") && !isOp(err, alertOp) && !disbelieved
}

// alertOp is the operation of the net.OpError that is an alert of the peer (crypto/tls).
const alertOp = "remote error"

func isOp(err error, op string) bool {
	o, ok := errors.AsType[*net.OpError](err)
	return ok && o.Op == op
}

// refusal returns the alert with which the worker refuses this client, or nil. It connects and
// writes nothing, so that nothing is in the way of the alert; a worker that does not refuse begins
// HTTP/2 with its settings.
func (c *Client) refusal(ctx context.Context) error {
	const bound = 2 * time.Second
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	conn, err := (&tls.Dialer{Config: c.tls}).DialContext(ctx, "tcp", c.addr)
	if err == nil {
		defer conn.Close()
		if err = conn.SetReadDeadline(time.Now().Add(bound)); err == nil {
			_, err = conn.Read(make([]byte, 1))
		}
	}
	if isOp(err, alertOp) {
		return err
	}
	return nil
}
