//go:build linux || darwin

package main

import (
	"context"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// A breakableFile is standard input whose Read the end of a context breaks off. It is for
// one goroutine.
type breakableFile struct {
	file *os.File
	fd   int
	ctx  context.Context
	end  *os.File // can be read when ctx is over
}

// breakable returns r such that the end of ctx ends a Read that waits for a
// file, with ctx's cause. close frees what that takes; r stays open.
func breakable(ctx context.Context, r io.Reader) (_ io.Reader, close func(), err error) {
	fd, ok := fdOf(r)
	if !ok || fd >= unix.FD_SETSIZE {
		return r, func() {}, nil
	}
	end, over, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { over.Close() })
	in := &breakableFile{file: r.(*os.File), fd: fd, ctx: ctx, end: end}
	return in, func() {
		if stop() {
			over.Close()
		}
		end.Close()
	}, nil
}

func (in *breakableFile) Read(p []byte) (int, error) {
	end, _ := fdOf(in.end)
	for {
		var fds unix.FdSet // select(2): on macOS poll(2) knows no terminals
		fds.Set(in.fd)
		fds.Set(end)
		_, err := unix.Select(max(in.fd, end)+1, &fds, nil, nil, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, &os.PathError{Op: "select", Path: in.file.Name(), Err: err}
		case fds.IsSet(end):
			return 0, context.Cause(in.ctx)
		default:
			return in.file.Read(p)
		}
	}
}
