package stream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

// ErrOffset is returned by Open for an offset beyond the end of the log.
var ErrOffset = errors.New("offset beyond the end of the output")

// Query says which part of a log is wanted. The zero value is everything there is, once. Of Offset, TailLines and
// Since the latest starting point counts.
type Query struct {
	Offset    int64     // first payload byte wanted, counted over both sources; 0: the first
	TailLines int       // 0: all; else start at the last that many lines of Source
	Since     time.Time // zero: any time; else start at the first output frame of this time or later
	Source    Source    // "": both
	Limit     int64     // 0: none; else at most that many payload bytes
	Follow    bool      // go on as the log grows, until the job is over
}

func (q *Query) check() error {
	switch {
	case q.Offset < 0:
		return fmt.Errorf("offset %d: negative", q.Offset)
	case q.TailLines < 0:
		return fmt.Errorf("tail_lines %d: negative", q.TailLines)
	case q.Limit < 0:
		return fmt.Errorf("limit %d: negative", q.Limit)
	case q.Source != "" && q.Source != Stdout && q.Source != Stderr:
		return fmt.Errorf("stream %q: neither stdout nor stderr", q.Source)
	}
	return nil
}

// Reader hands out a log as its bytes are on disk. It is for one goroutine.
type Reader struct {
	log   *logFile
	watch *watch // nil unless following
	done  <-chan struct{}

	source Source
	start  bool   // the start frame is wanted
	from   int64  // output before is not wanted
	since  []byte // in timeLayout: output before is not wanted; nil once there was some that is
	left   int64  // bytes of payload that may still be sent; -1: any number

	pos  int64 // of the next line in the file
	stop int64 // nothing at or after it is read; a follower has none
	next int64 // offset after the lines before pos, or less
	over bool  // the job was over before stop was taken
	end  string
}

// Open opens the log at path, a regular file and no symbolic link, to read the part that q asks for. done is closed
// by the caller when the job is over and its log complete; a follower then reads to the end and finishes. w and done
// may be nil unless q.Follow is set. An offset beyond the end is ErrOffset, for a job that still runs too.
func Open(path string, w *Watcher, done <-chan struct{}, q Query) (*Reader, error) {
	err := q.check()
	if err == nil && q.Follow && w == nil {
		err = errors.New("follow without a watcher")
	}
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	f, err := openLog(path)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	r := &Reader{
		log:    newLogFile(f),
		done:   done,
		source: q.Source,
		start:  q.Offset == 0 && q.TailLines == 0 && q.Since.IsZero(),
		from:   q.Offset,
		left:   -1,
		over:   isClosed(done),
	}
	if err = r.find(q); err == nil && q.Follow {
		r.stop = math.MaxInt64
		r.watch, err = w.watch(f)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open log: %w", err)
	}
	return r, nil
}

// find puts pos at or before the first line wanted.
func (r *Reader) find(q Query) error {
	st, err := r.log.file.Stat()
	if err != nil {
		return err
	}
	r.stop = st.Size()
	if q.Limit > 0 {
		r.left = q.Limit
	}
	if q.Offset > 0 {
		p, err := r.log.last(r.stop)
		if err != nil {
			return err
		}
		if q.Offset > p.next {
			return fmt.Errorf("%w: %d of %d", ErrOffset, q.Offset, p.next)
		}
	}
	if q.TailLines > 0 {
		at, err := r.log.tail(r.stop, q.TailLines, q.Source)
		if err != nil {
			return err
		}
		r.from = max(r.from, at)
	}
	if r.from > 0 {
		if r.pos, r.next, err = r.log.searchOffset(r.stop, r.from); err != nil {
			return err
		}
	}
	if q.Since.IsZero() {
		return nil
	}
	r.since = q.Since.UTC().AppendFormat(nil, timeLayout)
	pos, next, err := r.log.searchTime(r.stop, r.since)
	if pos > r.pos {
		r.pos, r.next = pos, next
	}
	return err
}

// Close closes the log and ends the watch. Nothing of the reader is left behind. Not to be called while Next runs.
func (r *Reader) Close() error {
	var err error
	if r.watch != nil {
		err = r.watch.release()
		r.watch = nil
	}
	return errors.Join(err, r.log.file.Close())
}

// End returns the end frame for what Next has returned so far: the offset to resume at, and once Next returned
// io.EOF the reason; before, it is EndSnapshot.
func (r *Reader) End() Frame {
	f := Frame{Type: TypeEnd, Next: max(r.next, r.from), Reason: r.end}
	if r.end == "" {
		f.Reason = EndSnapshot
	}
	return f
}

// Next returns the next whole lines, about 256 KiB at most, valid until the following call. After the last it
// returns io.EOF: the exit frame or Limit, done for a follower, or the end of what there was at Open. A follower
// blocks where there is nothing yet; when ctx ends it returns its error, and may be called again.
func (r *Reader) Next(ctx context.Context) ([]byte, error) {
	var grown <-chan struct{}
	for {
		over := r.over || r.watch != nil && isClosed(r.done)
		lines, err := r.more(ctx)
		if err != nil || lines != nil {
			return lines, err
		}
		if r.end != "" || r.watch == nil || over {
			return nil, r.finish(over)
		}
		if grown == nil { // take the channel, then look again
			if grown, err = r.watch.changed(); err != nil {
				return nil, err
			}
			continue
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-r.done:
		case <-grown:
			if grown, err = r.watch.changed(); err != nil {
				return nil, err
			}
		}
	}
}

func (r *Reader) finish(over bool) error {
	if r.end == "" {
		r.end = EndSnapshot
		if over {
			r.end = EndComplete
		}
	}
	return io.EOF
}

// more returns the next lines wanted, nil when there are none yet.
func (r *Reader) more(ctx context.Context) ([]byte, error) {
	for r.end == "" {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		b, damaged, err := r.log.lines(r.pos, r.stop)
		if err != nil {
			return nil, err
		}
		var out []byte
		switch {
		case damaged:
			if out, err = r.skip(); err == io.EOF {
				return nil, nil
			}
		case len(b) == 0:
			return nil, nil
		default:
			out, err = r.batch(b)
		}
		if err != nil || len(out) > 0 {
			return out, err
		}
	}
	return nil, nil
}

// skip passes over a damaged line and gives the gap frame for what is missing.
func (r *Reader) skip() ([]byte, error) {
	h, pos, err := r.log.frame(r.pos+1, r.stop)
	if err != nil {
		return nil, err
	}
	at := max(r.next, r.from)
	r.pos, r.next = pos, max(r.next, h.offset)
	if h.offset <= at || r.since != nil {
		return nil, nil
	}
	return Frame{Type: TypeGap, Offset: at, Bytes: h.offset - at, Reason: GapMissing}.Append(nil), nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
