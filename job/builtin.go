package job

import (
	"fmt"
	"strconv"
	"time"
)

// The arguments of a calculate.
const (
	calculateName = iota
	calculateSeconds
	calculateMessage
	calculateArgs
)

// calculate is the name of the only program that is built in.
const calculate = "calculate"

// MaxMessage is the longest message of a calculate, in bytes.
const MaxMessage = 4 << 10

// CalculateSpec returns the Spec of a calculate: a job that takes some seconds,
// then writes message and a newline to its standard output. Whether the values
// can be is for Spec.Validate and Worker.Start to say, as for every Spec.
func CalculateSpec(seconds float64, message string) Spec {
	return Spec{Builtin: true, Argv: []string{calculate, decimal(seconds), message}}
}

// decimal is the one notation of a number of seconds.
func decimal(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

func (s *Spec) checkBuiltin() error {
	if !s.Builtin {
		return nil
	}
	if s.Argv[calculateName] != calculate || len(s.Argv) != calculateArgs {
		return &FieldError{"argv", fmt.Sprintf("%.64q", s.Argv), `the only built-in program is ["calculate", SECONDS, MESSAGE]`}
	}
	arg := s.Argv[calculateSeconds]
	v, err := strconv.ParseFloat(arg, 64)
	if err != nil || decimal(v) != arg || arg[0] < '0' || arg[0] > '9' { // no sign, NaN or Inf
		return &FieldError{"argv[1]", quote(arg), `must be a number of seconds, 0 or more, written as in "90" or "0.5"`}
	}
	if m := s.Argv[calculateMessage]; len(m) > MaxMessage {
		return &FieldError{"argv[2]", quote(m), fmt.Sprintf("is longer than %d bytes", MaxMessage)}
	}
	if len(s.Env) > 0 {
		return &FieldError{Field: "env", Problem: "a built-in program has no environment"}
	}
	return nil
}

// checkCalculate refuses a calculate, already validated, that takes longer than
// most.
func (s *Spec) checkCalculate(most time.Duration) error {
	if !s.Builtin {
		return nil
	}
	arg := s.Argv[calculateSeconds]
	if v, err := strconv.ParseFloat(arg, 64); err != nil || v > most.Seconds() {
		return &FieldError{"argv[1]", quote(arg), fmt.Sprintf("must be at most %s here: %s", decimal(most.Seconds()), most)}
	}
	return nil
}
