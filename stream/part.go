package stream

import "bytes"

// batch takes whole lines off b, moves those wanted together and returns them. A line of which only a part is wanted
// is returned alone.
func (r *Reader) batch(b []byte) ([]byte, error) {
	kept := 0
	for i := 0; i < len(b) && r.end == ""; {
		n := bytes.IndexByte(b[i:], '\n') + 1
		line := b[i : i+n]
		p, ok := r.part(line, i+n == len(b))
		if kept > 0 && (!ok || p.cut()) {
			return b[:kept], nil
		}
		if !ok {
			return nil, corrupt(r.pos, line)
		}
		i += n
		r.take(&p, n)
		if p.cut() {
			return p.encode(line)
		}
		if p.whole {
			kept += copy(b[kept:], line)
		}
	}
	return b[:kept], nil
}

// part is what is wanted of a line.
type part struct {
	header
	whole  bool  // the line as it is
	lo, hi int64 // else these bytes of its payload; none if equal
	size   int64 // of the payload; 0 where nobody asked
}

func (p *part) cut() bool { return !p.whole && p.lo < p.hi }

// part looks at a line. ok is false where it is no frame or its offset goes back. The size of the payload costs a
// look at all of it, so it is only counted for the last line of a batch and for those on a border.
func (r *Reader) part(line []byte, last bool) (p part, ok bool) {
	if p.header, ok = parseHeader(line); !ok || p.offset < r.next {
		return p, false
	}
	limited := r.left >= 0 && p.kind == TypeOutput
	if last || limited || p.offset < r.from {
		if p.size, ok = p.header.size(); !ok {
			return p, false
		}
	}
	switch {
	case p.kind == TypeExit:
		p.whole = true
	case p.kind == TypeStart:
		p.whole = r.start
	case r.hides(&p.header):
	case p.offset >= r.from && !limited:
		p.whole = true
	default:
		p.lo = min(max(0, r.from-p.offset), p.size)
		p.hi = p.size
		if limited {
			p.hi = min(p.size, p.lo+r.left)
		}
		p.whole = p.lo == 0 && p.hi == p.size
	}
	return p, true
}

// hides tells lines of the other source, and all before the first output at or after since.
func (r *Reader) hides(h *header) bool {
	if r.since != nil && (h.kind != TypeOutput || bytes.Compare(h.time, r.since) < 0) {
		return true
	}
	r.since = nil
	return h.kind == TypeOutput && r.source != "" && h.stream != r.source
}

// take moves past a line of n bytes.
func (r *Reader) take(p *part, n int) {
	r.pos += int64(n)
	r.next = p.offset + p.size
	if p.kind == TypeExit {
		r.end = EndComplete
	}
	if r.left < 0 || p.kind != TypeOutput || p.lo == p.hi {
		return
	}
	r.left -= p.hi - p.lo
	if r.left == 0 {
		r.next = p.offset + p.hi
		r.end = EndLimit
	}
}

// encode gives the line of a part of a frame.
func (p *part) encode(line []byte) ([]byte, error) {
	f, err := Decode(line)
	if err != nil {
		return nil, err
	}
	f.Offset += p.lo
	if f.Type == TypeGap {
		f.Bytes = p.hi - p.lo
	} else {
		f.Data = f.Data[p.lo:p.hi]
	}
	return f.Append(nil), nil
}
