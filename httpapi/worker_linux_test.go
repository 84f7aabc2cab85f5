package httpapi_test

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"jobworker/httpapi"
	"jobworker/job"
)

// newChangedFixture serves a worker of its own configuration.
func newChangedFixture(t testing.TB, change func(*job.Config)) *fixture {
	return newFixture(t, func(c *httpapi.Config) {
		c.Worker = newWorker(t, c.Log, change)
		c.Terminate = func() {}
	})
}

// TestWorkerStates walks the state machine from both initial states: what each
// command answers, and whether a data command is taken then.
func TestWorkerStates(t *testing.T) {
	type step struct{ command, answer, ping string }
	for _, test := range []struct {
		unready bool
		initial httpapi.WorkerState
		steps   []step
	}{
		{false, httpapi.Ready, []step{
			{"start", "ready", "ok"}, {"stop", "unready changed", "unready"}, {"stop", "unready", "unready"},
			{"start", "ready changed", "ok"}, {"start", "ready", "ok"},
			{"terminate", "terminating changed", "shutting-down"}, {"terminate", "terminating", "shutting-down"},
			{"start", "shutting-down", "shutting-down"}, {"stop", "shutting-down", "shutting-down"}, {"terminate", "terminating", "shutting-down"},
		}},
		{true, httpapi.Unready, []step{
			{"stop", "unready", "unready"}, {"start", "ready changed", "ok"}, {"stop", "unready changed", "unready"},
			{"terminate", "terminating changed", "shutting-down"}, {"start", "shutting-down", "shutting-down"},
		}},
	} {
		f := newChangedFixture(t, func(c *job.Config) { c.Unready = test.unready })
		c := f.client("alice", admin)
		f.in(c, test.initial)
		commands := map[string]func(context.Context) (httpapi.WorkerChange, error){
			"start": c.StartWorker, "stop": c.StopWorker, "terminate": c.TerminateWorker,
		}
		for i, s := range test.steps {
			change, err := commands[s.command](t.Context())
			if got := answer(change, err); got != s.answer {
				t.Errorf("from %s, step %d, %s: %s, want %s", test.initial, i, s.command, got, s.answer)
			}
			_, err = c.Ping(t.Context())
			if got := kind(err); got != s.ping {
				t.Errorf("from %s, step %d, then ping: %s, want %s", test.initial, i, got, s.ping)
			}
			if err == nil {
				f.in(c, change.State)
			}
		}
		for _, line := range []string{`"user":"alice"`, `"action":"worker.start"`, `"action":"worker.ping"`} {
			f.logs.await(t, `"audit"`, line)
		}
	}
}

// in asserts the worker's state.
func (f *fixture) in(c *httpapi.Client, want httpapi.WorkerState) {
	f.Helper()
	if w, err := c.Worker(f.Context()); err != nil || w.State != want {
		f.Errorf("worker %+v, %v; want it %s", w, err, want)
	}
}

func answer(c httpapi.WorkerChange, err error) string {
	switch {
	case err != nil:
		return kind(err)
	case c.Changed:
		return string(c.State) + " changed"
	}
	return string(c.State)
}

// kind is the type of the problem that err is.
func kind(err error) string {
	if err == nil {
		return "ok"
	}
	if p, ok := errors.AsType[*httpapi.Problem](err); ok {
		return p.Type
	}
	return err.Error()
}

// TestUnready: a worker that is not ready refuses what makes new work, says what to
// do, and everything about the work that it has goes on.
func TestUnready(t *testing.T) {
	f := newFixture(t, nil)
	c := f.client("alice", admin)
	j := f.startReady(c, shell("echo ready; exec sleep 1000"))
	if _, err := c.StopWorker(t.Context()); err != nil {
		t.Fatal(err)
	}
	refused := map[string]func() error{
		"ping": func() error { _, err := c.Ping(t.Context()); return err },
		"calculate": func() error {
			_, err := c.Calculate(t.Context(), httpapi.CalculateRequest{Seconds: 1, Message: "x"}, "")
			return err
		},
		"start":         func() error { _, err := c.Start(t.Context(), shell("true"), ""); return err },
		"start of none": func() error { _, err := c.Start(t.Context(), httpapi.Spec{}, ""); return err },
		"run": func() error {
			s, err := c.Run(t.Context(), shell("true"), "")
			if err == nil {
				s.Close()
			}
			return err
		},
	}
	for name, do := range refused {
		p := problem(t, do(), httpapi.TypeUnready)
		if p.Status != http.StatusConflict || !strings.Contains(p.Detail, "is unready") || !strings.Contains(p.Detail, "type start in jobcli console") {
			t.Errorf("%s: %+v", name, p)
		}
	}
	served := map[string]error{
		"signal": c.Signal(t.Context(), j.ID, "WINCH"),
		"live":   c.Live(t.Context()),
	}
	_, served["status"] = c.Status(t.Context(), j.ID)
	_, served["list"] = c.List(t.Context(), httpapi.ListOptions{})
	s, err := c.Output(t.Context(), j.ID, httpapi.OutputOptions{})
	if served["output"] = err; err == nil {
		s.Close()
	}
	_, served["stop"] = c.Stop(t.Context(), j.ID, httpapi.StopRequest{})
	served["remove"] = c.Remove(t.Context(), j.ID)
	for name, err := range served {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Who may not is told so first.
	_, err = f.client("eve", viewer).Ping(t.Context())
	problem(t, err, httpapi.TypeForbidden)
}

// TestWorkerRights: who may command the worker.
func TestWorkerRights(t *testing.T) {
	f := newChangedFixture(t, func(*job.Config) {})
	rows := []struct {
		name  string
		do    func(c *httpapi.Client) error
		roles []string // that may
	}{
		{"worker", func(c *httpapi.Client) error { _, err := c.Worker(t.Context()); return err }, []string{admin, operator, viewer}},
		{"ping", func(c *httpapi.Client) error { _, err := c.Ping(t.Context()); return err }, []string{admin, operator}},
		{"calculate", func(c *httpapi.Client) error {
			_, err := c.Calculate(t.Context(), httpapi.CalculateRequest{}, "")
			return err
		}, []string{admin, operator}},
		{"start", func(c *httpapi.Client) error { _, err := c.StartWorker(t.Context()); return err }, []string{admin}},
		{"events", func(c *httpapi.Client) error {
			s, err := c.Events(t.Context(), 0)
			if err == nil {
				s.Close()
			}
			return err
		}, []string{admin, operator, viewer}},
		{"stop", func(c *httpapi.Client) error { _, err := c.StopWorker(t.Context()); return err }, []string{admin}},
		{"terminate", func(c *httpapi.Client) error { _, err := c.TerminateWorker(t.Context()); return err }, []string{admin}},
	}
	for _, role := range []string{"nobody", viewer, operator, admin} {
		c := f.client("someone", role)
		for _, row := range rows {
			want := httpapi.TypeForbidden
			for _, r := range row.roles {
				if r == role {
					want = "ok"
				}
			}
			if got := kind(row.do(c)); got != want {
				t.Errorf("%s by %s: %s, want %s", row.name, role, got, want)
			}
		}
	}
}

// TestPing: the answer is the time as an integer.
func TestPing(t *testing.T) {
	f := newFixture(t, nil)
	before := time.Now().Unix()
	got, err := f.client("alice", operator).Ping(t.Context())
	if after := time.Now().Unix(); err != nil || got < before || got > after {
		t.Errorf("ping: %d, %v; want %d to %d", got, err, before, after)
	}
}

// TestTerminate: the answer is on its way before the end begins, which is told once.
func TestTerminate(t *testing.T) {
	for _, proto := range protocols {
		t.Run(proto, func(t *testing.T) {
			begun := make(chan struct{}, 10)
			answered := make(chan struct{})
			f := newFixture(t, func(c *httpapi.Config) {
				c.Terminate = func() { <-answered; begun <- struct{}{} }
			})
			req, err := http.NewRequestWithContext(t.Context(), "POST", f.url()+"/v1/worker/terminate", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := f.plain(proto, f.identity("alice", 0, admin)).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			line, err := bufio.NewReader(resp.Body).ReadString('\n')
			if want := `{"state":"terminating","changed":true}` + "\n"; err != nil || line != want {
				t.Errorf("answer %q, %v, want %q", line, err, want)
			}
			close(answered)
			<-begun
			c := f.client("alice", admin)
			for range 3 {
				if change, err := c.TerminateWorker(t.Context()); err != nil || change.Changed {
					t.Errorf("once more: %+v, %v", change, err)
				}
			}
			if len(begun) != 0 {
				t.Error("the end began twice")
			}
			f.logs.await(t, `"action":"worker.terminate"`, `"user":"alice"`, `"allow"`)
		})
	}
}

// TestWorkerRaces: commands from everywhere at once leave one consistent story, and
// nothing starts after the end.
func TestWorkerRaces(t *testing.T) {
	f := newChangedFixture(t, func(*job.Config) {})
	events, err := f.worker.Events(f.worker.Info().Event)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var changes atomic.Int64
	until := func(end string, do func(context.Context) (httpapi.WorkerChange, error)) {
		toTheEnd(t, end, func() (string, error) {
			change, err := do(t.Context())
			if change.Changed {
				changes.Add(1)
			}
			return answer(change, err), err
		})
	}
	for _, user := range []string{"alice", "bob", "carol"} {
		c := f.client(user, admin)
		wg.Go(func() { until(httpapi.TypeShuttingDown, c.StartWorker) })
		wg.Go(func() { until(httpapi.TypeShuttingDown, c.StopWorker) })
		wg.Go(func() {
			toTheEnd(t, httpapi.TypeShuttingDown, func() (string, error) {
				_, err := c.Calculate(t.Context(), httpapi.CalculateRequest{}, "")
				return kind(err), err
			})
		})
	}
	told := story(t, events, func() {
		for _, user := range []string{"dave", "eve"} {
			c := f.client(user, admin)
			wg.Go(func() { until("terminating", c.TerminateWorker) })
		}
	})
	wg.Wait()
	if told != changes.Load() {
		t.Errorf("%d changes were told, %d answered", told, changes.Load())
	}
	if err := f.worker.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	if i := f.worker.Info(); i.State != httpapi.Terminating || i.Jobs != 0 || i.Calculating != 0 {
		t.Errorf("in the end: %+v", i)
	}
}

// toTheEnd does something over and over until the answer is end. No answer may be an
// error but that the worker is unready or shutting down.
func toTheEnd(t *testing.T, end string, do func() (string, error)) {
	for {
		got, err := do()
		if k := kind(err); k != "ok" && k != httpapi.TypeUnready && k != httpapi.TypeShuttingDown {
			t.Error(err)
			return
		}
		if got == end {
			return
		}
	}
}

// story reads events until the worker is terminated, which terminate begins when some
// jobs have started, and returns how many changes of its state there were. Each has to be
// one.
func story(t *testing.T, events *job.Events, terminate func()) (changes int64) {
	t.Helper()
	state, started := job.WorkerReady, 0
	for state != job.WorkerTerminating {
		list, err := events.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list {
			switch {
			case e.Type == state:
				t.Errorf("%s twice", state)
			case e.Job == "":
				state = e.Type
				changes++
			case e.Type == job.JobStarted:
				if started++; started == 5 {
					terminate()
				}
			}
		}
	}
	return changes
}
