package main

import (
	"math"
	"strings"
	"testing"

	"jobworker/httpapi"
)

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{
		"1": 1, "67108864": 64 << 20, "512K": 512 << 10, "64M": 64 << 20, "64m": 64 << 20, "1G": 1 << 30, "2T": 2 << 40,
		"9223372036854775807": math.MaxInt64, "8388607T": 8388607 << 40,
	} {
		if got, err := parseSize(s); got != want || err != nil {
			t.Errorf("%q: %d, %v; want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "0", "0M", "-1", "+1", "M", "1.5G", "64MB", "64Mi", "6 4", "1e3", "0x10", "64MM", "1_000", "9223372036854775808", "8388608T", "٣"} {
		if got, err := parseSize(s); err == nil {
			t.Errorf("%q: accepted as %d", s, got)
		}
	}
}

// FuzzParseSize: what parses is positive, and its text means the same.
func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"1", "64M", "8388607T", "0", "-1K", "99999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := parseSize(s)
		if err != nil {
			return
		}
		if again, err := parseSize(bytesText(n)); n < 1 || again != n || err != nil {
			t.Errorf("%q: %d, then %q: %d, %v", s, n, bytesText(n), again, err)
		}
	})
}

func TestParseIO(t *testing.T) {
	for s, want := range map[string]httpapi.IOLimit{
		"/scratch:rbps=1M":                    {Path: "/scratch", ReadBPS: 1 << 20},
		"/:rbps=1M,wbps=2K,riops=100,wiops=5": {Path: "/", ReadBPS: 1 << 20, WriteBPS: 2 << 10, ReadIOPS: 100, WriteIOPS: 5},
		"/with:colon:wiops=1":                 {Path: "/with:colon", WriteIOPS: 1},
		"259:0:rbps=1":                        {Device: "259:0", ReadBPS: 1},
	} {
		if got, err := parseIO(s); got != want || err != nil {
			t.Errorf("%q: %+v, %v; want %+v", s, got, err, want)
		}
	}
	for _, s := range []string{"", ":", ":rbps=1", "/scratch", "/scratch:", "/scratch:rbps", "/scratch:rbps=", "/scratch:rbps=0", "/scratch:rbps=1,", "/scratch:bps=1", "/s:riops=1K", "/s:rbps=1,rbps=1"} {
		if got, err := parseIO(s); err == nil {
			t.Errorf("%q: accepted as %+v", s, got)
		}
	}
}

// FuzzParseIO: what parses has the same text again.
func FuzzParseIO(f *testing.F) {
	for _, s := range []string{"/scratch:rbps=1M,wiops=100", "259:0:wbps=1", "/a:b:riops=1", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, err := parseIO(s)
		if err != nil {
			return
		}
		if again, err := parseIO(ioText(l)); again != l || err != nil {
			t.Errorf("%q: %+v, then %q: %+v, %v", s, l, ioText(l), again, err)
		}
	})
}

func TestParseCPUs(t *testing.T) {
	for s, want := range map[string]float64{"0.5": 0.5, "2": 2, ".25": 0.25, "1.": 1} {
		if got, err := parseCPUs(s); got != want || err != nil {
			t.Errorf("%q: %v, %v; want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "0", "-1", "NaN", "inf", "1e3", "0x1p-2", "1/2", "50%", strings.Repeat("9", 400)} {
		if got, err := parseCPUs(s); err == nil {
			t.Errorf("%q: accepted as %v", s, got)
		}
	}
}
