package job

import (
	"encoding/json"
	"fmt"
	"time"
)

// A Duration is a time.Duration that is a string such as "1h30m" in JSON.
type Duration time.Duration

// String formats d as time.Duration does.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalJSON encodes d as a string.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON accepts the notation of time.ParseDuration.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf(`%s: a duration is a string such as "10s"`, b)
	}
	v, err := time.ParseDuration(s)
	if err != nil {
		return fmt.Errorf(`%s: a duration is a number with a unit, as in "10s" or "1h30m"`, quote(s))
	}
	*d = Duration(v)
	return nil
}
