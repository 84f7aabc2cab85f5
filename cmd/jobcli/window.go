package main

import (
	"fmt"
	"io"
	"sync"
)

const (
	// keptInput is how much of our standard input is kept to be sent again. What
	// may be on the way to a worker over HTTP/2 is bounded by flow control and
	// some buffers, at less than 1 MiB.
	keptInput = 4 << 20

	// aheadInput is how much of that is read before it can be sent.
	aheadInput = 256 << 10
)

// A window reads our standard input for the job and keeps the last of it, because
// what was sent over a connection that is lost may not have arrived.
//
// A goroutine reads the source, for as long as the source or the process lives:
// nothing can end a read of a terminal. stop ends it everywhere else. A window is
// safe for concurrent use.
type window struct {
	mu      sync.Mutex // guards the rest
	changed *sync.Cond // of mu: for the goroutine and for a part's Read
	ring    []byte     // byte n of the input is at n % len(ring)
	end     int64      // bytes read
	next    int64      // the first that is not sent
	err     error      // why there are no more; io.EOF is the end
	reader  *part      // the one that may read
	stopped bool
}

// newWindow begins to read src.
func newWindow(src io.Reader) *window {
	w := &window{ring: make([]byte, keptInput)}
	w.changed = sync.NewCond(&w.mu)
	go w.fill(src)
	return w
}

func (w *window) fill(src io.Reader) {
	buf := make([]byte, aheadInput/4)
	for {
		n, err := src.Read(buf)
		if !w.put(buf[:n], err) {
			return
		}
	}
}

// put adds what one read gave, when there is room for it, and reports whether to
// read on.
func (w *window) put(p []byte, err error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.end+int64(len(p))-w.next > aheadInput && !w.stopped {
		w.changed.Wait()
	}
	for len(p) > 0 {
		n := copy(w.ring[w.end%keptInput:], p)
		p, w.end = p[n:], w.end+int64(n)
	}
	w.err = err
	w.changed.Broadcast()
	return err == nil && !w.stopped
}

// stop ends the reading.
func (w *window) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped, w.reader = true, nil
	w.changed.Broadcast()
}

// failure returns the error of the source, if it has one.
func (w *window) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == io.EOF {
		return nil
	}
	return w.err
}

// A part is the input from some byte on. Only the latest of a window can be read.
type part struct{ w *window }

// from returns the input from byte offset on, which may have been read before.
func (w *window) from(offset int64) (*part, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if offset > w.end {
		return nil, fmt.Errorf("the job has been given %d bytes, more than the %d that there are: somebody else writes to it", offset, w.end)
	}
	if w.end-offset > keptInput {
		return nil, fmt.Errorf("the job has been given %d bytes of %d, and what comes next is not kept any more", offset, w.end)
	}
	w.next, w.reader = offset, &part{w}
	return w.reader, nil
}

// Read blocks until there is something.
func (p *part) Read(b []byte) (int, error) {
	w := p.w
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.reader == p && w.next == w.end && w.err == nil {
		w.changed.Wait()
	}
	if w.reader != p {
		return 0, io.ErrClosedPipe
	}
	if w.next == w.end {
		return 0, w.err
	}
	at := w.next % keptInput
	n := copy(b, w.ring[at:min(at+w.end-w.next, keptInput)])
	w.next += int64(n)
	w.changed.Broadcast()
	return n, nil
}

// Close ends a Read that is blocked.
func (p *part) Close() error {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	if p.w.reader == p {
		p.w.reader = nil
		p.w.changed.Broadcast()
	}
	return nil
}
