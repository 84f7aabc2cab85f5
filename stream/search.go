package stream

import (
	"bytes"
	"io"
)

// search returns the position of an intact line from which reading forward meets the first line for which before is
// false: lines for which it is true come first. known is false where a line does not tell. The offset of that line
// comes with it. It halves the file by probing: seek, skip to the next line, read its header.
func (l *logFile) search(stop int64, before func(header) (yes, known bool)) (pos, offset int64, err error) {
	lo, hi := int64(0), stop
	for hi-lo > blockSize {
		mid := lo + (hi-lo)/2
		h, at, err := l.frame(mid, hi)
		yes, known := before(h)
		for err == nil && !known {
			h, at, err = l.frame(at+1, hi)
			yes, known = before(h)
		}
		switch {
		case err == nil && yes:
			lo, offset = at, h.offset
		case err == nil || err == io.EOF:
			hi = mid
		default:
			return 0, 0, err
		}
	}
	return lo, offset, nil
}

// searchOffset finds a line from which reading forward reaches payload byte offset.
func (l *logFile) searchOffset(stop, offset int64) (pos, at int64, err error) {
	return l.search(stop, func(h header) (yes, known bool) {
		return h.offset < offset, true
	})
}

// searchTime finds a line from which reading forward reaches the first output at or after since, in timeLayout.
// Where the clock was set back, it is one of the places where the times pass it.
func (l *logFile) searchTime(stop int64, since []byte) (pos, at int64, err error) {
	return l.search(stop, func(h header) (yes, known bool) {
		return bytes.Compare(h.time, since) < 0, h.time != nil
	})
}

// tail finds the offset at which the last n lines of src begin, of both sources if src is "". A last line without a
// newline counts. It reads backward, block by block.
func (l *logFile) tail(stop int64, n int, src Source) (offset int64, err error) {
	t := tail{want: n, src: src}
	for hi, step := stop, int64(blockSize); hi > 0; {
		at := max(0, hi-step)
		_, pos, err := l.frame(at, hi)
		if err == io.EOF {
			hi, step = min(hi, at+step), step*2
			if at == 0 {
				break
			}
			continue
		}
		if err != nil {
			return 0, err
		}
		done, err := t.block(l, pos, hi)
		if err != nil || done {
			return t.offset, err
		}
		hi, step = pos, blockSize
	}
	return 0, nil
}

// tail counts newlines from the end of a log.
type tail struct {
	want   int // newlines still to pass; one more once the very last byte was seen to be one
	src    Source
	begun  bool
	offset int64 // the answer

	frames []tailFrame // of the block, in order
	data   []byte      // scratch
}

// tailFrame is a frame's place and how many newlines it holds.
type tailFrame struct {
	pos, end, offset int64
	newlines         int
}

// block counts the block of whole lines from pos to stop; done says that the answer is in it.
func (t *tail) block(l *logFile, pos, stop int64) (done bool, err error) {
	t.frames = t.frames[:0]
	ends := false
	err = l.walk(pos, stop, func(h header, pos, end int64) error {
		if h.kind != TypeOutput || t.src != "" && h.stream != t.src {
			return nil
		}
		if err := t.decode(h, pos); err != nil {
			return err
		}
		t.frames = append(t.frames, tailFrame{pos, end, h.offset, bytes.Count(t.data, []byte{'\n'})})
		ends = bytes.HasSuffix(t.data, []byte{'\n'})
		return nil
	})
	if err != nil || len(t.frames) == 0 {
		return false, err
	}
	if !t.begun && ends {
		t.want++
	}
	t.begun = true
	for i := len(t.frames) - 1; i >= 0; i-- {
		f := t.frames[i]
		if f.newlines >= t.want {
			return true, t.within(l, f)
		}
		t.want -= f.newlines
	}
	return false, nil
}

// within finds the byte after the newline in question.
func (t *tail) within(l *logFile, f tailFrame) error {
	return l.walk(f.pos, f.end, func(h header, pos, _ int64) error {
		if err := t.decode(h, pos); err != nil {
			return err
		}
		i := len(t.data)
		for ; t.want > 0; t.want-- {
			i = bytes.LastIndexByte(t.data[:i], '\n')
		}
		t.offset = f.offset + int64(i) + 1
		return nil
	})
}

func (t *tail) decode(h header, pos int64) error {
	var ok bool
	if t.data, ok = h.appendPayload(t.data[:0]); !ok {
		return corrupt(pos, h.rest)
	}
	return nil
}
