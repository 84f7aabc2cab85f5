package httpapi

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// params are the query parameters of a request, each of which is known. Its
// methods return the zero value for a parameter that is absent, and a *Problem
// that names the parameter for one that cannot be right.
type params struct{ url.Values }

// repeatable parameters may be given more than once.
var repeatable = []string{"label"}

// parseParams refuses parameters that are not among known, are given twice, or
// are empty: each of these is a request that would not do what it says.
func parseParams(raw string, known []string) (params, error) {
	q, err := url.ParseQuery(raw)
	if err != nil {
		return params{}, wrong(TypeBadRequest, "", raw, "query: "+err.Error())
	}
	for name, values := range q {
		switch {
		case !slices.Contains(known, name):
			return params{}, wrong(TypeBadRequest, name, values[0], "unknown query parameter")
		case len(values) > 1 && !slices.Contains(repeatable, name):
			return params{}, wrong(TypeBadRequest, name, values[1], "query parameter given twice")
		case slices.Contains(values, ""):
			return params{}, wrong(TypeBadRequest, name, "", "query parameter without a value")
		}
	}
	return params{q}, nil
}

func (p params) bool(name string) (bool, error) {
	switch v := p.Get(name); v {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	default:
		return false, wrong(TypeBadRequest, name, v, "must be true or false")
	}
}

// int returns a number from least to most.
func (p params) int(name string, least, most int64) (int64, error) {
	v := p.Get(name)
	if v == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < least || n > most || v[0] == '+' {
		return 0, wrong(TypeBadRequest, name, v, fmt.Sprintf("must be a whole number from %d to %d", least, most))
	}
	return n, nil
}

// word returns one of allowed.
func (p params) word(name string, allowed ...string) (string, error) {
	v := p.Get(name)
	if v != "" && !slices.Contains(allowed, v) {
		return "", wrong(TypeBadRequest, name, v, "must be one of "+strings.Join(allowed, ", "))
	}
	return v, nil
}

func (p params) time(name string) (time.Time, error) {
	v := p.Get(name)
	if v == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, v)
	if err != nil || t.IsZero() {
		return time.Time{}, wrong(TypeBadRequest, name, v, `must be a time as in RFC 3339, "2026-01-02T15:04:05Z"; a "+" in it is written %2B`)
	}
	return t, nil
}

// duration returns a duration from 0 to most.
func (p params) duration(name string, most time.Duration) (time.Duration, error) {
	v := p.Get(name)
	if v == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 || d > most {
		return 0, wrong(TypeBadRequest, name, v, fmt.Sprintf(`must be a duration such as "10s", from 0s to %s`, most))
	}
	return d, nil
}

// pairs returns parameters of the form k=v.
func (p params) pairs(name string) (map[string]string, error) {
	m := make(map[string]string)
	for _, v := range p.Values[name] {
		key, value, ok := strings.Cut(v, "=")
		if _, twice := m[key]; !ok || key == "" || twice {
			return nil, wrong(TypeBadRequest, name, v, "must be name=value, each name once")
		}
		m[key] = value
	}
	return m, nil
}
