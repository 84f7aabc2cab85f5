package httpapi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"jobworker/stream"
)

// A Stream is a job's output as it arrives. It is for one goroutine, but for
// Close, which may come from another.
type Stream struct {
	body   io.ReadCloser
	cancel context.CancelCauseFunc
	ctx    context.Context // ends with the caller's, with Close and with silence
	lines  *bufio.Reader
	long   []byte // a line that is longer than the buffer of lines
	next   int64
	end    *stream.Frame
	err    error
}

// errSilent is the cause of a stream's end when the worker sends not even pings.
var errSilent = errors.New("no sign of life")

// stream sends what request makes and returns the stream of lines that is the
// answer. The silence that ends it counts from here on.
func (c *Client) stream(ctx context.Context, offset int64, request func(context.Context) (*http.Request, error)) (*Stream, error) {
	idle := c.IdleTimeout
	if idle == 0 {
		idle = 3 * DefaultHeartbeat
	}
	ctx, cancel := context.WithCancelCause(ctx)
	watch := time.AfterFunc(idle, func() {
		cancel(fmt.Errorf("%w for %s: %w", errSilent, idle, io.ErrUnexpectedEOF))
	})
	body, err := c.openStream(ctx, request)
	watch.Stop()
	if err != nil {
		err = cause(ctx, err)
		cancel(nil)
		return nil, err
	}
	s := &Stream{body: body, cancel: cancel, ctx: ctx, next: offset}
	s.lines = bufio.NewReaderSize(&idleReader{body, watch, idle}, 512<<10)
	return s, nil
}

func (c *Client) openStream(ctx context.Context, request func(context.Context) (*http.Request, error)) (io.ReadCloser, error) {
	req, err := request(ctx)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", mediaLines)
	resp, err := c.send(req)
	if err != nil {
		return nil, err
	}
	if err := checkResponse(resp, mediaLines, http.StatusOK); err != nil {
		resp.Body.Close()
		return nil, err
	}
	return resp.Body, nil
}

// An idleReader lets watch fire when a Read takes longer than idle. The time
// between two reads is the caller's own.
type idleReader struct {
	r     io.Reader
	watch *time.Timer
	idle  time.Duration
}

func (r *idleReader) Read(p []byte) (int, error) {
	r.watch.Reset(r.idle)
	defer r.watch.Stop()
	return r.r.Read(p)
}

// Next returns the next frame; pings are left out. It blocks until there is one
// or the context of the stream's request ends.
//
// It returns io.EOF after the end frame, and only then. When the connection was
// cut before, the error wraps io.ErrUnexpectedEOF; the caller may ask for the
// rest with Client.Output, from Offset.
func (s *Stream) Next() (stream.Frame, error) {
	for s.err == nil {
		f, err := s.frame()
		if err != nil {
			s.err = err
			break
		}
		switch f.Type {
		case stream.TypePing:
			continue
		case stream.TypeEnd:
			s.end, s.err, s.next = &f, s.last(), f.Next
		default:
			s.next = max(s.next, f.Offset+int64(len(f.Data))+f.Bytes)
		}
		return f, nil
	}
	return stream.Frame{}, s.err
}

func (s *Stream) frame() (stream.Frame, error) {
	line, err := s.line()
	if err != nil {
		return stream.Frame{}, err
	}
	f, err := stream.Decode(line)
	if err != nil {
		return stream.Frame{}, fmt.Errorf("stream: %w", err)
	}
	return f, nil
}

// line returns the next line, valid until the following call.
func (s *Stream) line() ([]byte, error) {
	line, err := s.lines.ReadSlice('\n')
	if err == bufio.ErrBufferFull {
		s.long = s.long[:0]
		for err == bufio.ErrBufferFull && len(s.long) <= stream.MaxLine {
			s.long = append(s.long, line...)
			line, err = s.lines.ReadSlice('\n')
		}
		s.long = append(s.long, line...)
		line = s.long
	}
	switch {
	case len(line) > stream.MaxLine:
		return nil, fmt.Errorf("stream: a line is longer than %d bytes", stream.MaxLine)
	case err != nil:
		return nil, s.cut(err)
	}
	return line, nil
}

// cut is the error for a stream that broke off with err.
func (s *Stream) cut(err error) error {
	err = cause(s.ctx, err)
	if s.ctx.Err() != nil {
		return fmt.Errorf("stream: %w", err)
	}
	return fmt.Errorf("stream: %w", cutOff(err))
}

// last reads the end of the body after the end frame, which keeps an HTTP/1.1
// connection fit for another request. That it is cut here does no harm.
func (s *Stream) last() error {
	if _, err := s.lines.ReadByte(); err == nil {
		return errors.New("stream: goes on after its end frame")
	}
	return io.EOF
}

// cause is why ctx ended, if it did, and else err.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// Offset returns where to resume: the offset of the first byte that Next has
// not returned, and before the first frame the one that was asked for.
func (s *Stream) Offset() int64 { return s.next }

// End returns the end frame, once Next has.
func (s *Stream) End() (f stream.Frame, ok bool) {
	if s.end == nil {
		return stream.Frame{}, false
	}
	return *s.end, true
}

// Close ends the stream and frees its part of the connection. A Next that is
// blocked returns context.Canceled.
func (s *Stream) Close() error {
	s.cancel(nil)
	return s.body.Close()
}
