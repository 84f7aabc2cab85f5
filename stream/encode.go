package stream

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"time"
	"unicode/utf8"
	"unsafe"
)

// timeLayout is RFC 3339 in UTC with nine digits: a fixed width, so that times compare as bytes.
const timeLayout = "2006-01-02T15:04:05.000000000Z"

// textPiece is how much text goes to encoding/json at once: it bounds the buffer that package keeps
// (six times as much) in nsinit, where every page counts. Larger pieces are no faster.
const textPiece = 4 << 10

// encoder appends canonical lines to buf. Its parts are kept from frame to frame, so encoding makes no garbage.
//
// Strings are escaped by encoding/json, which is fast enough not to need an escaper of our own: on two cores
// BenchmarkEncode gives 750 to 950 MB/s of text lines, and BenchmarkRecord, pipe to file, 400 to 490 MB/s.
type encoder struct {
	buf  []byte
	json *json.Encoder
	text string // what json reads; a field, since boxing a local would allocate
}

func newEncoder(dst []byte) *encoder {
	e := &encoder{buf: dst}
	e.json = json.NewEncoder(e)
	e.json.SetEscapeHTML(false)
	return e
}

// Write takes what json encodes. It never fails.
func (e *encoder) Write(p []byte) (int, error) {
	e.buf = append(e.buf, p...)
	return len(p), nil
}

// inner appends the JSON of v without its outer quotes, brackets or braces.
func (e *encoder) inner(v any) error {
	at := len(e.buf)
	if err := e.json.Encode(v); err != nil {
		e.buf = e.buf[:at]
		return err
	}
	body := e.buf[at+1 : len(e.buf)-2] // Encode ends with a newline
	e.buf = append(e.buf[:at], body...)
	return nil
}

// frame appends the line of f.
func (e *encoder) frame(f *Frame) error {
	if err := f.check(); err != nil {
		return err
	}
	switch f.Type {
	case TypeStart:
		return e.start(f)
	case TypeOutput:
		return e.output(f)
	case TypeGap:
		e.int(`{"type":"gap","offset":`, f.Offset)
		e.int(`,"bytes":`, f.Bytes)
		return e.tail(`,"reason":"`, f.Reason, "\"}\n")
	case TypeExit:
		return e.exit(f)
	case TypeEnd:
		e.int(`{"type":"end","next":`, f.Next)
		return e.tail(`,"reason":"`, f.Reason, "\"}\n")
	default: // check leaves only the ping
		e.buf = append(e.buf, "{\"type\":\"ping\"}\n"...)
		return nil
	}
}

func (e *encoder) start(f *Frame) error {
	e.int(`{"type":"start","v":`, int64(f.V))
	if err := e.tail(`,"job":"`, f.Job, `"`); err != nil {
		return err
	}
	e.time(f.Time)
	e.buf = append(e.buf, `,"argv":[`...)
	if err := e.inner(f.Argv); err != nil {
		return err
	}
	e.buf = append(e.buf, "]}\n"...)
	return nil
}

func (e *encoder) output(f *Frame) error {
	e.buf = append(e.buf, `{"type":"output","stream":"`...)
	e.buf = append(e.buf, f.Stream...)
	e.int(`","offset":`, f.Offset)
	e.time(f.Time)
	if !utf8.Valid(f.Data) {
		e.buf = append(e.buf, `,"data":"`...)
		e.buf = base64.StdEncoding.AppendEncode(e.buf, f.Data)
		e.buf = append(e.buf, "\"}\n"...)
		return nil
	}
	return e.tail(`,"text":"`, unsafe.String(unsafe.SliceData(f.Data), len(f.Data)), "\"}\n")
}

func (e *encoder) exit(f *Frame) error {
	e.int(`{"type":"exit","offset":`, f.Offset)
	e.time(f.Time)
	e.buf = append(e.buf, ',')
	if err := e.inner(f.Verdict); err != nil {
		return err
	}
	if f.Usage != nil {
		e.buf = append(e.buf, `,"usage":{`...)
		if err := e.inner(f.Usage); err != nil {
			return err
		}
		e.buf = append(e.buf, '}')
	}
	e.buf = append(e.buf, "}\n"...)
	return nil
}

// tail appends before, the escaped s, and after. It cuts s between characters and does not keep it.
func (e *encoder) tail(before, s, after string) error {
	e.buf = append(e.buf, before...)
	for len(s) > 0 {
		n := len(s)
		if n > textPiece {
			for n = textPiece; n > textPiece-utf8.UTFMax && !utf8.RuneStart(s[n]); n-- {
			}
		}
		e.text = s[:n]
		if err := e.inner(&e.text); err != nil {
			return err
		}
		s = s[n:]
	}
	e.text = ""
	e.buf = append(e.buf, after...)
	return nil
}

func (e *encoder) int(before string, n int64) {
	e.buf = append(e.buf, before...)
	e.buf = strconv.AppendInt(e.buf, n, 10)
}

func (e *encoder) time(t time.Time) {
	e.buf = append(e.buf, `,"time":"`...)
	e.buf = t.UTC().AppendFormat(e.buf, timeLayout)
	e.buf = append(e.buf, '"')
}
