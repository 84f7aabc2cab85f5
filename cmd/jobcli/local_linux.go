package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"jobworker/authz"
	"jobworker/httpapi"
	"jobworker/job"
	"jobworker/nsinit"
)

// maybeInit does not return in the process that is PID 1 of a job of run -local.
func maybeInit() { nsinit.MaybeRun() }

// A localWorker is the embedded worker of run -local: everything the daemon is made
// of, on a loopback port, with certificates that never leave this process.
//
//	certificates   CA, server and client, in memory
//	state          a directory of its own in os.TempDir
//	cgroup         jobworker-<pid>
//	user id        one, of its own: see localUID
//
// close takes all of it away again.
type localWorker struct {
	client *httpapi.Client
	worker *job.Worker
	undo   []func() error // in the order in which they were made necessary
}

// localTimeout bounds each step of the clean-up.
const localTimeout = 15 * time.Second

// openLocal starts an embedded worker. What it has to report goes to e. On an error
// nothing is left behind.
func openLocal(e *env) (*localWorker, error) {
	w := new(localWorker)
	if err := w.open(e); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

func (w *localWorker) open(e *env) error {
	log := slog.New(slog.NewTextHandler(logWriter{e}, &slog.HandlerOptions{Level: slog.LevelWarn, ReplaceAttr: dropTime}))
	server, client, err := localTLS()
	if err != nil {
		return err
	}
	if err := w.startWorker(log); err != nil {
		return err
	}
	policy, err := authz.ParsePolicy(strings.NewReader(localPolicy))
	if err != nil {
		return err
	}
	addr, err := w.serve(httpapi.Config{Worker: w.worker, TLS: server, Policy: policy, Log: log})
	if err != nil {
		return err
	}
	cfg, err := authz.ClientTLSFromPEM(client)
	if err != nil {
		return err
	}
	if w.client, err = httpapi.NewClient("https://"+addr, cfg); err != nil {
		return err
	}
	w.onClose(func() error { w.client.Close(); return nil })
	return nil
}

// localPolicy gives the one client all there is: whoever runs this is root already. A
// root directory stays read-only, which -bind DIR:/x:rw gets around.
const localPolicy = `{"roles":{"admin":{"users":["local"]}},"grants":[{"users":["local"],"profiles":["host"],"net":["host"],
	"run_as":["*"],"rootfs":[{"path":"/"}],"binds":[{"path":"/","write":true}],"userns":true}]}`

// localTLS makes both sides' certificates.
func localTLS() (*authz.ServerTLS, authz.ClientPEM, error) {
	none := authz.ClientPEM{}
	ca, err := authz.NewCA(0)
	if err != nil {
		return nil, none, err
	}
	pair, err := ca.IssueServer([]string{"127.0.0.1"}, 0)
	if err != nil {
		return nil, none, err
	}
	server, err := authz.NewServerTLSFromPEM(authz.ServerPEM{KeyPair: pair, ClientCA: ca.CertPEM()})
	if err != nil {
		return nil, none, err
	}
	own, err := ca.IssueClient("local", nil, 0)
	return server, authz.ClientPEM{KeyPair: own, CA: ca.CertPEM()}, err
}

// localUID is the user id of the one job. Two commands on one machine have different
// process ids, at most 2^22 (proc_sys_kernel(5), pid_max), and so different users; the
// daemon's come before.
func localUID() uint32 {
	return job.DefaultUIDBase + job.DefaultUIDCount + uint32(os.Getpid())
}

func (w *localWorker) startWorker(log *slog.Logger) error {
	dir, err := os.MkdirTemp("", "jobcli-local-")
	if err != nil {
		return err
	}
	w.onClose(func() error { return os.RemoveAll(dir) })
	w.worker, err = job.Open(job.Config{
		StateDir:                dir,
		CgroupRoot:              fmt.Sprintf("jobworker-%d", os.Getpid()),
		AllowMissingControllers: true,
		UIDBase:                 localUID(), UIDCount: 1,
		Log: log,
	})
	if err != nil {
		return err
	}
	w.onClose(bounded(w.worker.Shutdown))
	return nil
}

// serve starts the server on a free port and returns its address.
func (w *localWorker) serve(cfg httpapi.Config) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server, served := httpapi.NewServer(cfg), make(chan error, 1)
	go func() { served <- server.Serve(l) }() // closes l; reports once, to the clean-up below
	w.onClose(func() error {
		err := bounded(server.Shutdown)()
		if serveErr := <-served; !errors.Is(serveErr, http.ErrServerClosed) {
			err = errors.Join(err, serveErr)
		}
		return err
	})
	return l.Addr().String(), nil
}

func (w *localWorker) onClose(f func() error) { w.undo = append(w.undo, f) }

// close ends the worker and removes what it made, the latest first.
func (w *localWorker) close() error {
	var errs []error
	for _, f := range slices.Backward(w.undo) {
		errs = append(errs, f())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("embedded worker: clean up: %w", err)
	}
	return nil
}

func bounded(f func(context.Context) error) func() error {
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), localTimeout)
		defer cancel()
		return f(ctx)
	}
}

// missing names the controllers that are not there, and why; empty when all are.
func (w *localWorker) missing() string {
	var all []string
	for _, m := range w.worker.Missing() {
		all = append(all, m.String())
	}
	return strings.Join(all, ", ")
}

// A logWriter passes the embedded worker's log on to the user.
type logWriter struct{ env *env }

func (l logWriter) Write(p []byte) (int, error) {
	l.env.say("worker: %s", strings.TrimSuffix(string(p), "\n"))
	return len(p), nil
}

func dropTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}
