package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"jobworker/httpapi"
	"jobworker/stream"
)

// A feed is one job's output, over as many connections as that takes. Each goes on
// at the byte where the one before was cut:
//
//	first(ctx)            until a connection has given a frame
//	again(ctx, offset)    from then on
type feed struct {
	first func(context.Context) (*httpapi.Stream, error)
	again func(ctx context.Context, offset int64) (*httpapi.Stream, error)
	frame func(stream.Frame) error // takes each frame; an error ends the feed
	retry retry

	began bool  // a frame was there
	head  bool  // the start frame was
	next  int64 // where to go on
	exit  *stream.Frame
}

// errShutdown means that the worker ended a stream because it goes down.
var errShutdown = fmt.Errorf("the worker shuts down: %w", io.ErrUnexpectedEOF)

// run copies frames until the output is complete. It blocks; ctx ends it with its
// cause.
func (f *feed) run(ctx context.Context) error {
	for {
		err := f.connection(ctx)
		if err == nil || f.exit != nil && transient(err) { // nothing comes after an exit frame
			return nil
		}
		if err := f.retry.pause(ctx, err); err != nil {
			return err
		}
	}
}

// connection copies what one connection gives. Nil means that this was all.
func (f *feed) connection(ctx context.Context) error {
	s, err := f.open(ctx)
	if err != nil {
		return err
	}
	defer s.Close()
	for {
		frame, err := s.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if frame.Type == stream.TypeEnd && frame.Reason == stream.EndShutdown {
			return errShutdown
		}
		f.retry.progress()
		if err := f.take(frame); err != nil {
			return err
		}
		f.began, f.next = true, s.Offset()
	}
}

func (f *feed) open(ctx context.Context) (*httpapi.Stream, error) {
	if f.began {
		return f.again(ctx, f.next)
	}
	return f.first(ctx)
}

// take passes a frame on. A connection that resumes at offset 0 or after the last
// byte repeats the start frame or the exit frame.
func (f *feed) take(frame stream.Frame) error {
	switch frame.Type {
	case stream.TypeStart:
		if f.head {
			return nil
		}
		f.head = true
	case stream.TypeExit:
		if f.exit != nil {
			return nil
		}
		f.exit = &frame
	}
	return f.frame(frame)
}
