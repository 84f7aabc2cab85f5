package job

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// ParseSpec reads a Spec as DecodeJSON does and validates it.
func ParseSpec(r io.Reader) (Spec, error) {
	var s Spec
	if err := DecodeJSON(r, &s); err != nil {
		return Spec{}, err
	}
	return s, s.Validate()
}

// DecodeJSON reads one JSON value into *v, a struct, and refuses with a
// *FieldError what encoding/json would let pass: unknown fields, fields in
// another case, a field twice (it takes the last: `{"owner":"alice","Owner":"eve"}`),
// bytes after the value, invalid UTF-8 and half a surrogate pair (it stores U+FFFD),
// null, a number 0 for a field that is no pointer, where it would read as if the field
// were absent, and more than 65536 elements in one place. An error of r is returned
// as it is.
func DecodeJSON(r io.Reader, v any) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if !utf8.Valid(b) {
		return &FieldError{Problem: "the document is not valid UTF-8"}
	}
	if half := halfPair(b); half != "" {
		return &FieldError{Value: quote(half), Problem: "is half a surrogate pair"}
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	if err := checkJSON(dec, reflect.TypeOf(v).Elem(), ""); err != nil {
		return syntaxError(err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return &FieldError{Problem: "the document goes on after its end"}
	}
	return json.Unmarshal(b, v)
}

func syntaxError(err error) error {
	if _, ok := errors.AsType[*FieldError](err); ok {
		return err
	}
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return &FieldError{Problem: "the JSON document ends early"}
	}
	return &FieldError{Problem: "not JSON: " + err.Error()}
}

// halfPair returns the first escape in b, a JSON document, of a surrogate that is not
// one of a pair, and so no character (RFC 8259, section 8.2); "" if there is none.
func halfPair(b []byte) string {
	for {
		i := bytes.IndexByte(b, '\\')
		if i < 0 {
			return ""
		}
		b = b[i:]
		first := escaped(b)
		switch {
		case !utf16.IsSurrogate(first):
			b = b[min(2, len(b)):] // another escape begins after the character that this one escapes
		case utf16.DecodeRune(first, escaped(b[escapeLen:])) == utf8.RuneError:
			return string(b[:escapeLen])
		default:
			b = b[2*escapeLen:]
		}
	}
}

const escapeLen = len(`\uD83D`)

// escaped returns the character whose \u escape b begins with, or -1.
func escaped(b []byte) rune {
	if len(b) < escapeLen || b[0] != '\\' || b[1] != 'u' {
		return -1
	}
	n, err := strconv.ParseUint(string(b[2:escapeLen]), 16, 16)
	if err != nil {
		return -1
	}
	return rune(n)
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// checkJSON consumes one value that is meant for a t. Recursion is bounded by
// the depth of t, not by the input.
func checkJSON(dec *json.Decoder, t reflect.Type, path string) error {
	pointer := t.Kind() == reflect.Pointer
	if pointer {
		t = t.Elem()
	}
	if reflect.PointerTo(t).Implements(unmarshaler) {
		return checkCustom(dec, t, path)
	}
	tok, err := dec.Token()
	if err != nil {
		return err
	}
	switch tok := tok.(type) {
	case json.Delim:
		return checkComposite(dec, tok, t, path)
	case json.Number:
		return checkNumber(tok, t, path, pointer)
	case nil:
		return &FieldError{path, "null", "leave the field out instead"}
	case string:
		if t.Kind() != reflect.String {
			return &FieldError{path, quote(tok), wanted(t)}
		}
	case bool:
		if t.Kind() != reflect.Bool {
			return &FieldError{path, strconv.FormatBool(tok), wanted(t)}
		}
	}
	return nil
}

func checkComposite(dec *json.Decoder, open json.Delim, t reflect.Type, path string) error {
	switch {
	case open == '{' && (t.Kind() == reflect.Struct || t.Kind() == reflect.Map):
		return checkObject(dec, t, path)
	case open == '[' && t.Kind() == reflect.Slice:
		for i := 0; dec.More(); i++ {
			if i == maxElements {
				return tooMany(path)
			}
			if err := checkJSON(dec, t.Elem(), fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
		_, err := dec.Token()
		return err
	}
	return &FieldError{path, open.String() + "…", wanted(t)}
}

// maxElements is the most that an array or an object may have: an empty string is 3 bytes
// of a document, but 16 of memory, and 9 of the room that the kernel gives arguments,
// pointers included (execve(2)).
const maxElements = 64 << 10

func tooMany(path string) error {
	return &FieldError{Field: path, Problem: fmt.Sprintf("has more than %d elements", maxElements)}
}

func checkObject(dec *json.Decoder, t reflect.Type, path string) error {
	seen := make(map[string]bool)
	for dec.More() {
		if len(seen) == maxElements {
			return tooMany(path)
		}
		tok, err := dec.Token()
		if err != nil {
			return err
		}
		key := tok.(string) // Token returns nothing else before a colon
		at := strings.TrimPrefix(path+"."+key, ".")
		if seen[key] {
			return &FieldError{Field: at, Problem: "is given twice"}
		}
		seen[key] = true
		elem, ok := member(t, key)
		if !ok {
			return &FieldError{Field: strings.TrimPrefix(path+"."+quote(key), "."), Problem: "unknown field"}
		}
		if err := checkJSON(dec, elem, at); err != nil {
			return err
		}
	}
	_, err := dec.Token()
	return err
}

// member returns the type of the value that key has in a t.
func member(t reflect.Type, key string) (reflect.Type, bool) {
	if t.Kind() == reflect.Map {
		return t.Elem(), true
	}
	for f := range t.Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name == key && name != "" && name != "-" {
			return f.Type, true
		}
	}
	return nil, false
}

func checkNumber(n json.Number, t reflect.Type, path string, zero bool) error {
	var err error
	switch t.Kind() {
	case reflect.Int, reflect.Int64:
		_, err = strconv.ParseInt(n.String(), 10, 64)
	case reflect.Float64:
		_, err = strconv.ParseFloat(n.String(), 64)
	default:
		return &FieldError{path, n.String(), wanted(t)}
	}
	if err != nil {
		return &FieldError{path, n.String(), wanted(t)}
	}
	if f, _ := n.Float64(); f == 0 && !zero {
		return &FieldError{path, n.String(), "must not be 0; leave it out for the default"}
	}
	return nil
}

// checkCustom consumes a value of a type that decodes itself, so that its error
// names the field.
func checkCustom(dec *json.Decoder, t reflect.Type, path string) error {
	var raw json.RawMessage
	if err := dec.Decode(&raw); err != nil {
		return err
	}
	if string(raw) == "null" {
		return &FieldError{path, "null", "leave the field out instead"}
	}
	if err := json.Unmarshal(raw, reflect.New(t).Interface()); err != nil {
		return &FieldError{Field: path, Problem: err.Error()}
	}
	return nil
}

func wanted(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "must be a string"
	case reflect.Bool:
		return "must be true or false"
	case reflect.Int, reflect.Int64:
		return "must be a whole number that fits in 64 bits"
	case reflect.Float64:
		return "must be a number that fits in 64 bits"
	case reflect.Slice:
		return "must be an array"
	}
	return "must be an object"
}

// sameSpec compares what was asked for as it is written down.
func sameSpec(a, b Spec) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

func (s *Spec) clone() Spec {
	c := *s
	c.Argv = slices.Clone(s.Argv)
	c.Env = maps.Clone(s.Env)
	c.Labels = maps.Clone(s.Labels)
	c.Limits.IO = slices.Clone(s.Limits.IO)
	c.Binds = slices.Clone(s.Binds)
	if s.Grace != nil {
		g := *s.Grace
		c.Grace = &g
	}
	return c
}
