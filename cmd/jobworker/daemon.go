//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"jobworker/authz"
	"jobworker/httpapi"
	"jobworker/job"
)

const (
	drainBound = 5 * time.Second // for the answers to clients, when the daemon ends
	stopBound  = time.Minute     // and then for the jobs, whatever their grace periods say
)

// A daemon is the worker, the server over it, and what they read from files.
type daemon struct {
	env
	options
	log    *slog.Logger
	tls    *authz.ServerTLS
	worker *job.Worker
	server *httpapi.Server
}

// serve runs the daemon until ctx or a signal ends it.
func serve(ctx context.Context, e env, o options) error {
	d := &daemon{env: e, options: o, log: slog.New(slog.NewJSONHandler(e.stderr, nil))}
	policy, err := d.loadPolicy()
	if err != nil {
		return err
	}
	if d.tls, err = authz.NewServerTLS(o.files); err != nil {
		return withHint(err, fs.ErrNotExist, makeFiles)
	}
	l, err := net.Listen("tcp", o.listen)
	if err != nil {
		return fmt.Errorf("-listen: %w", err)
	}
	defer l.Close()
	if err := d.open(); err != nil {
		return err
	}
	d.server = httpapi.NewServer(httpapi.Config{
		Worker: d.worker, TLS: d.tls, Policy: policy, Audit: authz.NewAudit(d.log), Log: d.log,
	})
	return d.run(ctx, l)
}

func (d *daemon) loadPolicy() (*authz.Policy, error) {
	if d.policy == "" {
		return authz.Builtin(), nil
	}
	return authz.LoadPolicy(d.policy)
}

func (d *daemon) open() (err error) {
	cfg := d.options.worker
	cfg.Log, cfg.Spare = d.log, true
	if d.worker, err = job.Open(cfg); err != nil {
		return err
	}
	for _, m := range d.worker.Missing() {
		d.log.Warn("limits cannot be enforced", "controller", m.Controller, "reason", m.Reason)
	}
	return nil
}

// run serves l, and returns when everything is over.
func (d *daemon) run(ctx context.Context, l net.Listener) error {
	served := make(chan error, 1) // gets what Serve returns, once
	go func() { served <- d.server.Serve(l) }()
	fmt.Fprintf(d.stdout, "jobworker: serving on https://%s\n", l.Addr())
	err := d.wait(ctx, served)
	return errors.Join(err, d.shutdown(served))
}

// wait handles signals until one of them, or ctx, ends the daemon, and reports
// why else it ends.
func (d *daemon) wait(ctx context.Context, served chan error) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-served:
			served <- http.ErrServerClosed // for shutdown
			return fmt.Errorf("serve: %w", err)
		case s := <-d.signals:
			if s != syscall.SIGHUP {
				d.log.Info("shutting down", "signal", s.String())
				return nil
			}
			d.reload()
		}
	}
}

// reload reads certificates and policy again, and keeps of each what it has
// where that fails.
func (d *daemon) reload() {
	if err := d.tls.Reload(); err != nil {
		d.log.Error("reload: the old certificates stay in force", "error", err.Error())
	} else {
		d.log.Info("reloaded certificates", "file", d.files.Cert)
	}
	if p, err := d.loadPolicy(); err != nil {
		d.log.Error("reload: the old policy stays in force", "error", err.Error())
	} else {
		d.server.SetPolicy(p)
		d.log.Info("reloaded policy", "file", d.policy)
	}
}

// shutdown stops the jobs and ends the server. A second signal cuts it short.
func (d *daemon) shutdown(served <-chan error) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- d.stop(ctx, served) }()
	for {
		select {
		case err := <-done:
			return err
		case s := <-d.signals:
			if s != syscall.SIGHUP {
				cancel()
				return errors.Join(fmt.Errorf("second signal, %s: ended before all jobs were over", s), <-done)
			}
		}
	}
}

// stop ends the answers to clients, whose streams say that the worker goes down,
// and then the jobs: nothing reads from a worker that is closed.
func (d *daemon) stop(ctx context.Context, served <-chan error) error {
	drain, cancel := context.WithTimeout(ctx, drainBound)
	defer cancel()
	err := d.server.Shutdown(drain)
	<-served
	jobs, cancel := context.WithTimeout(ctx, stopBound)
	defer cancel()
	return errors.Join(err, d.worker.Shutdown(jobs))
}

// withHint adds to err, if it is a what, what to do about it.
func withHint(err, what error, hint string) error {
	if !errors.Is(err, what) {
		return err
	}
	return fmt.Errorf("%w; %s", err, hint)
}
