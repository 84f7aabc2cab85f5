package main

import (
	"context"
	"errors"
	"flag"
	"strconv"

	"jobworker/httpapi"
	"jobworker/stream"
)

func setupLogs(fs *flag.FlagSet) action {
	w, o := workerFlags(fs), outputFlags(fs, "raw", noNotes)
	var q httpapi.OutputOptions
	follow := fs.Bool("f", false, "go on until the job is over")
	times := fs.Bool("t", false, "put the time in front of every line")
	stdout := fs.Bool("stdout", false, "only the job's standard output")
	stderr := fs.Bool("stderr", false, "only the job's standard error")
	fs.Func("n", "begin with the last `LINES` lines", func(v string) error {
		n, err := parseCount(v)
		q.TailLines = int(n)
		return err
	})
	fs.Func("offset", "begin at this `BYTE`, counted over both streams", func(v string) (err error) {
		if q.Offset, err = strconv.ParseInt(v, 10, 64); err != nil || q.Offset < 0 {
			return errors.New("must be a number of bytes, 0 or more")
		}
		return nil
	})
	return func(ctx context.Context, e *env, ids []string) error {
		q.Follow = *follow
		switch {
		case q.TailLines > 0 && q.Offset > 0:
			return usage("", "-n: cannot go with -offset")
		case o.json && *times:
			return usage("", "-t: cannot go with -o json, where every frame has its time")
		case *stdout != *stderr && *stdout:
			q.Source = stream.Stdout
		case *stdout != *stderr:
			q.Source = stream.Stderr
		}
		show := printer{env: e, json: o.json, times: *times}
		return w.with(ctx, e, func(c *httpapi.Client) error {
			return about(ids[0], logs(ctx, c, ids[0], q, feed{frame: show.frame, retry: retry{worker: w, env: e, quiet: o.quiet}}))
		})
	}
}

// logs lets f show the output of a job that q selects.
func logs(ctx context.Context, c *httpapi.Client, id string, q httpapi.OutputOptions, f feed) error {
	f.first = func(ctx context.Context) (*httpapi.Stream, error) { return c.Output(ctx, id, q) }
	f.again = func(ctx context.Context, offset int64) (*httpapi.Stream, error) {
		rest := q
		rest.TailLines, rest.Offset = 0, offset
		return c.Output(ctx, id, rest)
	}
	return f.run(ctx)
}
