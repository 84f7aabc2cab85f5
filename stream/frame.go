package stream

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"
	"unicode/utf8"
)

// MaxFrame is the largest payload of one output frame, in bytes. It is what one read of a pipe returns at
// most (its default capacity on Linux, pipe(7)).
const MaxFrame = 64 << 10

// MaxLine is the longest line a log may hold, in bytes, newline included. An output line never comes near it
// (64 KiB of control characters take 384 KiB); it bounds the start frame and what a corrupt log can make a
// reader hold in memory.
const MaxLine = 4 << 20

// Version is the format written in every start frame.
const Version = 1

// Source is where output came from. The zero value means both in a Query and is refused in a frame.
type Source string

// The two sources of output.
const (
	Stdout Source = "stdout"
	Stderr Source = "stderr"
)

// The types of frames.
const (
	TypeStart  = "start"  // first line of a log
	TypeOutput = "output" // bytes of the job
	TypeGap    = "gap"    // bytes that are not there
	TypeExit   = "exit"   // last line of the log of a job that is over
	TypePing   = "ping"   // sent on an idle stream, never stored
	TypeEnd    = "end"    // last line of a complete response, never stored
)

// The reasons of an end frame.
const (
	EndComplete = "complete" // the job is over and this was its last output
	EndSnapshot = "snapshot" // the job goes on; this was its output so far
	EndLimit    = "limit"    // as many bytes as were asked for
	EndShutdown = "shutdown" // the worker is going down
)

// The reasons of the gap frames this package makes; callers of Writer.Gap may use others.
const (
	GapNoSpace     = "no_space"     // the file system or quota was full, or its reserve touched
	GapOutputLimit = "output_limit" // the log had reached its Cap
	GapWriteError  = "write_error"  // any other failed write
	GapMissing     = "missing"      // the log holds NULs instead: a hole, where the newest is kept, or a power cut
)

// Frame is one decoded line. Which fields a type uses is written beside them; the others are zero.
type Frame struct {
	Type string

	V    int       // start: the format's version
	Job  string    // start: the job's id
	Argv []string  // start: what it runs, never empty
	Time time.Time // start, output, exit; UTC, nanoseconds

	Stream Source // output
	Offset int64  // output, gap, exit: bytes of output, both streams, before this frame
	Data   []byte // output: the payload, 1 to MaxFrame bytes, whichever of text and data carried it

	Bytes  int64  // gap: how many bytes are missing, at least 1
	Next   int64  // end: the offset to resume at
	Reason string // gap, end; exit: the same as Verdict.Reason

	Verdict *Verdict        // exit
	Usage   json.RawMessage // exit: a JSON object of resources used, or nil
}

// Verdict says how a job ended: one word and its facts. In an exit frame its fields are inlined.
type Verdict struct {
	// Reason is exited, signaled, oom_killed, timed_out, stopped, output_limit, start_failed or lost.
	Reason string `json:"reason"`
	Code   *int   `json:"code,omitempty"`   // exit code; nil where there is none
	Signal string `json:"signal,omitempty"` // "SIGKILL"; "" where there was none
	By     string `json:"by,omitempty"`     // who stopped it
	Stage  string `json:"stage,omitempty"`  // where the start failed or the job was lost
	Error  string `json:"error,omitempty"`  // the cause, for people
}

// Append appends the canonical line of f, newline included, to dst. Decode gives f back; bytes of its strings
// that are not UTF-8 become U+FFFD (payload is kept as it is). It panics on a frame that cannot be: a type that
// does not exist, a negative offset, a payload that is empty or over MaxFrame.
func (f Frame) Append(dst []byte) []byte {
	e := newEncoder(dst)
	if err := e.frame(&f); err != nil {
		panic("stream: append: " + err.Error())
	}
	return e.buf
}

// check holds the rules that every frame keeps, written or read.
func (f *Frame) check() error {
	switch f.Type {
	case TypeStart:
		return f.checkStart()
	case TypeOutput:
		return f.checkOutput()
	case TypeGap:
		if f.Bytes < 1 || f.Offset < 0 || f.Bytes > math.MaxInt64-f.Offset {
			return fmt.Errorf("gap: %d bytes at offset %d: out of range", f.Bytes, f.Offset)
		}
	case TypeExit:
		return f.checkExit()
	case TypeEnd:
		if f.Next < 0 {
			return fmt.Errorf("end: next %d: negative", f.Next)
		}
	case TypePing:
	default:
		return fmt.Errorf("type %q: unknown", f.Type)
	}
	return nil
}

func (f *Frame) checkStart() error {
	if f.V != Version {
		return fmt.Errorf("start: v %d: not %d", f.V, Version)
	}
	if len(f.Argv) == 0 {
		return errors.New("start: argv: empty")
	}
	for i, a := range f.Argv {
		if !utf8.ValidString(a) {
			return fmt.Errorf("start: argv[%d]: %q: not UTF-8", i, a)
		}
	}
	return f.checkTime()
}

func (f *Frame) checkOutput() error {
	if f.Stream != Stdout && f.Stream != Stderr {
		return fmt.Errorf("output: stream %q: neither stdout nor stderr", f.Stream)
	}
	if n := len(f.Data); n < 1 || n > MaxFrame {
		return fmt.Errorf("output: %d bytes: not 1 to %d", n, MaxFrame)
	}
	if f.Offset < 0 || f.Offset > math.MaxInt64-MaxFrame {
		return fmt.Errorf("output: offset %d: out of range", f.Offset)
	}
	return f.checkTime()
}

func (f *Frame) checkExit() error {
	if f.Offset < 0 {
		return fmt.Errorf("exit: offset %d: negative", f.Offset)
	}
	if f.Verdict == nil || f.Verdict.Reason == "" {
		return errors.New("exit: reason: missing")
	}
	if f.Usage != nil && (len(f.Usage) < 2 || f.Usage[0] != '{' || !json.Valid(f.Usage)) {
		return fmt.Errorf("exit: usage %.100q: not a JSON object", f.Usage)
	}
	return f.checkTime()
}

// checkTime refuses what RFC 3339 cannot hold.
func (f *Frame) checkTime() error {
	if y := f.Time.UTC().Year(); y < 0 || y > 9999 {
		return fmt.Errorf("%s: time: year %d: out of range", f.Type, y)
	}
	return nil
}
