package stream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

const (
	readSize  = 256 << 10 // what a reader holds and hands out at once; a longer line makes it grow
	probeSize = 4 << 10   // read while looking for the start of a line
	blockSize = 64 << 10  // what is searched line by line
)

// logFile reads lines of a log that may be growing, end in half a line, and have holes. It only uses pread(2) and
// keeps nothing between calls: a Writer may cut off half a line and write another in its place.
type logFile struct {
	file  *os.File
	buf   []byte // what lines returns; headers point into it
	probe []byte // what frame returns points into
}

func newLogFile(f *os.File) *logFile { return &logFile{file: f} }

// read fills b from pos, short only at the end of the file or at stop.
func (l *logFile) read(b []byte, pos, stop int64) ([]byte, error) {
	n, err := l.file.ReadAt(b[:max(0, min(int64(len(b)), stop-pos))], pos)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("read log: %w", err)
	}
	return b[:n], nil
}

// lines returns whole lines from pos, where a line starts, and none where the last line is not complete. damaged
// says that the line at pos holds a NUL: see frame. The lines are valid until the next call.
func (l *logFile) lines(pos, stop int64) (b []byte, damaged bool, err error) {
	if l.buf == nil {
		l.buf = make([]byte, readSize)
	}
	for {
		b, err = l.read(l.buf, pos, stop)
		if err != nil {
			return nil, false, err
		}
		full := len(b) == len(l.buf)
		nul := bytes.IndexByte(b, 0)
		if nul >= 0 {
			b = b[:nul]
		}
		if n := bytes.LastIndexByte(b, '\n') + 1; n > 0 {
			return b[:n], false, nil
		}
		if nul >= 0 || !full {
			return nil, nul >= 0, nil
		}
		if len(l.buf) >= MaxLine {
			return nil, false, fmt.Errorf("read log: line at byte %d: longer than %d bytes", pos, MaxLine)
		}
		l.buf = make([]byte, 2*len(l.buf))
	}
}

// frame finds the first intact line that starts at or after at and before stop. Its header is valid until the next
// call. io.EOF means there is none.
func (l *logFile) frame(at, stop int64) (h header, pos int64, err error) {
	if l.probe == nil {
		l.probe = make([]byte, probeSize)
	}
	pos, hole := at, false
	if at > 0 {
		pos, hole, err = l.lineAfter(at-1, stop)
	}
	for err == nil {
		var b []byte
		if b, err = l.read(l.probe[:headerSize], pos, stop); err != nil {
			break
		}
		h, ok := parseHeader(b)
		if ok {
			return h, pos, nil
		}
		if len(b) < headerSize && bytes.IndexByte(b, '\n') < 0 && bytes.IndexByte(b, 0) < 0 {
			return h, pos, io.EOF // half a line
		}
		if !hole && bytes.IndexByte(b, 0) < 0 {
			return h, pos, corrupt(pos, b)
		}
		pos, hole, err = l.lineAfter(pos, stop)
	}
	return h, pos, err
}

// lineAfter skips to the byte after the next newline at or after pos or, where a NUL comes first, to the first byte
// that is none: then, and hole says so, it may be in the middle of a line.
func (l *logFile) lineAfter(pos, stop int64) (next int64, hole bool, err error) {
	for {
		b, err := l.read(l.probe, pos, stop)
		if err != nil {
			return 0, false, err
		}
		if len(b) == 0 {
			return 0, false, io.EOF
		}
		switch i := bytes.IndexAny(b, "\n\x00"); {
		case i < 0:
			pos += int64(len(b))
		case b[i] == '\n':
			return pos + int64(i) + 1, false, nil
		default:
			next, err = l.dataAfter(pos+int64(i), stop)
			return next, true, err
		}
	}
}

// dataAfter skips NULs, holes without reading them.
func (l *logFile) dataAfter(pos, stop int64) (int64, error) {
	for {
		start, err := dataAfter(l.file, pos)
		if err != nil {
			return 0, err
		}
		b, err := l.read(l.probe, start, stop)
		if err != nil {
			return 0, err
		}
		if len(b) == 0 {
			return 0, io.EOF
		}
		rest := bytes.TrimLeft(b, "\x00")
		pos = start + int64(len(b)-len(rest))
		if len(rest) > 0 {
			return pos, nil
		}
	}
}

// walk calls each with the intact whole lines from pos, where a line starts, in order, and skips damage.
func (l *logFile) walk(pos, stop int64, each func(h header, pos, end int64) error) error {
	for {
		b, damaged, err := l.lines(pos, stop)
		if damaged {
			_, pos, err = l.frame(pos+1, stop)
			if err == nil {
				continue
			}
		}
		if err == io.EOF || err == nil && len(b) == 0 {
			return nil
		}
		if err != nil {
			return err
		}
		for len(b) > 0 {
			n := bytes.IndexByte(b, '\n') + 1
			h, ok := parseHeader(b[:n])
			if !ok {
				return corrupt(pos, b[:n])
			}
			if err := each(h, pos, pos+int64(n)); err != nil {
				return err
			}
			b, pos = b[n:], pos+int64(n)
		}
	}
}

// place is where a log ends.
type place struct {
	pos   int64 // after the last intact whole line
	line  int64 // at its beginning
	next  int64 // offset after it
	ended bool  // it is an exit frame
}

// last finds the end of the log before stop, reading backward in growing steps.
func (l *logFile) last(stop int64) (p place, err error) {
	if l.buf == nil {
		l.buf = make([]byte, max(1, min(readSize, stop))) // most logs are short, and ask this at their end
	}
	for step := int64(blockSize); ; step *= 2 {
		at := max(0, stop-step)
		_, pos, err := l.frame(at, stop)
		if err != nil && err != io.EOF {
			return p, err
		}
		if err == nil {
			err = l.walk(pos, stop, func(h header, pos, end int64) error {
				n, ok := h.size()
				if !ok {
					return corrupt(pos, h.rest)
				}
				p = place{pos: end, line: pos, next: h.offset + n, ended: h.kind == TypeExit}
				return nil
			})
		}
		if p.pos > 0 || at == 0 || err != nil && err != io.EOF {
			return p, ignoreEOF(err)
		}
	}
}

func ignoreEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// errCorrupt is what a line that is no frame gives.
var errCorrupt = errors.New("not a frame of this log")

func corrupt(pos int64, line []byte) error {
	return fmt.Errorf("read log: line at byte %d: %w: %.100q", pos, errCorrupt, line)
}

// Next returns how many payload bytes the log in f holds, lost ones that a gap frame stands for included. It reads
// the last whole lines only and changes nothing, so it is safe while the log grows. An empty log has none.
func Next(f *os.File) (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, fmt.Errorf("read log: %w", err)
	}
	p, err := newLogFile(f).last(st.Size())
	return p.next, err
}

// Recover mends a log left by a crash: it cuts off a torn last line, and what a power cut left of lines there. It
// returns the offset to go on at and the log's exit frame, nil if it has none. f is open for reading and writing, and
// nothing else writes to it.
func Recover(f *os.File) (next int64, exit *Frame, err error) {
	l := newLogFile(f)
	p, err := l.recover()
	if err == nil && p.ended {
		exit, err = l.decode(p)
	}
	if err != nil {
		return 0, nil, fmt.Errorf("recover log: %w", err)
	}
	return p.next, exit, nil
}

func (l *logFile) recover() (p place, err error) {
	st, err := l.file.Stat()
	if err != nil {
		return p, err
	}
	if p, err = l.last(st.Size()); err != nil {
		return p, err
	}
	if p.pos < st.Size() {
		err = l.file.Truncate(p.pos)
	}
	return p, err
}

// decode reads the last line, an exit frame.
func (l *logFile) decode(p place) (*Frame, error) {
	b, err := l.read(make([]byte, p.pos-p.line), p.line, p.pos)
	if err != nil {
		return nil, err
	}
	f, err := Decode(b)
	return &f, err
}
