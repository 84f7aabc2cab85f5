package stream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
	"unicode/utf8"
)

// Decode reads one line, with or without its newline. It is strict: unknown, missing and duplicate fields, other
// types, both or neither of text and data, bytes that are not UTF-8 and anything after the object are errors. The
// frame shares no memory with line. Output lines laid out as Append does take a fast path; the order of fields and
// white space may differ otherwise.
func Decode(line []byte) (Frame, error) {
	if f, ok := decodeOutput(line); ok {
		return f, nil
	}
	f, err := decodeFields(line)
	if err == nil {
		err = f.check()
	}
	if err != nil {
		return Frame{}, fmt.Errorf("decode frame: %w: %.100q", err, line)
	}
	return f, nil
}

// decodeOutput is the fast path; where ok is false the line may still be a frame.
func decodeOutput(line []byte) (f Frame, ok bool) {
	h, ok := parseHeader(line)
	if !ok || h.kind != TypeOutput {
		return f, false
	}
	f = Frame{Type: TypeOutput, Stream: h.stream, Offset: h.offset}
	if f.Time, ok = parseTime(h.time); !ok {
		return f, false
	}
	body, _, ok := h.payload()
	if !ok {
		return f, false
	}
	f.Data, ok = h.appendPayload(make([]byte, 0, min(len(body), MaxFrame)))
	return f, ok && f.check() == nil
}

// field is a member of a frame's object and where its value goes.
type field struct {
	name     string
	optional bool
	set      func(f *Frame, value []byte) error
}

// fields lists what each type holds. Of text and data exactly one is wanted.
var fields = map[string][]field{
	TypeStart:  {fieldV, fieldJob, fieldTime, fieldArgv},
	TypeOutput: {fieldStream, fieldOffset, fieldTime, fieldText, fieldData},
	TypeGap:    {fieldOffset, fieldBytes, fieldReason},
	TypeExit: {fieldOffset, fieldTime, fieldReason, fieldCode, fieldSignal, fieldBy, fieldStage, fieldError,
		fieldUsage},
	TypePing: {},
	TypeEnd:  {fieldNext, fieldReason},
}

var (
	fieldV      = field{"v", false, func(f *Frame, b []byte) error { return json.Unmarshal(b, &f.V) }}
	fieldJob    = field{"job", false, func(f *Frame, b []byte) error { return json.Unmarshal(b, &f.Job) }}
	fieldArgv   = field{"argv", false, func(f *Frame, b []byte) error { return json.Unmarshal(b, &f.Argv) }}
	fieldTime   = field{"time", false, setTime}
	fieldStream = field{"stream", false, func(f *Frame, b []byte) error { return json.Unmarshal(b, &f.Stream) }}
	fieldOffset = field{"offset", false, func(f *Frame, b []byte) error { return json.Unmarshal(b, &f.Offset) }}
	fieldText   = field{"text", true, setText}
	fieldData   = field{"data", true, setData}
	fieldBytes  = field{"bytes", false, func(f *Frame, b []byte) error { return json.Unmarshal(b, &f.Bytes) }}
	fieldNext   = field{"next", false, func(f *Frame, b []byte) error { return json.Unmarshal(b, &f.Next) }}
	fieldReason = field{"reason", false, func(f *Frame, b []byte) error { return json.Unmarshal(b, &f.Reason) }}
	fieldCode   = field{"code", true, func(f *Frame, b []byte) error { return json.Unmarshal(b, &f.Verdict.Code) }}
	fieldSignal = field{"signal", true, func(f *Frame, b []byte) error { return json.Unmarshal(b, &f.Verdict.Signal) }}
	fieldBy     = field{"by", true, func(f *Frame, b []byte) error { return json.Unmarshal(b, &f.Verdict.By) }}
	fieldStage  = field{"stage", true, func(f *Frame, b []byte) error { return json.Unmarshal(b, &f.Verdict.Stage) }}
	fieldError  = field{"error", true, func(f *Frame, b []byte) error { return json.Unmarshal(b, &f.Verdict.Error) }}
	fieldUsage  = field{"usage", true, setUsage}
)

func setTime(f *Frame, b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	t, ok := parseTime([]byte(s))
	if !ok {
		return fmt.Errorf("not of the form %s", timeLayout)
	}
	f.Time = t
	return nil
}

func setText(f *Frame, b []byte) error {
	var s string
	err := json.Unmarshal(b, &s)
	f.Data = []byte(s)
	return err
}

func setData(f *Frame, b []byte) error {
	if f.Data != nil {
		return errors.New("beside text")
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	var ok bool
	if f.Data, ok = appendData([]byte{}, []byte(s)); !ok {
		return errors.New("not base64")
	}
	return nil
}

func setUsage(f *Frame, b []byte) error {
	var c bytes.Buffer
	err := json.Compact(&c, b)
	f.Usage = c.Bytes()
	return err
}

// parseTime reads the one form that Append writes.
func parseTime(b []byte) (t time.Time, ok bool) {
	if len(b) != len(timeLayout) || b[len(b)-1] != 'Z' {
		return t, false
	}
	err := t.UnmarshalText(b) // strict RFC 3339
	return t, err == nil
}

func decodeFields(line []byte) (f Frame, err error) {
	if !utf8.Valid(line) {
		return f, errors.New("not UTF-8")
	}
	values, err := object(line)
	if err != nil {
		return f, err
	}
	if err := json.Unmarshal(values["type"], &f.Type); err != nil {
		return f, fmt.Errorf("type: %w", err)
	}
	delete(values, "type")
	want, ok := fields[f.Type]
	if !ok {
		return f, fmt.Errorf("type %q: unknown", f.Type)
	}
	if f.Type == TypeExit {
		f.Verdict = new(Verdict)
	}
	if err := f.set(want, values); err != nil {
		return f, err
	}
	if f.Type == TypeExit {
		f.Verdict.Reason = f.Reason
	}
	return f, nil
}

// set takes each wanted field out of values and leaves none over.
func (f *Frame) set(want []field, values map[string]json.RawMessage) error {
	for _, w := range want {
		v, ok := values[w.name]
		if !ok && w.optional {
			continue
		}
		if !ok {
			return fmt.Errorf("%s: %s: missing", f.Type, w.name)
		}
		if err := w.set(f, v); err != nil {
			return fmt.Errorf("%s: %s: %w", f.Type, w.name, err)
		}
		delete(values, w.name)
	}
	for name := range values {
		return fmt.Errorf("%s: %s: unknown field", f.Type, name)
	}
	return nil
}

// object reads the members of a JSON object. encoding/json alone takes the last of two and any case of a name.
func object(line []byte) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(line))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("not a JSON object")
	}
	values := make(map[string]json.RawMessage)
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, _ := t.(string)
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			return nil, err
		}
		if _, ok := values[name]; ok || slices.Equal(v, []byte("null")) {
			return nil, fmt.Errorf("%s: duplicate or null", name)
		}
		values[name] = v
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("bytes after the object")
	}
	return values, nil
}
