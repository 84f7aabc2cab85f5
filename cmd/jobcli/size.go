package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"jobworker/httpapi"
)

// sizeUnits are the suffixes of sizes, the largest first.
var sizeUnits = [...]struct {
	name  string
	bytes int64
}{{"T", 1 << 40}, {"G", 1 << 30}, {"M", 1 << 20}, {"K", 1 << 10}}

// parseSize reads a positive number of bytes, as in "67108864", "64M" or "1G".
func parseSize(s string) (int64, error) {
	digits, unit := s, int64(1)
	for _, u := range sizeUnits {
		if d, ok := strings.CutSuffix(strings.ToUpper(s), u.name); ok {
			digits, unit = d, u.bytes
		}
	}
	n, err := parseCount(digits)
	if err != nil {
		return 0, errors.New("must be a number of bytes above 0, as in 512K, 64M or 1G")
	}
	if n > math.MaxInt64/unit {
		return 0, errors.New("is more than 64 bits can hold")
	}
	return n * unit, nil
}

// parseCount reads a positive whole number in decimal digits alone.
func parseCount(s string) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 || s[0] == '+' {
		return 0, errors.New("must be a whole number above 0")
	}
	return n, nil
}

// parseIO reads a limit of one disk, as in "/scratch:rbps=1M,wiops=100". A disk that
// is no path is "major:minor".
func parseIO(s string) (httpapi.IOLimit, error) {
	var l httpapi.IOLimit
	i := strings.LastIndexByte(s, ':') // of the rates: a path may have colons
	if i < 1 {
		return l, errors.New("must be PATH:rbps=1M,wbps=1M,riops=100,wiops=100")
	}
	if disk := s[:i]; disk[0] == '/' {
		l.Path = disk
	} else {
		l.Device = disk
	}
	for rate := range strings.SplitSeq(s[i+1:], ",") {
		if err := setRate(&l, rate); err != nil {
			return l, err
		}
	}
	return l, nil
}

func setRate(l *httpapi.IOLimit, rate string) error {
	name, value, _ := strings.Cut(rate, "=")
	fields := map[string]struct {
		field *int64
		parse func(string) (int64, error)
	}{
		"rbps": {&l.ReadBPS, parseSize}, "wbps": {&l.WriteBPS, parseSize},
		"riops": {&l.ReadIOPS, parseCount}, "wiops": {&l.WriteIOPS, parseCount},
	}
	f, ok := fields[name]
	if !ok {
		return fmt.Errorf("%q: must be rbps, wbps, riops or wiops, '=' and a number", rate)
	}
	if *f.field != 0 {
		return fmt.Errorf("%q: is given twice", name)
	}
	n, err := f.parse(value)
	if err != nil {
		return fmt.Errorf("%q: %w", rate, err)
	}
	*f.field = n
	return nil
}
