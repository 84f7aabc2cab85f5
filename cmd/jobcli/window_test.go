package main

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
)

// TestWindow: whatever is read, abandoned and read again, a part is the input from
// where it was asked for.
func TestWindow(t *testing.T) {
	all := noise(20 << 20)
	r := rand.New(rand.NewPCG(1, 1))
	w := newWindow(bytes.NewReader(all))
	defer w.stop()
	for offset := int64(0); offset < int64(len(all)); {
		p, err := w.from(offset)
		if err != nil {
			t.Fatal(err)
		}
		piece := make([]byte, r.IntN(2<<20))
		n, err := io.ReadFull(p, piece)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && err != io.EOF {
			t.Fatal(err)
		}
		if !bytes.Equal(piece[:n], all[offset:][:n]) {
			t.Fatalf("from %d: other bytes", offset)
		}
		p.Close()
		if _, err := p.Read(piece); n > 0 && len(piece) > 0 && err != io.ErrClosedPipe {
			t.Fatalf("read of a part that is closed: %v", err)
		}
		// The worker may have anything from where this part began.
		offset += r.Int64N(int64(n) + 1)
		if n == 0 {
			offset = int64(len(all))
		}
	}
	p, err := w.from(int64(len(all)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
	for offset, want := range map[int64]string{0: "is not kept any more", int64(len(all)) + 1: "somebody else writes to it"} {
		if _, err := w.from(offset); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("from %d: %v, want %q", offset, err, want)
		}
	}
}

// TestWindowBounds: what nobody takes is not read, and what was taken is kept.
func TestWindowBounds(t *testing.T) {
	w := newWindow(rand.NewChaCha8([32]byte{}))
	p, err := w.from(0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, p, 3<<20); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	if w.end > w.next+aheadInput {
		t.Errorf("%d bytes are read ahead", w.end-w.next)
	}
	w.mu.Unlock()
	if _, err := w.from(0); err != nil {
		t.Error(err)
	}
	w.stop()
}

// TestWindowFailure: an error of the source comes after what was read before it, and
// is told apart from the end.
func TestWindowFailure(t *testing.T) {
	broken := errors.New("broken")
	for _, want := range []error{io.EOF, broken} {
		w := newWindow(io.MultiReader(strings.NewReader("some"), iotest.ErrReader(want)))
		p, err := w.from(0)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 10)
		if n, err := io.ReadFull(p, b); string(b[:n]) != "some" || !errors.Is(err, want) && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q, %v, want %v", b[:n], err, want)
		}
		if err := w.failure(); want == io.EOF && err != nil || want == broken && err != broken {
			t.Errorf("failure %v, want that of %v", err, want)
		}
		w.stop()
	}
}
