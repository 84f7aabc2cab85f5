package stream

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"syscall"
	"time"
)

// lineBuffer holds the longest output line and a gap line before it. It is allocated once, by the first output;
// pages that no line reached are never touched.
const lineBuffer = 6*MaxFrame + 2*headerSize

// Writer appends frames to a log: one write(2) a frame, no goroutine, no garbage. It is not safe for concurrent
// use, and a log has one Writer at a time.
//
// A line that could not be written whole is cut off again, its payload counted as lost, and the next line that
// succeeds is preceded by a gap frame for all that was lost since: the offsets go on as if nothing had happened.
type Writer struct {
	file *os.File
	enc  *encoder
	next int64 // offset of the next frame, lost bytes included
	lost int64 // bytes before next that no gap frame stands for yet
	why  string
	size int64 // of the file's whole lines; -1: not known yet
	torn bool  // half a line follows them
	cap  capped
}

// NewWriter returns a Writer that appends to f, opened with O_APPEND, which stays the caller's. next is the number
// of payload bytes in it: 0 for an empty file, or what Next returned.
func NewWriter(f *os.File, next int64) *Writer {
	return &Writer{file: f, enc: newEncoder(nil), next: next, size: -1}
}

// Offset returns the offset of the next frame: how many bytes of output there were, written or lost.
func (w *Writer) Offset() int64 { return w.next }

// Start writes the first line of a log. argv must be UTF-8 and not empty.
func (w *Writer) Start(job string, argv []string, t time.Time) error {
	return w.frame(&Frame{Type: TypeStart, V: Version, Job: job, Argv: argv, Time: t})
}

// Output writes p, at most MaxFrame bytes that came from s at t, and does not keep it. Whatever the error, the
// offset has moved on by len(p). An empty p writes nothing. The error is ErrFull where the Cap says that no more is
// to be kept.
func (w *Writer) Output(s Source, t time.Time, p []byte) error {
	if len(p) == 0 {
		return nil
	}
	if w.cap.full {
		w.lose(int64(len(p)), ErrFull)
		return ErrFull
	}
	if cap(w.enc.buf) < lineBuffer {
		w.enc.buf = make([]byte, 0, lineBuffer)
	}
	n := int64(len(p))
	f := Frame{Type: TypeOutput, Stream: s, Offset: w.next, Time: t, Data: p}
	if err := w.frame(&f); err != nil {
		w.lose(n, err)
		return err
	}
	w.next += n
	return nil
}

// Gap writes that n bytes are missing, for the reason given. If that fails, they are counted as lost by the
// failed write. n of 0 writes nothing.
func (w *Writer) Gap(n int64, reason string) error {
	if n == 0 {
		return nil
	}
	if n < 0 || n > math.MaxInt64-w.next {
		return fmt.Errorf("write gap: %d bytes: out of range", n)
	}
	f := Frame{Type: TypeGap, Offset: w.next, Bytes: n, Reason: reason}
	if err := w.frame(&f); err != nil {
		w.lose(n, err)
		return err
	}
	w.next += n
	return nil
}

// Exit writes the last line of a log. usage is a JSON object or nil.
func (w *Writer) Exit(t time.Time, v Verdict, usage json.RawMessage) error {
	return w.frame(&Frame{Type: TypeExit, Offset: w.next, Time: t, Reason: v.Reason, Verdict: &v, Usage: usage})
}

// Owed returns how many bytes of output were lost that no gap frame stands for yet, and the reason that it will
// give; 0 and "" for none.
func (w *Writer) Owed() (n int64, reason string) {
	if w.lost == 0 {
		return 0, ""
	}
	return w.lost, w.why
}

// Settle writes the gap frame that is owed, if any: what Output and Exit do first, for when neither is to come
// soon.
func (w *Writer) Settle() error {
	if w.lost == 0 {
		return nil
	}
	return w.frame(nil)
}

// Sync writes the gap frame that is still owed, if any, and blocks until the log is on the disk (fdatasync(2)).
func (w *Writer) Sync() error {
	if err := w.Settle(); err != nil {
		return err
	}
	if err := fdatasync(w.file); err != nil {
		return fmt.Errorf("sync log: %w", err)
	}
	return nil
}

// frame writes the gap frame that is owed, if any, and f, if any.
func (w *Writer) frame(f *Frame) error {
	w.enc.buf = w.enc.buf[:0]
	if w.lost > 0 {
		owed := Frame{Type: TypeGap, Offset: w.next - w.lost, Bytes: w.lost, Reason: w.why}
		if err := w.enc.frame(&owed); err != nil {
			return fmt.Errorf("write frame: %w", err)
		}
	}
	if f != nil {
		if err := w.enc.frame(f); err != nil {
			return fmt.Errorf("write frame: %w", err)
		}
	}
	if len(w.enc.buf) > MaxLine {
		return fmt.Errorf("write frame: %s: a line of %d bytes: over %d", f.Type, len(w.enc.buf), MaxLine)
	}
	if err := w.measure(); err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	if f != nil && f.Type == TypeOutput {
		if err := w.admit(int64(len(w.enc.buf))); err != nil {
			return fmt.Errorf("write frame: %w", err)
		}
	}
	if err := w.write(w.enc.buf); err != nil {
		return fmt.Errorf("write frame: %w", err)
	}
	w.lost = 0
	return nil
}

// measure finds out how large the file is, once.
func (w *Writer) measure() error {
	if w.size >= 0 {
		return nil
	}
	st, err := w.file.Stat()
	if err != nil {
		return err
	}
	w.size = st.Size()
	return nil
}

// write appends lines, whole or not at all.
//
//	ftruncate(log, size)  only after a write that failed half way
//	write(log, lines)
func (w *Writer) write(lines []byte) error {
	if err := w.cut(); err != nil {
		return err
	}
	n, err := w.file.Write(lines)
	if err == nil {
		w.size += int64(n)
		return nil
	}
	w.torn = n > 0
	return errors.Join(err, w.cut())
}

// cut takes off what a failed write left behind. Until it has, nothing more is written: a line after half a line
// would be lost with it.
func (w *Writer) cut() error {
	if !w.torn {
		return nil
	}
	if err := w.file.Truncate(w.size); err != nil {
		return err
	}
	w.torn = false
	return nil
}

// lose counts n bytes that err kept out of the log.
func (w *Writer) lose(n int64, err error) {
	w.next += n
	w.lost += n
	switch {
	case errors.Is(err, ErrFull):
		w.why = GapOutputLimit
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		w.why = GapNoSpace
	default:
		w.why = GapWriteError
	}
}
