package httpapi_test

import (
	"errors"
	"io"
	"testing"

	"jobworker/httpapi"
	"jobworker/stream"
)

func TestRun(t *testing.T) {
	f := newFixture(t, nil)
	c := f.client("alice", operator)
	s, err := c.Run(t.Context(), shell("echo hello; echo oops >&2; exit 3"), "")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out := map[stream.Source]string{}
	var types []string
	var exit stream.Frame
	for {
		fr, err := s.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(types) == 0 || types[len(types)-1] != fr.Type {
			types = append(types, fr.Type)
		}
		out[fr.Stream] += string(fr.Data)
		if fr.Type == stream.TypeExit {
			exit = fr
		}
	}
	t.Log(types, out, exit.Verdict)
	_ = errors.Is
	_ = httpapi.Exited
}
