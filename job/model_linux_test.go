package job_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"jobworker/internal/kerneltest"
	"jobworker/job"
	"jobworker/stream"
)

func init() { helpers["model"] = helper{true, helpModel} }

// A call is what the model test has its worker do, and an answer what came of it.
type call struct {
	Do   string // start, status, wait, stop, signal, output, list, remove, leave
	ID   string
	Spec job.Spec
}

type answer struct {
	Job    job.Job
	IDs    []string // list
	Output string
	Err    string
}

// helpModel answers calls until it is told to leave, or is killed.
func helpModel(w *job.Worker) error {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var c call
		if err := in.Decode(&c); err != nil {
			return err
		}
		if c.Do == "leave" {
			return w.Leave()
		}
		a, err := serve(w, c)
		if err != nil {
			a.Err = err.Error()
		}
		if err := out.Encode(a); err != nil {
			return err
		}
	}
}

func serve(w *job.Worker, c call) (a answer, err error) {
	ctx := context.Background()
	switch c.Do {
	case "start":
		a.Job, _, err = w.Start(ctx, job.StartOptions{Owner: "alice", Spec: c.Spec})
	case "status":
		a.Job, err = w.Status(c.ID)
	case "wait":
		a.Job, err = w.Wait(ctx, c.ID)
	case "stop":
		a.Job, err = w.Stop(ctx, c.ID, job.StopOptions{By: "bob"})
	case "signal":
		err = w.Signal(c.ID, "USR1", "bob")
	case "output":
		a.Output, err = snapshotOutput(ctx, w, c.ID)
	case "list":
		var jobs []job.Job
		jobs, err = allJobs(w)
		for _, j := range jobs {
			a.IDs = append(a.IDs, j.ID)
		}
	case "remove":
		err = w.Remove(ctx, c.ID, "bob")
	}
	return a, err
}

// snapshotOutput returns what a job has written so far.
func snapshotOutput(ctx context.Context, w *job.Worker, id string) (string, error) {
	r, err := w.Output(id, stream.Query{})
	if err != nil {
		return "", err
	}
	defer r.Close()
	var out []byte
	for {
		lines, err := r.Next(ctx)
		if err == io.EOF {
			return string(out), nil
		}
		if err != nil {
			return "", err
		}
		if out, err = stream.AppendPayload(out, lines); err != nil {
			return "", err
		}
	}
}

// A life is what the model knows of a job: it writes its code, and exits with that or
// waits for a signal.
type life struct {
	code      int
	exits     bool // by itself
	signalled bool // may have been sent SIGUSR1
	stopped   bool // has been asked to end
	verdict   string
	output    *string // all of it, once it was read after the end
}

// may returns the verdicts that are possible: what was asked of a job may have come
// after its end.
func (l *life) may() (may []string) {
	if l.verdict != "" {
		return []string{l.verdict}
	}
	if l.exits {
		may = append(may, fmt.Sprint("exited ", l.code))
	}
	if l.signalled {
		may = append(may, "signaled SIGUSR1")
	}
	if l.stopped {
		may = append(may, "stopped SIGTERM", "stopped SIGUSR1", fmt.Sprint("stopped ", l.code))
	}
	return may
}

// wrote reports whether out may be what the job has written.
func (l *life) wrote(out string) bool {
	whole := fmt.Sprintf("%d\n", l.code)
	switch {
	case l.output != nil:
		return out == *l.output
	case strings.HasSuffix(l.verdict, fmt.Sprint(" ", l.code)):
		return out == whole
	}
	return out == "" || out == whole // it may not have come to it yet, or a signal was faster
}

// A model runs a worker and says what it must answer.
type model struct {
	t      *testing.T
	rand   *rand.Rand
	site   *crashSite
	cmd    *exec.Cmd
	stderr *bytes.Buffer
	in     *json.Encoder
	stdin  io.Closer
	out    *json.Decoder
	lives  map[string]*life // by id
	order  []string         // their ids, by creation: not random, as ids are
	gone   string           // id of a job that was removed
	count  map[string]int
}

// modelSteps is how many steps the model test takes: MODEL_STEPS, or as many as there is
// time for in every run.
func modelSteps(t *testing.T) int {
	if s := os.Getenv("MODEL_STEPS"); s != "" {
		return number(t, "MODEL_STEPS", s)
	}
	if os.Getenv("KERNELTEST") == "vm" {
		return 2000
	}
	if raceBuilt() {
		return 10_000
	}
	return 100_000
}

func number(t *testing.T, name, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		t.Fatalf("%s=%q: must be a number", name, s)
	}
	return n
}

// TestModel takes random steps and compares what a worker answers with a small model of
// the life of a job. MODEL_SEED repeats the steps of a run, as far as jobs are as fast.
func TestModel(t *testing.T) {
	kerneltest.Root(t)
	seed := rand.IntN(1 << 30)
	if s := os.Getenv("MODEL_SEED"); s != "" {
		seed = number(t, "MODEL_SEED", s)
	}
	m := &model{t: t, rand: rand.New(rand.NewPCG(uint64(seed), 0)), lives: map[string]*life{}, count: map[string]int{},
		site: &crashSite{t: t, dir: tmpfsDir(t), root: cgroupRoot()}}
	m.open()
	t.Cleanup(func() { removeTree(t, m.site.root) })
	steps := modelSteps(t)
	for i := range steps {
		what := m.step()
		m.count[what]++
		if t.Failed() {
			t.Logf("at step %d, %s", i, what)
			break
		}
	}
	m.close(call{Do: "leave"})
	w := openWorker(t, m.site.dir, func(c *job.Config) { *c = m.site.config() })
	if jobs, err := allJobs(w); err != nil || len(jobs) != len(m.lives) {
		t.Errorf("%d jobs, %v, want %d", len(jobs), err, len(m.lives))
	}
	t.Logf("MODEL_SEED=%d MODEL_STEPS=%d: %v", seed, steps, m.count)
}

// open runs a worker.
func (m *model) open() {
	m.t.Helper()
	m.cmd, m.stderr = helperCommand(m.t, "model", m.site.config().StateDir, m.site.root)
	stdin, err := m.cmd.StdinPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	stdout, err := m.cmd.StdoutPipe()
	if err == nil {
		err = m.cmd.Start()
	}
	if err != nil {
		m.t.Fatal(err)
	}
	m.stdin, m.in, m.out = stdin, json.NewEncoder(stdin), json.NewDecoder(stdout)
}

// close has the worker leave, or with a call that is none kills it.
func (m *model) close(c call) {
	m.t.Helper()
	var err error
	if c.Do == "" {
		err = m.cmd.Process.Kill()
	} else {
		err = m.in.Encode(c)
	}
	m.cmd.Wait() // says that it was killed, or that its jobs have its standard error
	m.stdin.Close()
	if code := m.cmd.ProcessState.ExitCode(); err != nil || c.Do != "" && code != 0 {
		m.t.Fatalf("helper: %v, %v: %s", err, m.cmd.ProcessState, m.stderr)
	}
}

// ask returns the worker's answer.
func (m *model) ask(c call) (a answer) {
	m.t.Helper()
	if err := errors.Join(m.in.Encode(c), m.out.Decode(&a)); err != nil {
		m.cmd.Wait()
		m.t.Fatalf("%s: %v: %s", c.Do, err, m.stderr)
	}
	return a
}

// weights are how many of 10,000 steps are what. Those that take long are rare.
var weights = []struct {
	of10000 int
	do      string
}{{30, "start"}, {30, "remove"}, {25, "stop"}, {20, "signal"}, {20, "wait"}, {5, "restart"}, {5, "crash"}, {100, "list"}, {4000, "output"}, {5765, "status"}}

// step takes one step, and says what it was.
func (m *model) step() string {
	m.t.Helper()
	n := m.rand.IntN(10_000)
	do := ""
	for _, w := range weights {
		if n -= w.of10000; n < 0 {
			do = w.do
			break
		}
	}
	id := m.pick()
	switch {
	case do == "start" || id == "":
		m.start()
		return "start"
	case do == "list":
		m.list()
	case do == "restart":
		m.close(call{Do: "leave"})
		m.open()
	case do == "crash":
		m.close(call{})
		m.open()
	default:
		m.ofJob(do, id)
	}
	return do
}

// pick returns the id of any job, or once in a while that of one that is no more.
func (m *model) pick() string {
	if len(m.order) == 0 || m.rand.IntN(50) == 0 {
		return m.gone
	}
	return m.order[m.rand.IntN(len(m.order))]
}

func (m *model) start() {
	m.t.Helper()
	l := &life{exits: m.rand.IntN(2) == 0, code: m.rand.IntN(256)}
	script := fmt.Sprintf("echo %d; exec sleep 1000", l.code)
	if l.exits {
		script = fmt.Sprintf("echo %d; exit %d", l.code, l.code)
	}
	a := m.ask(call{Do: "start", Spec: sh(script)})
	if a.Err != "" || m.lives[a.Job.ID] != nil {
		m.t.Errorf("start: %+v", a)
		return
	}
	m.lives[a.Job.ID] = l
	m.order = append(m.order, a.Job.ID)
	m.see(a.Job, l)
}

func (m *model) list() {
	m.t.Helper()
	a := m.ask(call{Do: "list"})
	slices.Sort(a.IDs)
	if want := slices.Sorted(maps.Keys(m.lives)); a.Err != "" || !slices.Equal(a.IDs, want) {
		m.t.Errorf("list: %+v, want %q", a, want)
	}
}

// ofJob does something with a job.
func (m *model) ofJob(do, id string) {
	m.t.Helper()
	l := m.lives[id]
	if do == "wait" && l != nil && len(l.may()) == 0 {
		do = "status" // nothing would end it
	}
	a := m.ask(call{Do: do, ID: id})
	if l == nil {
		if a.Err != job.ErrNotFound.Error() {
			m.t.Errorf("%s of a job that is no more: %+v", do, a)
		}
		return
	}
	ended := a.Err == job.ErrEnded.Error() && len(l.may()) > 0
	running := a.Err == job.ErrRunning.Error() && l.verdict == ""
	l.stopped = l.stopped || do == "stop"
	l.signalled = l.signalled || do == "signal" && !ended
	switch {
	case do == "signal" && (ended || a.Err == "" && l.verdict == ""):
	case do == "remove" && running:
	case a.Err != "" || do == "remove" && len(l.may()) == 0 || do == "output" && !l.wrote(a.Output):
		m.t.Errorf("%s: %+v of %+v", do, a, l)
	case do == "remove":
		delete(m.lives, id)
		m.order = slices.DeleteFunc(m.order, func(s string) bool { return s == id })
		m.gone = id
	case do == "output":
		if l.verdict != "" {
			l.output = &a.Output
		}
	default:
		m.see(a.Job, l)
		if do != "status" && a.Job.State != job.Ended {
			m.t.Errorf("%s: %+v, want it over", do, a)
		}
	}
}

// see compares a job with what is known of it.
func (m *model) see(j job.Job, l *life) {
	m.t.Helper()
	if j.State != job.Ended {
		if l.verdict != "" || j.Verdict != nil {
			m.t.Errorf("job %+v, which was over with %q", j, l.verdict)
		}
		return
	}
	if got := verdict(j); !slices.Contains(l.may(), got) {
		m.t.Errorf("verdict %q, want one of %q", got, l.may())
	}
	l.verdict = verdict(j)
}
