package authz

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"
)

// jsonNull is a null in a document, so that it can be refused: nil is a field that is not there.
type jsonNull struct{}

// decodeStrict decodes one JSON document into map[string]any, []any, string, json.Number, bool
// and jsonNull. It refuses what encoding/json lets pass: invalid UTF-8, which it replaces, and
// repeated keys, of which it takes the last, in whatever case. Here keys keep their case, and
// onlyFields knows no other spelling.
func decodeStrict(data []byte) (any, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("not UTF-8")
	}
	var whole json.RawMessage // syntax, depth and trailing bytes
	if err := json.Unmarshal(data, &whole); err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	return decodeValue(dec, "")
}

func decodeValue(dec *json.Decoder, path string) (any, error) {
	t, err := dec.Token()
	switch {
	case err != nil:
		return nil, err
	case t == json.Delim('{'):
		return decodeObject(dec, path)
	case t == json.Delim('['):
		return decodeArray(dec, path)
	case t == nil:
		return jsonNull{}, nil
	}
	return t, nil
}

func decodeObject(dec *json.Decoder, path string) (any, error) {
	fields := make(map[string]any)
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, err
		}
		key := t.(string) // of an object's tokens every other one is a string
		at := fieldPath(path, key)
		if _, twice := fields[key]; twice {
			return nil, fmt.Errorf("%s: is there twice", at)
		}
		if fields[key], err = decodeValue(dec, at); err != nil {
			return nil, err
		}
	}
	_, err := dec.Token()
	return fields, err
}

func decodeArray(dec *json.Decoder, path string) (any, error) {
	items := []any{}
	for dec.More() {
		v, err := decodeValue(dec, fmt.Sprintf("%s[%d]", path, len(items)))
		if err != nil {
			return nil, err
		}
		items = append(items, v)
	}
	_, err := dec.Token()
	return items, err
}

func objectAt(path string, v any) (map[string]any, error) {
	if m, ok := v.(map[string]any); ok {
		return m, nil
	}
	if path == "" {
		return nil, fmt.Errorf("%s: must be an object", show(v))
	}
	if v == nil {
		return nil, fmt.Errorf("%s: is missing", path)
	}
	return nil, fmt.Errorf("%s: %s: must be an object", path, show(v))
}

func onlyFields(path string, m map[string]any, known ...string) error {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		if !slices.Contains(known, key) {
			return fmt.Errorf("%s: unknown field, must be one of %v", fieldPath(path, key), known)
		}
	}
	return nil
}

// fieldPath names a field in an error: quoted where it is not one of our plain names.
func fieldPath(path, key string) string {
	if checkName(key) != nil {
		key = fmt.Sprintf("%+q", clip(key))
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// show returns a decoded value for an error.
func show(v any) string {
	switch v := v.(type) {
	case jsonNull:
		return "null"
	case map[string]any:
		return "{…}"
	case []any:
		return "[…]"
	case string:
		return fmt.Sprintf("%+q", clip(v))
	}
	return clip(fmt.Sprint(v))
}
