package job

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"jobworker/cgroupv2"
	"jobworker/nsinit"
)

// fullRecord returns a record with something in every field.
func fullRecord() record {
	at := time.Date(2026, 11, 21, 20, 33, 28, 290e6, time.UTC)
	started, ended := at.Add(time.Millisecond), at.Add(time.Second)
	grace, code, memory := Duration(0), 3, int64(1<<20)
	return record{Version: recordVersion, ID: "abcdefghijklmnopqrstuvwxyz", Owner: "alice", Key: "k", State: Ended,
		Spec: Spec{Argv: []string{"sh", "-c", "exit 3"}, Env: map[string]string{"A": "ä", "a": ""}, Dir: "/tmp", Name: "n",
			Labels: map[string]string{"k": "v"}, Limits: Limits{CPUs: 0.5, IO: []IOLimit{{Path: "/scratch", ReadBPS: 4096}}},
			Timeout: Duration(time.Hour), StopSignal: "INT", Grace: &grace, Merge: true, Net: "host", Profile: "sandbox",
			User: "www-data", Rootfs: "/srv/root", Binds: []Bind{{Source: "/srv/data", Target: "/data", Write: true}}, Userns: true},
		UID: DefaultUIDBase, Boot: "b", CreatedAt: at, StartedAt: &started, EndedAt: &ended,
		Limits: Limits{CPUs: 0.5, Pids: 512}, Usage: cgroupv2.Usage{CPUSeconds: 0.25, MemoryBytes: &memory},
		OutputBytes: 42, Verdict: &Verdict{Reason: Exited, Code: &code}}
}

func encode(t testing.TB, r record) []byte {
	t.Helper()
	b, err := nsinit.Seal(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// startingRecord returns the record of a job that is about to start.
func startingRecord() record {
	r := fullRecord()
	r.State, r.StartedAt, r.EndedAt, r.Limits, r.Usage, r.OutputBytes, r.Verdict = Starting, nil, nil, Limits{}, cgroupv2.Usage{}, 0, nil
	return r
}

func TestRecords(t *testing.T) {
	for _, want := range []record{fullRecord(), startingRecord()} {
		dir := filepath.Join(t.TempDir(), want.ID)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		f, err := want.write(dir, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		if got, err := readRecord(dir); err != nil || !reflect.DeepEqual(*got, want) {
			t.Errorf("read %+v, %v\nwrote %+v", got, err, want)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
			t.Errorf("files %v, %v, want the record alone", entries, err)
		}
		other := filepath.Join(filepath.Dir(dir), strings.Repeat("b", idLen))
		if err := os.Rename(dir, other); err != nil {
			t.Fatal(err)
		}
		if _, err := readRecord(other); err == nil || !strings.Contains(err.Error(), want.ID) {
			t.Errorf("the record of another job: %v", err)
		}
	}
}

// TestRecordErrors: a record says what is wrong with it.
func TestRecordErrors(t *testing.T) {
	for _, tt := range []struct {
		change func(*record)
		want   string
	}{
		{func(r *record) { r.Version = 2 }, "version 2: was written by a newer version"},
		{func(r *record) { r.Version = 0 }, "version 0 is not 1"},
		{func(r *record) { r.ID = "x" }, `id "x"`},
		{func(r *record) { r.Owner = "" }, `owner: "": must be`},
		{func(r *record) { r.Owner = "a\n" }, `owner: "a\n": must be`},
		{func(r *record) { r.Key = "\x00" }, `idempotency key: "\x00": must be`},
		{func(r *record) { r.State = Running }, `state "running"`},
		{func(r *record) { r.Verdict = nil }, `state "ended"`},
		{func(r *record) { r.EndedAt = nil }, `state "ended"`},
		{func(r *record) { r.State = Starting }, `state "starting"`},
		{func(r *record) { r.State, r.Verdict = Starting, nil }, `state "starting"`},
		{func(r *record) { r.Verdict.Reason = "" }, `reason ""`},
		{func(r *record) { r.Verdict.Reason = "bored" }, `reason "bored"`},
		{func(r *record) { r.Spec.Argv = nil }, "argv: is missing"},
		{func(r *record) { r.UID = 0 }, "uid 0"},
		{func(r *record) { r.CreatedAt = time.Time{} }, "created_at"},
		{func(r *record) { r.OutputBytes = -1 }, "output_bytes -1"},
	} {
		r := fullRecord()
		tt.change(&r)
		if _, err := parseRecord(encode(t, r)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error %v, want %s", err, tt.want)
		}
	}
	good := string(encode(t, fullRecord()))
	unsealed, err := nsinit.Unseal([]byte(good))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []string{"", "\n", "null", "[]", `{}`, good + "x", good + good, string(unsealed), strings.Replace(good, `"uid"`, `"uib"`, 1), strings.Repeat("[", 1<<20)} {
		if r, err := parseRecord([]byte(b)); err == nil {
			t.Errorf("%.300s\nwas read as %+v", b, r)
		}
	}
}

// TestDamagedRecords: neither a part of a record nor one with a flipped bit is a record.
func TestDamagedRecords(t *testing.T) {
	for _, r := range []record{fullRecord(), startingRecord()} {
		b := encode(t, r)
		for n := range len(b) {
			if _, err := parseRecord(b[:n]); err == nil {
				t.Errorf("the first %d of %d bytes were accepted", n, len(b))
			}
		}
		for i := range b {
			for bit := range 8 {
				damaged := slices.Clone(b)
				damaged[i] ^= 1 << bit
				if r, err := parseRecord(damaged); err == nil {
					t.Errorf("bit %d of byte %d flipped: read as %+v", bit, i, r)
				}
			}
		}
	}
}

// FuzzParseRecord: a record that was accepted is read as it is written. The input is
// its object: behind a checksum nothing would be found.
func FuzzParseRecord(f *testing.F) {
	for _, r := range []record{fullRecord(), startingRecord()} {
		b, err := json.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		parseRecord(b) // as it is: does not panic
		line, err := nsinit.Seal(json.RawMessage(b))
		if err != nil {
			return
		}
		r, err := parseRecord(line)
		if err != nil {
			return
		}
		first := encode(t, *r)
		again, err := parseRecord(first)
		if err != nil {
			t.Fatalf("%s\nwritten as %s\nis refused: %v", b, first, err)
		}
		if second := encode(t, *again); string(second) != string(first) {
			t.Errorf("%s\nwritten as %s\nand then as %s", b, first, second)
		}
	})
}

// TestStopRequests: the last line that is whole counts.
func TestStopRequests(t *testing.T) {
	at := time.Date(2026, 11, 21, 20, 33, 28, 290e6, time.UTC)
	first := stopRequest{Version: recordVersion, Reason: Stopped, By: "bob", At: at, Kill: time.Hour, Signal: "SIGTERM"}
	last := first
	last.Sent = true
	dir := t.TempDir()
	if r, err := readStop(dir); r != nil || err != nil {
		t.Errorf("without a file: %+v, %v", r, err)
	}
	if err := errors.Join(first.append(dir), last.append(dir)); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, stopName))
	if err != nil {
		t.Fatal(err)
	}
	whole := bytes.IndexByte(b, '\n') + 1
	for n := range len(b) + 1 {
		want, torn := (*stopRequest)(nil), n != 0 && n != whole && n != len(b)
		switch {
		case n == len(b):
			want = &last
		case n >= whole:
			want = &first
		}
		if r, err := parseStop(b[:n]); !reflect.DeepEqual(r, want) || (err != nil) != torn {
			t.Errorf("%q: %+v, %v, want %+v", b[:n], r, err, want)
		}
	}
	for i := range b {
		damaged := slices.Clone(b)
		damaged[i] ^= 1
		if r, err := parseStop(damaged); err == nil || r != nil && *r != first && *r != last {
			t.Errorf("%q: %+v, %v", damaged, r, err)
		}
	}
}

// TestStopRequestErrors: a line that is in order has to make sense as well.
func TestStopRequestErrors(t *testing.T) {
	for _, r := range []stopRequest{
		{Version: 2, Reason: Stopped, Signal: "TERM"},
		{Version: 1, Reason: Exited, Signal: "TERM"},
		{Version: 1, Reason: Stopped, Signal: "NONE"},
	} {
		line, err := nsinit.Seal(r)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := parseStop(line); err == nil || got != nil {
			t.Errorf("%s: %+v, %v, want an error", line, got, err)
		}
	}
}
