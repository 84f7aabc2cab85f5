package job

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"jobworker/internal/failpoint"
	"jobworker/nsinit"
)

// recordVersion is the version of the records that this package writes.
const recordVersion = 1

// A record is what is on disk about a job, in record.json.
type record struct {
	Version     int        `json:"v"`
	ID          string     `json:"id"`
	Owner       string     `json:"owner"`
	Key         string     `json:"key,omitempty"`
	State       State      `json:"state"` // starting or ended: what is between is known by exit.json, stop.jsonl and whether nsinit lives
	Spec        Spec       `json:"spec"`
	UID         uint32     `json:"uid"`
	Boot        string     `json:"boot"` // of /proc/sys/kernel/random/boot_id
	CreatedAt   time.Time  `json:"created_at"`
	StartedAt   *time.Time `json:"started_at,omitempty"`
	EndedAt     *time.Time `json:"ended_at,omitempty"`
	Limits      Limits     `json:"limits,omitzero"` // in force
	Usage       Usage      `json:"usage"`
	OutputBytes int64      `json:"output_bytes"`
	StdinBytes  int64      `json:"stdin_bytes,omitempty"`
	Verdict     *Verdict   `json:"verdict,omitempty"`
}

const (
	recordName = "record.json"
	tempName   = recordName + ".tmp" // until it is whole
)

// write puts r in place of the record in dir. A crash of this process leaves the
// old one or the new one; so does a power cut, if synced says to wait for the
// disk first. The file is returned open, for syncRecord.
func (r *record) write(dir string, synced bool) (*os.File, error) {
	line, err := nsinit.Seal(r)
	if err != nil {
		return nil, fmt.Errorf("write record: %w", err)
	}
	temp := filepath.Join(dir, tempName)
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("write record: %w", err)
	}
	if _, err := f.Write(line); err != nil {
		return nil, errors.Join(fmt.Errorf("write record: %w", err), f.Close())
	}
	if synced {
		if err := f.Sync(); err != nil {
			return nil, errors.Join(fmt.Errorf("write record: %w", err), f.Close())
		}
	}
	if r.State == Ended {
		failpoint.Here("end.temp")
	} else {
		failpoint.Here("start.temp")
	}
	if err := os.Rename(temp, filepath.Join(dir, recordName)); err != nil {
		return nil, errors.Join(fmt.Errorf("write record: %w", err), f.Close())
	}
	return f, nil
}

// syncRecord makes the record f, and the names of dir and of the record in it,
// survive a power cut.
func syncRecord(f *os.File, dir string) error {
	return errors.Join(f.Sync(), syncDir(dir), syncDir(filepath.Dir(dir)))
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// readRecord reads the record in dir, which must be that of the job dir is
// named after.
func readRecord(dir string) (*record, error) {
	name := filepath.Join(dir, recordName)
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	r, err := parseRecord(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if r.ID != filepath.Base(dir) {
		return nil, fmt.Errorf("%s: is the record of job %q", name, r.ID)
	}
	return r, nil
}

// errNewer is why a record is left to the program that wrote it.
var errNewer = errors.New("was written by a newer version of this program, which can read it")

// parseRecord reads what write has written, and nothing else: a damaged record
// must not give a job to another owner, or its user id to another job.
func parseRecord(b []byte) (*record, error) {
	var any struct {
		Version int `json:"v"`
	}
	if err := json.Unmarshal(b, &any); err == nil && any.Version > recordVersion {
		return nil, fmt.Errorf("version %d: %w", any.Version, errNewer)
	}
	object, err := nsinit.Unseal(b)
	if err != nil {
		return nil, err
	}
	var r record
	dec := json.NewDecoder(bytes.NewReader(object))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("goes on after its end")
	}
	if err := r.validate(); err != nil {
		return nil, err
	}
	return &r, nil
}

func (r *record) validate() error {
	_, validID := ParseID(r.ID)
	ended := r.State == Ended
	switch {
	case r.Version != recordVersion:
		return fmt.Errorf("version %d is not %d", r.Version, recordVersion)
	case !validID:
		return fmt.Errorf("id %s: is none", quote(r.ID))
	case r.State != Starting && r.State != Ended:
		return fmt.Errorf("state %q: must be %s or %s", r.State, Starting, Ended)
	case ended != (r.Verdict != nil) || ended != (r.EndedAt != nil):
		return fmt.Errorf("state %q: does not go with its verdict", r.State)
	case ended && !slices.Contains(reasons, r.Verdict.Reason):
		return fmt.Errorf("verdict: reason %q: unknown", r.Verdict.Reason)
	case r.UID < minUID:
		return fmt.Errorf("uid %d: must be %d or more", r.UID, minUID)
	case r.CreatedAt.IsZero():
		return errors.New("created_at: is missing")
	case r.OutputBytes < 0:
		return fmt.Errorf("output_bytes %d: is negative", r.OutputBytes)
	case r.StdinBytes < 0:
		return fmt.Errorf("stdin_bytes %d: is negative", r.StdinBytes)
	}
	o := StartOptions{Owner: r.Owner, Key: r.Key, Spec: r.Spec}
	return o.validate()
}

// reasons are those that a verdict may have.
var reasons = []string{OOMKilled, OutputLimit, TimedOut, Stopped, Signaled, Exited, StartFailed, Lost}
