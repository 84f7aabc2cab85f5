package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"jobworker/authz"
	"jobworker/httpapi"
)

const defaultAddr = "https://127.0.0.1:8443"

// A worker is what the flags say about the worker to talk to. What they leave open
// comes from the environment.
type worker struct {
	addr, dir string
	files     authz.ClientFiles
}

// workerFlags declares the flags of every command that talks to a worker.
func workerFlags(fs *flag.FlagSet) *worker {
	w := new(worker)
	fs.StringVar(&w.addr, "addr", "", "`URL` of the worker (default JOBCLI_ADDR, else "+defaultAddr+")")
	fs.StringVar(&w.dir, "cert-dir", "", "`DIR` with ca.pem, cert.pem and key.pem (default JOBCLI_CERT_DIR)")
	fs.StringVar(&w.files.CA, "ca", "", "`FILE` with the CA of the worker's certificate (default JOBCLI_CACERT)")
	fs.StringVar(&w.files.Cert, "cert", "", "`FILE` with your certificate (default JOBCLI_CLIENT_CERT)")
	fs.StringVar(&w.files.Key, "key", "", "`FILE` with its key (default JOBCLI_CLIENT_KEY)")
	fs.StringVar(&w.files.ServerName, "server-name", "", "`NAME` to expect in the worker's certificate (default the host of the URL)")
	return w
}

// given reports whether a flag names a worker or certificates.
func (w *worker) given() bool { return *w != worker{} }

// dial returns a client of the worker. It connects with the first request. The
// caller closes it.
func (w *worker) dial(e *env) (*httpapi.Client, error) {
	files, err := w.resolve(e)
	if err != nil {
		return nil, err
	}
	cfg, err := authz.ClientTLS(files)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", errNoCertificate, err)
	}
	if err != nil {
		return nil, err
	}
	c, err := httpapi.NewClient(w.address(e), cfg)
	if err != nil {
		return nil, usage("", "%v, as in %s", err, defaultAddr)
	}
	return c, nil
}

func (w *worker) address(e *env) string {
	if w.addr != "" {
		return w.addr
	}
	if v, _ := e.lookup("JOBCLI_ADDR"); v != "" {
		return v
	}
	return defaultAddr
}

// resolve finds each of the files: its flag, -cert-dir, its variable and
// JOBCLI_CERT_DIR, in this order. A flag always beats the environment.
func (w *worker) resolve(e *env) (authz.ClientFiles, error) {
	files := w.files
	envDir, _ := e.lookup("JOBCLI_CERT_DIR")
	var missing []string
	for _, f := range []struct {
		path                 *string
		flag, variable, name string
	}{
		{&files.CA, "-ca", "JOBCLI_CACERT", "ca.pem"},
		{&files.Cert, "-cert", "JOBCLI_CLIENT_CERT", "cert.pem"},
		{&files.Key, "-key", "JOBCLI_CLIENT_KEY", "key.pem"},
	} {
		v, _ := e.lookup(f.variable)
		switch {
		case *f.path != "":
		case w.dir != "":
			*f.path = filepath.Join(w.dir, f.name)
		case v != "":
			*f.path = v
		case envDir != "":
			*f.path = filepath.Join(envDir, f.name)
		default:
			missing = append(missing, f.flag)
		}
	}
	if len(missing) > 0 {
		return files, fmt.Errorf("%w: nothing says %s", errNoCertificate, strings.Join(missing, ", "))
	}
	return files, nil
}

// with calls do with a client of the worker.
func (w *worker) with(ctx context.Context, e *env, do func(*httpapi.Client) error) error {
	c, err := w.dial(e)
	if err != nil {
		return err
	}
	defer c.Close()
	return w.explain(ctx, e, do(c))
}

// each does one thing to every job, in order, and tells every error. The first
// that is not 0 is the exit status.
func (w *worker) each(ctx context.Context, e *env, ids []string, failure int, do func(c *httpapi.Client, id string) error) error {
	return w.with(ctx, e, func(c *httpapi.Client) error {
		first := 0
		for _, id := range ids {
			err := w.explain(ctx, e, do(c, id))
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if pipeClosed(err) {
				return err
			}
			if code := e.fail(about(id, err), failure); first == 0 {
				first = code
			}
		}
		return status(first)
	})
}

// about names the job in an error.
func about(id string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("job %s: %w", id, err)
}

// explainTimeout bounds the second look at a connection that broke.
const explainTimeout = 2 * time.Second

// explain returns the reason why a request got no answer, where there is a better
// one. In TLS 1.3 a worker sees the client's certificate, and refuses it, when the
// client's part of the handshake is over: then it is chance whether the client reads
// the alert or fails to write its request first. So this connects once more and only
// reads; an HTTP/2 server is the first to speak.
func (w *worker) explain(ctx context.Context, e *env, err error) error {
	_, unanswered := errors.AsType[*url.Error](err)
	if _, refused := refusalHint(err); !unanswered || refused || neverThere(err) || ctx.Err() != nil {
		return err
	}
	files, _ := w.resolve(e) // with this much it has worked before
	cfg, tlsErr := authz.ClientTLS(files)
	u, urlErr := url.Parse(w.address(e))
	if tlsErr != nil || urlErr != nil {
		return err
	}
	cfg.NextProtos = []string{"h2"}
	ctx, cancel := context.WithTimeout(ctx, explainTimeout)
	defer cancel()
	dialer := tls.Dialer{Config: cfg}
	conn, dialErr := dialer.DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "443")))
	if dialErr != nil {
		return err
	}
	defer conn.Close()
	if d, ok := ctx.Deadline(); ok {
		conn.SetReadDeadline(d)
	}
	if _, readErr := conn.Read(make([]byte, 1)); readErr != nil {
		if _, refused := refusalHint(readErr); refused {
			return readErr
		}
	}
	return err
}
