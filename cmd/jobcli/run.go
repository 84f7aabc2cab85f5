package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"time"

	"jobworker/httpapi"
	"jobworker/stream"
)

// start is run and start: one command that waits or not.
type start struct {
	*worker
	*output
	*jobFlags
	detach, local      bool
	input              bool // our standard input is the job's
	idPath, statusPath string
}

func setupStart(fs *flag.FlagSet) action {
	s := &start{worker: workerFlags(fs), output: outputFlags(fs, "text", noNotes), jobFlags: declareJob(fs), detach: true}
	fs.StringVar(&s.idPath, "id-file", "", "write the job's id to `FILE`, which must not exist yet")
	return s.act
}

func setupRun(fs *flag.FlagSet) action {
	s := &start{worker: workerFlags(fs), output: outputFlags(fs, "raw", noNotes), jobFlags: declareJob(fs)}
	fs.StringVar(&s.idPath, "id-file", "", "write the job's id to `FILE`, which must not exist yet")
	fs.StringVar(&s.statusPath, "status-file", "", "write the ended job as JSON to `FILE`; it stays empty where the result is not known")
	fs.BoolVar(&s.detach, "d", false, "do not wait: print the job's id, as start does")
	fs.BoolVar(&s.input, "i", false, "give the job our standard input, and its end")
	fs.BoolVar(&s.local, "local", false, "run it here, in a worker that lives as long as this command; Linux, as root")
	return s.act
}

func (s *start) act(ctx context.Context, e *env, argv []string) error {
	switch {
	case s.local && s.detach:
		return usage("", "-local: cannot go with -d: the worker ends with this command")
	case s.local && s.worker.given():
		return usage("", "-local: cannot go with the flags of another worker")
	case s.input && s.detach:
		return usage("", "-i: cannot go with -d: the input is sent by this command")
	case s.detach && s.statusPath != "":
		return usage("", "-status-file: cannot go with -d: there is no result to write")
	}
	spec, err := s.complete(e, argv)
	if err != nil {
		return err
	}
	spec.Stdin = s.input
	files, err := openFiles(s.idPath, s.statusPath)
	if err != nil {
		return err
	}
	defer func() { e.complain(files.close()) }()
	if s.local {
		return s.embedded(ctx, e, spec, files)
	}
	return s.with(ctx, e, func(c *httpapi.Client) error {
		if s.detach {
			return s.background(ctx, e, c, spec, files)
		}
		return s.foreground(ctx, e, c, spec, files)
	})
}

// embedded runs the job in a worker of its own.
func (s *start) embedded(ctx context.Context, e *env, spec httpapi.Spec, files *files) error {
	w, err := openLocal(e)
	if err != nil {
		return fmt.Errorf("embedded worker: %w", err)
	}
	defer func() { e.complain(w.close()) }()
	if missing := w.missing(); missing != "" && !s.quiet {
		e.say("limits that cannot be enforced here: %s", missing)
	}
	return s.foreground(ctx, e, w.client, spec, files)
}

// background starts the job and prints its id. The key makes it safe to ask again
// when the answer got lost.
func (s *start) background(ctx context.Context, e *env, c *httpapi.Client, spec httpapi.Spec, files *files) error {
	ctx, stop := e.interruptible(ctx)
	defer stop()
	key, again := rand.Text(), retry{worker: s.worker, env: e, quiet: s.quiet}
	for {
		j, err := c.Start(ctx, spec, key)
		if err == nil {
			return errors.Join(files.writeID(j.ID), s.announce(e, j))
		}
		if err := again.pause(ctx, err); err != nil {
			return mayRun(err)
		}
	}
}

func (s *start) announce(e *env, j httpapi.Job) error {
	if s.json {
		return writeJSON(e.stdout, j)
	}
	_, err := fmt.Fprintln(e.stdout, j.ID)
	return written(err)
}

// foreground starts the job and stays with it to its end.
func (s *start) foreground(ctx context.Context, e *env, c *httpapi.Client, spec httpapi.Spec, files *files) error {
	k := newInterrupter(ctx, e, c, s)
	defer k.close()
	ctx, cancel := context.WithCancelCause(k.ctx)
	defer cancel(nil)
	in := input{client: c, fail: cancel, retry: retry{worker: s.worker, env: e, quiet: true}} // f says that the connection is lost
	defer in.close()
	key, show := rand.Text(), printer{env: e, json: s.json}
	f := feed{retry: retry{worker: s.worker, env: e, quiet: s.quiet}}
	var id string
	f.first = func(ctx context.Context) (*httpapi.Stream, error) { return c.Run(ctx, spec, key) }
	f.again = func(ctx context.Context, offset int64) (*httpapi.Stream, error) {
		return c.Output(ctx, id, httpapi.OutputOptions{Offset: offset, Follow: true})
	}
	f.frame = func(frame stream.Frame) error {
		if frame.Type == stream.TypeStart {
			id = frame.Job
			k.started <- id
			e.complain(files.writeID(id))
			if s.input {
				in.begin(ctx, id)
			}
		}
		return show.frame(frame)
	}
	if err := f.run(ctx); err != nil {
		return s.abandon(k.ctx, e, c, id, f.next, err)
	}
	return s.finish(k.ctx, e, c, id, f.exit, files)
}

// abandon is the end of run without the end of the job.
func (s *start) abandon(ctx context.Context, e *env, c *httpapi.Client, id string, offset int64, err error) error {
	switch {
	case id == "":
		if _, ok := errors.AsType[interrupted](err); ok {
			e.say("interrupted before the worker named the job; it may have been started: see jobcli ps")
		}
		return mayRun(err)
	case pipeClosed(err), inputFailed(err): // the first as SIGPIPE would end a program that runs here
		_, stopErr := c.Stop(ctx, id, httpapi.StopRequest{})
		e.complain(about(id, stopErr))
		return err
	case errors.Is(err, errLeft):
		return exit(unknown)
	}
	e.fail(about(id, err), unknown)
	e.say("job %s may still be running: jobcli logs -f -offset %d %s goes on from here", id, offset, id)
	return exit(unknown)
}

// mayRun adds to the error of a start whose answer got lost that there may be a job.
func mayRun(err error) error {
	if neverThere(err) || !lost(err) {
		return err
	}
	return fmt.Errorf("%w; the job may have been started all the same: see jobcli ps", err)
}

// statusWait is how long the worker may take to publish the end of a job whose
// output is complete.
const statusWait = 10 * time.Second

// finish turns the job's end into ours.
func (s *start) finish(ctx context.Context, e *env, c *httpapi.Client, id string, end *stream.Frame, files *files) error {
	var v *httpapi.Verdict
	if end != nil {
		v = end.Verdict
	}
	if v == nil || files.status != nil {
		j, err := c.Wait(ctx, id, statusWait)
		e.complain(about(id, err))
		if j.Verdict != nil {
			v = j.Verdict
			e.complain(files.writeStatus(j))
		}
	}
	if v == nil {
		return about(id, errors.New("how it ended is not known"))
	}
	if !s.quiet {
		e.tell(id, v)
	}
	return status(verdictStatus(v))
}
