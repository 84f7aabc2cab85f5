package escape_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"jobworker/httpapi"
	"jobworker/internal/kerneltest"
)

// hogs take all they can get, for as long as they may. What they are given leaves
// more than half of the machine to others.
var hogs = []struct {
	name   string
	limits httpapi.Limits
	script string
	want   string // verdict; "stopped" is that of one which has to be
	event  string // file of its cgroup that tells of the limit, and the line that is not 0 then
}{
	{"fork bomb", httpapi.Limits{CPUs: 0.5, Pids: 64}, `exec "$PROGRAM" bomb`, "stopped", "payload/pids.events max"},
	{"memory", httpapi.Limits{CPUs: 0.5, MemoryBytes: 32 << 20}, "echo ready; exec dd if=/dev/zero of=/dev/null bs=256M", "oom_killed", ""},
	{"memory through /dev/shm", httpapi.Limits{CPUs: 0.5, MemoryBytes: 32 << 20}, "echo ready; exec dd if=/dev/zero of=/dev/shm/f bs=64k", "oom_killed", ""},
	{"page cache", httpapi.Limits{CPUs: 0.5, MemoryBytes: 32 << 20}, fillCache, "stopped", "payload/memory.events max"},
	{"full /tmp and /dev/shm", httpapi.Limits{CPUs: 0.5, MemoryBytes: 256 << 20}, fill, "stopped", ""},
}

// fillCache writes twice as much as the hog may have of memory, again and again.
const fillCache = "write() { dd if=/dev/zero of=f bs=64k count=1024 2>/dev/null; }; write; echo ready; while :; do write; done"

// fill fills each of the two to its own size, and tries on.
const fill = `full() { dd if=/dev/zero of=$1 bs=64k 2>&1 | grep -q "No space left"; }
full /tmp/f && full /dev/shm/f && echo ready
while :; do full /tmp/g; full /dev/shm/g; done`

// slower is how much longer the work of a job may take beside a hog: the hog has
// its own share of the machine, and the machine itself is emulated beside others.
// A hog that took all there is would be felt by more than that.
const slower = 8

// TestHogs: each hog stays inside of its limits, and a job beside it does its work
// as before.
func TestHogs(t *testing.T) {
	kerneltest.VM(t)
	s := newSite(t)
	c := s.client("mallory")
	alone := s.work()
	for _, hog := range hogs {
		t.Run(hog.name, func(t *testing.T) {
			s := s.in(t)
			spec := shell(hog.script)
			spec.Env, spec.Limits = map[string]string{"PROGRAM": executable(s)}, hog.limits
			r := s.run(c, spec)
			beside := s.work()
			for i := 0; beside > slower*alone && i < 3; i++ { // the emulator itself may have been kept waiting
				beside = s.work()
			}
			r.checkEvent(hog.event)
			if hog.want == "stopped" {
				_, err := c.Stop(t.Context(), r.id, httpapi.StopRequest{Signal: "KILL"})
				s.must(err)
			}
			r.readOn()
			if r.verdict != hog.want {
				t.Errorf("verdict %q, want %q", r.verdict, hog.want)
			}
			t.Logf("the job beside it took %.1f times as long", beside.Seconds()/alone.Seconds())
			if beside > slower*alone {
				t.Errorf("a job beside it took %v, alone %v", beside, alone)
			}
			if out, err := exec.CommandContext(t.Context(), "sh", "-c", "echo x >/tmp/outside && echo x >/dev/shm/outside").CombinedOutput(); err != nil {
				t.Errorf("outside: %v: %s", err, out)
			}
		})
	}
}

// work is how long a job takes for its work.
func (s *site) work() time.Duration {
	s.Helper()
	r := s.run(s.client("alice"), httpapi.Spec{Argv: []string{executable(s), "sibling"}})
	n, err := strconv.ParseInt(strings.TrimSpace(r.stdout.String()), 10, 64)
	if err != nil {
		s.Fatalf("sibling: %s, wrote %q: %v", r.verdict, r.stderr.String(), err)
	}
	return time.Duration(n)
}

// sibling prints the median time, in nanoseconds, of some work with processor,
// memory, file and process.
func sibling([]string) error {
	var times []time.Duration
	for range 15 { // the median of fewer would tell more of chance
		begun := time.Now()
		b := make([]byte, 64<<10)
		sum := sha256.Sum256(b)
		if err := errors.Join(os.WriteFile("file", append(b[:4096], sum[:]...), 0o600), exec.Command("true").Run()); err != nil {
			return err
		}
		times = append(times, time.Since(begun))
	}
	slices.Sort(times)
	_, err := fmt.Println(times[len(times)/2].Nanoseconds())
	return err
}

// checkEvent checks that the limit was met.
func (r *running) checkEvent(event string) {
	r.Helper()
	name, key, ok := strings.Cut(event, " ")
	if !ok {
		return
	}
	b, err := os.ReadFile(filepath.Join(r.cgroup(), name))
	r.must(err)
	for line := range strings.Lines(string(b)) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), key+" "); ok && n != "0" {
			return
		}
	}
	r.Errorf("%s of the job: %q: the limit %s was not met", name, b, key)
}
