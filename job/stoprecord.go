package job

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"jobworker/nsinit"
)

// A stopRequest is a line of the file stop.jsonl of a job that is being stopped: what
// the next worker needs to go on with it. The last line counts. The record itself is
// left alone, which is on disk and has to stay whole; after a power cut there is
// nothing to stop any more, so these lines are not synced.
type stopRequest struct {
	Version int           `json:"v"` // recordVersion
	Reason  string        `json:"reason"`
	By      string        `json:"by,omitempty"`
	At      time.Time     `json:"at"`             // of the first request
	Kill    time.Duration `json:"kill_clock_ns"`  // when the payload is killed, by nsinit.Clock
	Signal  string        `json:"signal"`         // of this request
	Sent    bool          `json:"sent,omitempty"` // the main process has been sent it
}

const stopName = "stop.jsonl"

// append adds r to the stop requests in dir.
func (r *stopRequest) append(dir string) error {
	line, err := nsinit.Seal(r)
	if err != nil {
		return fmt.Errorf("write stop request: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, stopName), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("write stop request: %w", err)
	}
	_, err = f.Write(line)
	return errors.Join(err, f.Close())
}

// readStop returns the last stop request in dir, or nil if there is none. Lines that
// are not as they were written are passed over, and the error says so.
func readStop(dir string) (*stopRequest, error) {
	b, err := os.ReadFile(filepath.Join(dir, stopName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseStop(b)
}

func parseStop(b []byte) (last *stopRequest, err error) {
	for line := range bytes.Lines(b) {
		r, lineErr := parseStopLine(line)
		if lineErr != nil {
			err = errors.Join(err, fmt.Errorf("stop request: %.200q: %w", line, lineErr))
			continue
		}
		last = r
	}
	return last, err
}

func parseStopLine(line []byte) (*stopRequest, error) {
	object, err := nsinit.Unseal(line)
	if err != nil {
		return nil, err
	}
	var r stopRequest
	if err := json.Unmarshal(object, &r); err != nil {
		return nil, err
	}
	switch _, sigErr := ParseSignal(r.Signal); {
	case r.Version != recordVersion:
		return nil, fmt.Errorf("version %d is not %d", r.Version, recordVersion)
	case r.Reason != Stopped && r.Reason != TimedOut:
		return nil, fmt.Errorf("reason %q: must be %s or %s", r.Reason, Stopped, TimedOut)
	case sigErr != nil:
		return nil, sigErr
	}
	return &r, nil
}
