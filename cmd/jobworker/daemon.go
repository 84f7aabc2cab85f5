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

	"golang.org/x/sys/unix"

	"jobworker/authz"
	"jobworker/httpapi"
	"jobworker/job"
)

const (
	stopBound  = time.Minute     // for the jobs, when the daemon ends, whatever their grace periods say
	drainBound = 5 * time.Second // and then for the answers to clients
)

// A daemon is the worker, the server over it, and what they read from files.
type daemon struct {
	env
	options
	log    *slog.Logger
	audit  *authz.Audit
	worker *job.Worker
	server *httpapi.Server

	auditTo *auditLog // nil: audit goes where log does

	terminated chan struct{} // closed when a client has terminated the worker
}

// serve runs the daemon until ctx or a signal ends it.
func serve(ctx context.Context, e env, o options) error {
	// This memory holds the private key: no other process may read it, and no
	// crash may leave it in a core file.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("prctl PR_SET_DUMPABLE: %w", err)
	}
	d := &daemon{env: e, options: o, log: slog.New(authz.LogHandler(e.stderr)), terminated: make(chan struct{})}
	if err := o.allowFiles(); err != nil {
		return err
	}
	policy, err := d.loadPolicy()
	if err != nil {
		return err
	}
	certificates, err := authz.NewServerTLS(o.files)
	if err != nil {
		return withHint(err, fs.ErrNotExist, makeFiles)
	}
	l, err := net.Listen("tcp", o.listen)
	if err != nil {
		return fmt.Errorf("-listen: %w", err)
	}
	defer l.Close()
	if err := d.openAudit(); err != nil {
		return err
	}
	if d.auditTo != nil {
		defer d.auditTo.Close()
	}
	if err := d.open(); err != nil {
		return err
	}
	d.server = httpapi.NewServer(httpapi.Config{
		Worker: d.worker, TLS: certificates, Policy: policy, Audit: d.audit, Log: d.log,
		MaxBody: d.maxBody, MaxHeader: int(d.maxHeader), Limits: d.limits,
		Terminate: func() { close(d.terminated) }, // is called once
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
	cfg.Private = []string{d.files.Key}
	if d.policy != "" {
		cfg.Private = append(cfg.Private, d.policy)
	}
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
	d.notify("READY=1")
	told := make(chan struct{}) // closed when the last event is logged, and the last message printed
	go func() { defer close(told); d.tell() }()
	signals, err := d.wait(ctx, served)
	end := d.stop
	if d.keep && signals > 0 {
		end = d.leave
	}
	return errors.Join(err, d.shutdown(end, signals, served, told))
}

// wait handles signals until one of them, a client or ctx ends the daemon, and
// reports how many signals did so, and why else it ends.
func (d *daemon) wait(ctx context.Context, served chan error) (signals int, err error) {
	for {
		select {
		case <-ctx.Done():
			return 1, nil
		case <-d.terminated:
			d.log.Info("shutting down: terminated by a client")
			return 0, nil
		case err := <-served:
			served <- http.ErrServerClosed // for shutdown
			return 0, fmt.Errorf("serve: %w", err)
		case s := <-d.signals:
			if s != syscall.SIGHUP {
				d.log.Info("shutting down", "signal", s.String())
				return 1, nil
			}
			d.reload()
		}
	}
}

// reload reads certificates, revocation lists and policy again, and keeps of each what it has
// where that fails.
func (d *daemon) reload() {
	if d.auditTo != nil {
		if err := d.auditTo.reopen(); err != nil {
			d.log.Error("reload: open the audit log again", "error", err.Error())
		}
	}
	if err := d.server.Reload(); err != nil {
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

// shutdown does what end does, stop or leave. The second of all signals cuts it short.
func (d *daemon) shutdown(end func(ctx context.Context, served <-chan error, told <-chan struct{}) error, signals int, served <-chan error, told <-chan struct{}) error {
	d.notify("STOPPING=1")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- end(ctx, served, told) }()
	for {
		select {
		case err := <-done:
			return err
		case s := <-d.signals:
			if s == syscall.SIGHUP {
				continue
			}
			if signals++; signals > 1 {
				cancel()
				return errors.Join(fmt.Errorf("second signal, %s: ended before all jobs were over", s), <-done)
			}
		}
	}
}

// stop ends the jobs, while clients can still see how they end, then the answers to
// clients, whose streams say that the worker goes down, and then the worker: nothing
// reads from one that is closed.
func (d *daemon) stop(ctx context.Context, served <-chan error, told <-chan struct{}) error {
	jobs, cancel := context.WithTimeout(ctx, stopBound)
	defer cancel()
	drained := d.worker.Drain(jobs)
	drain, cancel := context.WithTimeout(ctx, drainBound)
	defer cancel()
	err := errors.Join(drained, d.server.Shutdown(drain))
	<-served
	err = errors.Join(err, d.worker.Shutdown(jobs))
	d.awaitMessages(drain, told)
	return err
}

// leave ends the answers to clients and the worker, and leaves the jobs to the next
// daemon.
func (d *daemon) leave(ctx context.Context, served <-chan error, told <-chan struct{}) error {
	d.worker.Terminate("")
	drain, cancel := context.WithTimeout(ctx, drainBound)
	defer cancel()
	err := d.server.Shutdown(drain)
	<-served
	err = errors.Join(err, d.worker.Leave())
	d.awaitMessages(drain, told)
	return err
}

// awaitMessages returns when the last message is printed, or when ctx ends.
func (d *daemon) awaitMessages(ctx context.Context, told <-chan struct{}) {
	select {
	case <-told:
	case <-ctx.Done():
		d.log.Warn("not all events are logged, or not all messages printed: nobody reads them")
	}
}

// withHint adds to err, if it is a what, what to do about it.
func withHint(err, what error, hint string) error {
	if !errors.Is(err, what) {
		return err
	}
	return fmt.Errorf("%w; %s", err, hint)
}
