package nsinit_test

import (
	"bytes"
	"os"
	"os/exec"
	"testing"
)

// TestCalculateByHand: who runs the binary by the name of a built-in program gets that
// program and nothing else.
func TestCalculateByHand(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	for _, tt := range []struct {
		args   []string
		stdout *os.File // nil: kept
		code   int
		want   string
	}{
		{[]string{"0", "hi"}, nil, 0, "hi\n"},
		{[]string{"0.01", ""}, nil, 0, "\n"},
		{[]string{"0", "a\nb\x1b"}, nil, 0, "a\nb\x1b\n"},
		{[]string{"0", "hi"}, full, 1, ""},
		{nil, nil, 2, ""},
		{[]string{"0"}, nil, 2, ""},
		{[]string{"soon", "hi"}, nil, 2, ""},
	} {
		var out, errs bytes.Buffer
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
		cmd.Args = append([]string{"jobworker-calculate"}, tt.args...)
		cmd.Stdout, cmd.Stderr = &out, &errs
		if tt.stdout != nil {
			cmd.Stdout = tt.stdout
		}
		err := cmd.Run()
		if code := cmd.ProcessState.ExitCode(); code != tt.code || out.String() != tt.want || (code == 0) != (errs.Len() == 0) {
			t.Errorf("%q: %v, %q, %q; want status %d, %q", tt.args, err, &out, &errs, tt.code, tt.want)
		}
	}
}
