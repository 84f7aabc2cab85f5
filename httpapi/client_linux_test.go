package httpapi_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"jobworker/cgroupv2"
	"jobworker/httpapi"
	"jobworker/stream"
)

// received is what a stream carried, by source, with its frames' types in order.
type received struct {
	out     map[stream.Source]string
	types   string
	verdict *httpapi.Verdict
	end     stream.Frame
}

func receive(t testing.TB, s *httpapi.Stream) (r received) {
	t.Helper()
	r.out = make(map[stream.Source]string)
	last := ""
	for {
		fr, err := s.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if fr.Type != last {
			r.types += " " + fr.Type
		}
		last = fr.Type
		switch fr.Type {
		case stream.TypeOutput:
			r.out[fr.Stream] += string(fr.Data)
		case stream.TypeExit:
			r.verdict = fr.Verdict
		}
	}
	end, ok := s.End()
	if !ok || end.Next != s.Offset() {
		t.Errorf("end frame %+v (seen: %v), offset %d", end, ok, s.Offset())
	}
	r.end = end
	return r
}

func TestRun(t *testing.T) {
	f := newFixture(t, nil)
	s, err := f.client("alice", operator).Run(t.Context(), shell(`echo hello; echo oops >&2; exit 3`), "")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r := receive(t, s)
	if want := map[stream.Source]string{"stdout": "hello\n", "stderr": "oops\n"}; !maps.Equal(r.out, want) {
		t.Errorf("output %q, want %q", r.out, want)
	}
	if r.types != " start output exit end" || r.end.Reason != stream.EndComplete || r.end.Next != 11 {
		t.Errorf("frames%s, end %+v", r.types, r.end)
	}
	if r.verdict.Reason != httpapi.Exited || *r.verdict.Code != 3 {
		t.Errorf("verdict %+v", r.verdict)
	}
	if _, err := s.Next(); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
}

func TestOutput(t *testing.T) {
	f := newFixture(t, nil)
	c := f.client("alice", operator)
	const all = "one\ntwo\nthree\n"
	j := f.start(c, `printf 'one\ntwo\n'; sleep 0.3; printf 'three\n'`)
	f.ended(c, j.ID)
	since := f.timeOf(c, j.ID, "three\n")
	tests := map[string]struct {
		o      httpapi.OutputOptions
		want   string
		reason string
	}{
		"all":        {httpapi.OutputOptions{}, all, stream.EndComplete},
		"follow":     {httpapi.OutputOptions{Follow: true}, all, stream.EndComplete},
		"offset":     {httpapi.OutputOptions{Offset: 5}, all[5:], stream.EndComplete},
		"end":        {httpapi.OutputOptions{Offset: int64(len(all)), Follow: true}, "", stream.EndComplete},
		"tail":       {httpapi.OutputOptions{TailLines: 2}, "two\nthree\n", stream.EndComplete},
		"since":      {httpapi.OutputOptions{Since: since}, "three\n", stream.EndComplete},
		"since zone": {httpapi.OutputOptions{Since: since.In(time.FixedZone("", 7200))}, "three\n", stream.EndComplete},
		"limit":      {httpapi.OutputOptions{Limit: 6, Follow: true}, all[:6], stream.EndLimit},
		"stderr":     {httpapi.OutputOptions{Source: stream.Stderr}, "", stream.EndComplete},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, err := c.Output(t.Context(), j.ID, test.o)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			r := receive(t, s)
			if r.out[stream.Stdout] != test.want || r.end.Reason != test.reason {
				t.Errorf("%q, end %+v; want %q, %s", r.out, r.end, test.want, test.reason)
			}
		})
	}
	_, err := c.Output(t.Context(), j.ID, httpapi.OutputOptions{Offset: int64(len(all)) + 1})
	problem(t, err, httpapi.TypeOffset)
	_, err = c.Output(t.Context(), j.ID, httpapi.OutputOptions{Offset: -1})
	problem(t, err, httpapi.TypeBadRequest)
}

// timeOf returns when the job wrote data.
func (f *fixture) timeOf(c *httpapi.Client, id, data string) time.Time {
	f.Helper()
	s, err := c.Output(f.Context(), id, httpapi.OutputOptions{})
	if err != nil {
		f.Fatal(err)
	}
	defer s.Close()
	for {
		fr, err := s.Next()
		if err != nil {
			f.Fatalf("%q: %v", data, err)
		}
		if string(fr.Data) == data {
			return fr.Time
		}
	}
}

// A client that resumes where it was cut off has every byte once.
func TestResume(t *testing.T) {
	f := newFixture(t, nil)
	c := f.client("alice", operator)
	j := f.start(c, `i=0; while [ $i -lt 200 ]; do echo line $i; echo err $i >&2; i=$((i+1)); done`)
	whole := map[stream.Source]string{}
	offset, done := int64(0), false
	for cuts := 0; !done; cuts++ {
		s, err := c.Output(t.Context(), j.ID, httpapi.OutputOptions{Offset: offset, Follow: true})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			fr, err := s.Next()
			if err == io.EOF {
				done = true
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			whole[fr.Stream] += string(fr.Data)
		}
		offset = s.Offset()
		s.Close()
	}
	out, errs := "", ""
	for i := range 200 {
		out += "line " + strconv.Itoa(i) + "\n"
		errs += "err " + strconv.Itoa(i) + "\n"
	}
	if whole[stream.Stdout] != out || whole[stream.Stderr] != errs || offset != int64(len(out)+len(errs)) {
		t.Errorf("%d and %d bytes, offset %d; want %d and %d", len(whole[stream.Stdout]), len(whole[stream.Stderr]), offset, len(out), len(errs))
	}
}

func TestBinaryOutput(t *testing.T) {
	f := newFixture(t, nil)
	c := f.client("alice", operator)
	j := f.start(c, `head -c 300000 /dev/urandom | tee copy; cat copy >&2`)
	s, err := c.Output(t.Context(), j.ID, httpapi.OutputOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r := receive(t, s)
	if out := r.out[stream.Stdout]; len(out) != 300000 || out != r.out[stream.Stderr] {
		t.Errorf("%d bytes and %d bytes, want 300000 twice the same", len(out), len(r.out[stream.Stderr]))
	}
}

func TestStop(t *testing.T) {
	f := newFixture(t, nil)
	c := f.client("alice", operator)
	nothing := httpapi.Duration(0)
	for name, test := range map[string]struct {
		script string
		r      httpapi.StopRequest
		want   httpapi.Verdict
	}{
		"term":   {"sleep 1000", httpapi.StopRequest{}, httpapi.Verdict{Reason: httpapi.Stopped, Signal: "SIGTERM", By: "alice"}},
		"signal": {"exec sleep 1000", httpapi.StopRequest{Signal: "INT"}, httpapi.Verdict{Reason: httpapi.Stopped, Signal: "SIGINT", By: "alice"}},
		"kill":   {"trap '' TERM; echo ready; while :; do sleep 1000; done", httpapi.StopRequest{Grace: &nothing}, httpapi.Verdict{Reason: httpapi.Stopped, Signal: "SIGKILL", By: "alice"}},
	} {
		t.Run(name, func(t *testing.T) {
			id := f.start(c, test.script).ID
			if strings.Contains(test.script, "ready") {
				s, err := c.Output(t.Context(), id, httpapi.OutputOptions{Follow: true})
				if err != nil {
					t.Fatal(err)
				}
				awaitOutput(t, s, "ready\n")
				s.Close()
			}
			j, err := c.Stop(t.Context(), id, test.r)
			if err != nil || j.State != httpapi.Ended || *j.Verdict != test.want {
				t.Fatalf("%+v, %+v, %v; want %+v", j.State, j.Verdict, err, test.want)
			}
			again, err := c.Stop(t.Context(), id, httpapi.StopRequest{})
			if err != nil || *again.Verdict != test.want {
				t.Errorf("again: %+v, %v", again.Verdict, err)
			}
			problem(t, c.Signal(t.Context(), id, "TERM"), httpapi.TypeJobEnded)
		})
	}
}

// Who asks for a stop and hangs up has still stopped the job.
func TestStopOutlivesClient(t *testing.T) {
	f := newFixture(t, nil)
	c := f.client("alice", operator)
	id := f.start(c, "trap 'echo stopping' TERM; echo ready; while :; do sleep 0.01; done").ID
	follow, err := c.Output(t.Context(), id, httpapi.OutputOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer follow.Close()
	awaitOutput(t, follow, "ready\n")
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	grace := httpapi.Duration(time.Second)
	go func() {
		_, err := c.Stop(ctx, id, httpapi.StopRequest{Grace: &grace})
		stopped <- err
	}()
	awaitOutput(t, follow, "stopping\n")
	cancel()
	if err := <-stopped; !errors.Is(err, context.Canceled) {
		t.Errorf("stop: %v", err)
	}
	if j := f.ended(c, id); j.Verdict.Reason != httpapi.Stopped || j.Verdict.Signal != "SIGKILL" {
		t.Errorf("verdict %+v", j.Verdict)
	}
}

// awaitOutput reads s until it has carried data.
func awaitOutput(t testing.TB, s *httpapi.Stream, data string) {
	t.Helper()
	var all []byte
	for !bytes.Contains(all, []byte(data)) {
		fr, err := s.Next()
		if err != nil {
			t.Fatalf("%q: %v after %q", data, err, all)
		}
		all = append(all, fr.Data...)
	}
}

func TestWaitAndRemove(t *testing.T) {
	f := newFixture(t, nil)
	c := f.client("alice", operator)
	id := f.start(c, "sleep 1000").ID
	if j, err := c.Wait(t.Context(), id, time.Millisecond); err != nil || j.State != httpapi.Running {
		t.Errorf("wait: %v, %v", j.State, err)
	}
	problem(t, c.Remove(t.Context(), id), httpapi.TypeJobRunning)
	waited := make(chan httpapi.Job, 1)
	go func() {
		j, err := c.Wait(t.Context(), id, time.Hour) // as long as the server allows
		if err != nil {
			t.Error(err)
		}
		waited <- j
	}()
	if err := c.Signal(t.Context(), id, "KILL"); err != nil {
		t.Fatal(err)
	}
	j := <-waited
	if j.State != httpapi.Ended || j.Verdict.Reason != httpapi.Signaled || j.Verdict.Signal != "SIGKILL" {
		t.Errorf("after the wait: %v, %+v", j.State, j.Verdict)
	}
	if err := c.Remove(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	problem(t, c.Remove(t.Context(), id), httpapi.TypeNotFound)
}

// Many starts with one key are one job, and a key belongs to its user.
func TestIdempotentStart(t *testing.T) {
	f := newFixture(t, nil)
	alice, bob := f.client("alice", operator), f.client("bob", operator)
	ids := make(chan string)
	for range 50 {
		go func() {
			j, err := alice.Start(t.Context(), shell("sleep 1000"), "key")
			if err != nil {
				t.Error(err)
			}
			ids <- j.ID
		}()
	}
	id := <-ids
	for range 49 {
		if other := <-ids; other != id {
			t.Errorf("jobs %s and %s", id, other)
		}
	}
	_, err := alice.Start(t.Context(), shell("sleep 1001"), "key")
	problem(t, err, httpapi.TypeKeyReused)
	if j, err := bob.Start(t.Context(), shell("sleep 1001"), "key"); err != nil || j.ID == id {
		t.Errorf("bob's: %s, %v", j.ID, err)
	}
}

func TestList(t *testing.T) {
	f := newFixture(t, nil)
	c := f.client("alice", operator)
	var ids []string
	for i := range 5 {
		spec := shell("exit 0")
		spec.Labels = map[string]string{"parity": strconv.Itoa(i % 2), "n": strconv.Itoa(i)}
		j, err := c.Start(t.Context(), spec, "")
		if err != nil {
			t.Fatal(err)
		}
		f.ended(c, j.ID)
		ids = append([]string{j.ID}, ids...)
	}
	for _, test := range []struct {
		o    httpapi.ListOptions
		want []string
	}{
		{httpapi.ListOptions{}, ids},
		{httpapi.ListOptions{Limit: 2}, ids},
		{httpapi.ListOptions{Limit: 5}, ids},
		{httpapi.ListOptions{State: httpapi.Running}, nil},
		{httpapi.ListOptions{Owner: "alice", State: httpapi.Ended}, ids},
		{httpapi.ListOptions{Owner: "bob"}, nil},
		{httpapi.ListOptions{Labels: map[string]string{"parity": "1"}}, []string{ids[1], ids[3]}},
		{httpapi.ListOptions{Labels: map[string]string{"parity": "1", "n": "3"}, Limit: 1}, []string{ids[1]}},
		{httpapi.ListOptions{Labels: map[string]string{"parity": "1", "n": "2"}}, nil},
	} {
		if got := f.list(c, test.o); !slices.Equal(got, test.want) {
			t.Errorf("%+v: %v, want %v", test.o, got, test.want)
		}
	}
}

// list returns the ids of all pages.
func (f *fixture) list(c *httpapi.Client, o httpapi.ListOptions) (ids []string) {
	f.Helper()
	for {
		l, err := c.List(f.Context(), o)
		if err != nil {
			f.Fatal(err)
		}
		if o.Limit > 0 && len(l.Jobs) > o.Limit {
			f.Errorf("%d jobs on a page of %d", len(l.Jobs), o.Limit)
		}
		for _, j := range l.Jobs {
			ids = append(ids, j.ID)
		}
		if o.PageToken = l.NextPageToken; o.PageToken == "" {
			return ids
		}
	}
}

// A limit is in force as it was asked for, or refused by name.
func TestLimit(t *testing.T) {
	f := newFixture(t, nil)
	spec := shell("exit 0")
	spec.Limits.MemoryBytes = 64 << 20
	j, err := f.client("alice", operator).Start(t.Context(), spec, "")
	if slices.ContainsFunc(f.worker.Missing(), func(m cgroupv2.Missing) bool { return m.Controller == "memory" }) {
		if p := problem(t, err, httpapi.TypeLimitUnavailable); p.Status != 422 || p.Field != "limits.memory_bytes" || p.Detail == "" {
			t.Errorf("%+v", p)
		}
		return
	}
	if err != nil || j.Limits.MemoryBytes != 64<<20 {
		t.Errorf("limits %+v, %v", j.Limits, err)
	}
}
