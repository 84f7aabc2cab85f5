package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"jobworker/job"
)

// A controller is a console in this process whose standard input is a pipe.
type controller struct {
	*terminal
	input *os.File
	wait  func() int
}

// console starts a console for alice. The test types into it with say, and ends it
// with quit.
func (s *site) console(t *testing.T, args ...string) *controller {
	t.Helper()
	return startConsole(t, s.terminal("alice"), args...)
}

func startConsole(t *testing.T, c *terminal, args ...string) *controller {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c.in = r
	t.Cleanup(func() { r.Close() }) // after the console has ended
	wait := c.start(t, append([]string{"console"}, args...)...)
	t.Cleanup(func() { w.Close() })
	return &controller{c, w, wait}
}

func (c *controller) say(t *testing.T, lines ...string) {
	t.Helper()
	if _, err := c.input.WriteString(strings.Join(lines, "\n") + "\n"); err != nil {
		t.Fatal(err)
	}
}

// quit ends the console and checks that all went well.
func (c *controller) quit(t *testing.T) {
	t.Helper()
	c.say(t, "quit")
	if code := c.wait(); code != 0 {
		t.Errorf("status %d\n%s", code, c.err)
	}
}

// script runs a console over lines and returns its status.
func (c *terminal) script(t *testing.T, args []string, lines ...string) int {
	t.Helper()
	c.in = strings.NewReader(strings.Join(lines, "\n"))
	return c.run(t.Context(), append([]string{"console"}, args...)...)
}

// matches compares text with lines of regular expressions.
func matches(t *testing.T, name, text string, want ...string) {
	t.Helper()
	got := strings.SplitAfter(text, "\n")
	got = got[:len(got)-1]
	for i, re := range want {
		if i >= len(got) || !regexp.MustCompile("^(?:"+re+")\n$").MatchString(got[i]) {
			t.Fatalf("%s: line %d does not match %q in\n%s", name, i+1, re, text)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d lines, want %d:\n%s", name, len(got), len(want), text)
	}
}

const anyID = "[a-z2-7]{26}"

// without takes the lines out that a worker pushes of itself.
func without(text, prefix string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, prefix) {
			b.WriteString(line)
		}
	}
	return b.String()
}

// TestConsole: every command, written as words and as a call, has its reply.
func TestConsole(t *testing.T) {
	s := newSite(t)
	c := s.terminal("alice")
	code := c.script(t, []string{"-e"},
		"# a comment", "", "  ", // which have no number
		"start", "start()", "stop", "stop()", "start",
		"ping", "ping() # now",
		`calculate 0.2 "hello world"`, `calculate(0.1, "tab\there")`, "calculate 0 ''",
		"run "+s.program+" 'out:a  b' err:oops exit:3",
		"wait", "wait()",
		"jobs", "jobs all", "status", "workers", "use worker", "@worker", "@worker ping", "@all ping",
		"help ping", "help",
	)
	if code != 0 || c.err.String() != "" {
		t.Errorf("status %d\n%s", code, c.err)
	}
	over := func(n int, re string) string { return fmt.Sprintf(`\[%d\] worker: %s`, n, re) }
	lines := strings.SplitAfter(without(c.out.String(), "[worker]"), "\n")
	head := strings.Join(lines[:11], "")
	matches(t, "first", head,
		over(1, "ready, as it was"), over(2, "ready, as it was"), over(3, "unready"), over(4, "unready, as it was"), over(5, "ready"),
		over(6, "pong [0-9]{10}"), over(7, "pong [0-9]{10}"),
		over(8, "job "+anyID+" started"), ".*", ".*", ".*")
	for _, re := range []string{
		`\[8\] worker: calculate done after [0-9.]+m?s: "hello world"`,
		`\[9\] worker: job ` + anyID + ` started`,
		`\[9\] worker: calculate done after [0-9.]+m?s: "tab\\there"`,
		`\[10\] worker: calculate done after [0-9.]+m?s: ""`,
		`\[11\] worker: job ` + anyID + ` over after [0-9.]+m?s: exited, exit code 3`,
		`\[12\] all is over`, `\[13\] all is over`,
		`\[14\] worker: no jobs`,
		`\[15\] worker: ` + anyID + ` +- +alice +exited 0 .* calculate 0.2 hello world`,
		`\[16\] worker: state +ready`, `\[16\] worker: jobs +0, 0 of them calculates`,
		`\[17\] \* worker +ready +https://127.*`,
		`\[18\] commands go to worker`, `\[19\] commands go to worker`,
		`\[20\] worker: pong [0-9]+`, `\[21\] worker: pong [0-9]+`,
		`\[22\] ask for its clock, in seconds since 1970`,
		`\[23\] terminate +have it stop .*`,
	} {
		if !regexp.MustCompile("(?m)^" + re + "$").MatchString(c.out.String()) {
			t.Errorf("no line matches %q in\n%s", re, c.out)
		}
	}
}

// TestConsoleJobs: a job's output, state and end.
func TestConsoleJobs(t *testing.T) {
	s := newSite(t)
	c := s.console(t)
	c.say(t, fmt.Sprintf(`run(%q, "raw:\x1b[31mred\n", "out:one\ttwo", "raw:three", "trap:")`, s.program))
	c.out.await(t, "started\n")
	id := regexp.MustCompile(anyID).FindString(c.out.String())
	l := s.terminal("alice")
	l.start(t, "logs", "-f", id)
	l.out.await(t, "trap set\n")
	c.say(t, "logs "+id, "status "+id, "cancel "+id, "logs "+id, "logs nosuch")
	c.err.await(t, "hint: jobs all lists")
	for _, want := range []string{
		"[2] worker: one    two\n", `[2] worker: \x1b[31mred` + "\n", "[2] worker: threetrap set\n", "bytes, the job goes on)\n",
		"[3] worker: id            " + id + "\n", "[3] worker: state         running\n",
		"[4] worker: job " + id + " over: stopped by alice, exit code 7\n",
		"[1] worker: job " + id + " over after ",
		"bytes, the job is over)\n",
	} {
		c.out.await(t, want)
	}
	if want := "jobcli: [6] worker: error: no such job"; !strings.Contains(c.err.String(), want) {
		t.Errorf("no %q in\n%s", want, c.err)
	}
	c.quit(t)
}

// TestConsoleMistakes: what is wrong is said, where it is wrong, and the next
// command works.
func TestConsoleMistakes(t *testing.T) {
	s := newSite(t)
	long := strings.Repeat("x", 3*maxLine)
	for _, test := range []struct{ line, want string }{
		{"frobnicate", `no command "frobnicate"; help lists them`},
		{"PING", `no command "PING"; help lists them`},
		{"pnig", `no command "pnig"; did you mean ping?`},
		{"frobnicate(1)", `no command "frobnicate"; help lists them`},
		{"''", "column 1: the command is an empty word"},
		{"ping now", `argument too many: "now"; it is ping`},
		{"stop abc", `argument too many: "abc"; stop is for the worker; cancel ID stops a job`},
		{"calculate", "argument missing: calculate SECONDS MESSAGE"},
		{"calculate 1", "argument missing: calculate SECONDS MESSAGE"},
		{"calculate 1 hello world", `argument too many: "world"; a message of several words is quoted: "hello world"`},
		{"calculate -1 x", `worker: error: seconds: "-1": must be 0 seconds or more`},
		{"calculate(-1, \"x\")", `seconds: "-1": must be 0 seconds or more`},
		{"calculate nan x", `seconds: "nan": must be a number of seconds, as in 2.5`},
		{"calculate inf x", `seconds: "inf": must be a number of seconds, as in 2.5`},
		{"calculate -Inf x", `seconds: "-Inf": must be a number of seconds`},
		{"calculate 1e309 x", `seconds: "1e309": is too large a number`},
		{"calculate 1e300 x", `must be at most 3600 here: 1h0m0s`},
		{"calculate 3601 x", `must be at most 3600 here: 1h0m0s`},
		{"calculate abc x", `seconds: "abc": must be a number of seconds`},
		{"calculate 0x1p3 x", `seconds: "0x1p3": must be a number of seconds`},
		{"calculate 1_0 x", `seconds: "1_0": must be a number of seconds`},
		{"calculate '' x", `seconds: "": must be a number of seconds`},
		{"calculate 0 " + strings.Repeat("m", 4097), "the message has 4097 bytes: at most 4096"},
		{`calculate(0, "a\x00b")`, "NUL"},
		{`calculate(0, "\xff")`, "column 14: this string is not UTF-8"},
		{`calculate 1 "abc`, `column 13: the quote " is not closed`},
		{"calculate(1, 'a'", "column 17: a , or a ) is missing here"},
		{"run", "argument missing: run COMMAND [ARG...]"},
		{"run /no/such/program", `error: exec: "/no/such/program": not found`},
		{"run nosuchprogram", "hint: a job sees the programs of the worker's machine"},
		{"run ''", "argv"},
		{"logs", "argument missing: logs ID"},
		{"logs ../..", "no such job"},
		{"cancel 1", "no such job"},
		{"jobs some", `"some": jobs takes nothing, or all`},
		{"status a b", `argument too many: "b"; it is status [ID]`},
		{"use", "argument missing: use WORKER"},
		{"use b", `no worker "b"; there are: worker`},
		{"@b ping", `no worker "b"; there are: worker`},
		{"@ ping", "column 2: the name of a worker is missing after @"},
		{"@all", `no worker "all"; there are: worker`},
		{"@all help", "help is for no worker: leave out the @all"},
		{"help frobnicate", `no command "frobnicate"`},
		{long, "the line is longer than 65536 bytes"},
		{"ping\x00", "column 5: control character U+0000"},
		{"\xff\xfe\x00\x80\x1b[2J", "column 1: byte 0xff is not UTF-8"},
	} {
		c := s.terminal("alice")
		code := c.script(t, nil, test.line, "ping", "quit", "ping")
		want := "jobcli: [1] "
		if code != 0 || !strings.HasPrefix(c.err.String(), want) || !strings.Contains(c.err.String(), test.want) {
			t.Errorf("%.40q: status %d, says\n%swant %q", test.line, code, c.err, test.want)
		}
		matches(t, test.line[:min(len(test.line), 40)], c.out.String(), `\[2\] worker: pong [0-9]+`)
		if !printableLines(c.err.String()) {
			t.Errorf("%.40q: says %q", test.line, c.err)
		}
		if test.line == "run nosuchprogram" || strings.HasPrefix(test.line, "calculate 3") {
			c := s.terminal("alice")
			if code := c.script(t, []string{"-e"}, test.line, "ping"); code != 1 || c.out.String() != "" {
				t.Errorf("-e: status %d\n%s", code, c.out)
			}
		}
	}
}

func printableLines(text string) bool {
	return strings.IndexFunc(strings.ReplaceAll(text, "\n", ""), unprintable) < 0
}

// many is how many calculates run at once: on an emulated processor fewer.
func many() int {
	if os.Getenv("KERNELTEST") == "vm" {
		return 20
	}
	return 100
}

// TestConsoleBusy: ping is answered at once while many calculates run, and each
// tells of its end by its number.
func TestConsoleBusy(t *testing.T) {
	s := newSite(t)
	c := s.console(t)
	n := many()
	for range n {
		c.say(t, "calculate 1000 never")
	}
	line := func(after int, text string) string { return fmt.Sprintf("[%d] %s", n+after, text) }
	c.out.await(t, line(0, "worker: job "))
	c.say(t, "status", "ping", "calculate 0 'the last'", "wait")
	c.out.await(t, line(1, fmt.Sprintf("worker: jobs         %d, %[1]d of them calculates\n", n)))
	c.out.await(t, line(2, "worker: pong "))
	c.out.await(t, line(3, "worker: calculate done after "))
	ids := regexp.MustCompile(`(\d+)\] worker: job (`+anyID+`) started`).FindAllStringSubmatch(c.out.String(), -1)
	if len(ids) != n+1 {
		t.Fatalf("%d starts", len(ids))
	}
	for _, id := range ids[:n] { // who waits for them does not hold up others
		if _, err := s.worker.Stop(t.Context(), id[2], job.StopOptions{By: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	c.out.await(t, line(4, "all is over\n"))
	for i := range n {
		want := fmt.Sprintf("[%d] worker: calculate over after ", i+1)
		if got := strings.Count(c.out.String(), want); got != 1 {
			t.Errorf("%d lines %q", got, want)
		}
	}
	c.quit(t)
}

// TestConsoles: two consoles of one worker see what the other one does.
func TestConsoles(t *testing.T) {
	s := newSite(t)
	alice := s.console(t)
	bob := startConsole(t, s.terminal("bob"))
	alice.say(t, "ping")
	bob.say(t, "ping")
	alice.out.await(t, "[1] worker: pong")
	bob.out.await(t, "[1] worker: pong")
	alice.say(t, "stop")
	bob.out.await(t, "[worker] unready, by alice\n")
	alice.out.await(t, "[worker] unready, by alice\n")
	alice.say(t, "start")
	bob.out.await(t, "[worker] ready, by alice\n")
	bob.say(t, `calculate(0, "from bob\a")`, "run "+s.program+" exit:4")
	alice.out.await(t, ` of bob done: "from bob\a"`+"\n")
	alice.out.await(t, " of bob over: exited, exit code 4\n")
	bob.out.await(t, `[2] worker: calculate done after `)
	bob.out.await(t, `over after`)
	alice.say(t, "calculate 0 'for alice alone'") // an operator sees their own
	alice.out.await(t, "done after")
	bob.say(t, "jobs all")
	bob.out.await(t, "[4] worker: ID ")
	if strings.Contains(bob.out.String(), "for alice alone") {
		t.Errorf("bob sees what is not theirs:\n%s", bob.out)
	}
	bob.quit(t)
	alice.quit(t)
}

// TestConsoleWorkers: commands go to the current worker, to one or to all.
func TestConsoleWorkers(t *testing.T) {
	a, b := newSite(t), newSite(t)
	b.pki = a.pki
	b.addr = b.serve(t, "127.0.0.1:0")
	c := a.terminal("alice")
	args := []string{"-e", "-worker", "one=https://" + a.addr, "-worker", "two=https://" + b.addr}
	if code := c.script(t, args, "ping", "@two stop", "workers", "use two", "start", "@one ping", "@all ping", "@one", "status", "@two calculate 0 two", "wait", "@all jobs all"); code != 0 {
		t.Errorf("status %d\n%s", code, c.err)
	}
	for _, re := range []string{
		`\[1\] one: pong \d+`, `\[2\] two: unready`, `\[two\] unready, by alice`, `\[3\] \* one +ready +https://.*`, `\[3\]   two +[a-z]+ +https://.*`,
		`\[4\] commands go to two`, `\[5\] two: ready`, `\[6\] one: pong \d+`, `\[7\] one: pong \d+`, `\[7\] two: pong \d+`,
		`\[8\] commands go to one`, `\[9\] one: state +ready`, `\[10\] two: calculate done after .*: "two"`, `\[12\] one: no jobs`, `\[12\] two: ` + anyID + ` .* calculate 0 two`,
	} {
		if !regexp.MustCompile("(?m)^" + re + "$").MatchString(c.out.String()) {
			t.Errorf("no line matches %q in\n%s", re, c.out)
		}
	}
}

// TestConsoleAway: what happens while the connection is cut is told when it is back,
// once, and no more than that.
func TestConsoleAway(t *testing.T) {
	for _, test := range []struct {
		name    string
		history int
		gone    bool // the worker has forgotten some of it
	}{
		{"events", 0, false},
		{"events are gone", 4, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSiteWith(t, job.Config{History: test.history})
			addr, stop := s.server(t, "127.0.0.1:0")
			s.addr = addr
			c := s.console(t)
			c.say(t, "calculate 0 before", "calculate 1000 first", "run "+s.program+" trap:", "calculate 1000 third")
			c.out.await(t, "[4] worker: job ")
			c.out.await(t, "[1] worker: calculate done")
			ids := regexp.MustCompile(anyID).FindAllString(c.out.String(), -1)
			stop()
			c.err.await(t, "jobcli: [worker] connection lost, trying again: ")
			for _, ready := range []bool{false, true, false} {
				if _, err := s.worker.SetReady(ready, "somebody"); err != nil {
					t.Fatal(err)
				}
			}
			for _, id := range ids[1:3] {
				if _, err := s.worker.Stop(t.Context(), id, job.StopOptions{By: "somebody"}); err != nil {
					t.Fatal(err)
				}
			}
			_, stop = s.server(t, addr)
			defer stop()
			c.err.await(t, "jobcli: [worker] is back: unready\n")
			c.out.await(t, "[3] worker: job "+ids[2]+" over after ")
			c.out.await(t, "[2] worker: calculate over after ")
			if _, err := s.worker.Stop(t.Context(), ids[3], job.StopOptions{By: "somebody"}); err != nil {
				t.Fatal(err)
			}
			c.out.await(t, "[4] worker: calculate over after ")
			c.say(t, "wait", "start")
			c.out.await(t, "[5] all is over\n")
			c.out.await(t, "[worker] ready, by alice\n")
			for want, times := range map[string]int{
				"[1] worker: calculate done": 1, "[2] worker: calculate over": 1, "[3] worker: job " + ids[2] + " over": 1, "[4] worker: calculate over": 1,
				"[worker] unready, by somebody": 2, "[worker] ready, by somebody": 1, "[worker] job": 0, "[worker] calculate": 0,
			} {
				if test.gone && strings.Contains(want, "somebody") {
					times = 0
				}
				if got := strings.Count(c.out.String(), want); got != times {
					t.Errorf("%d lines %q, want %d:\n%s", got, want, times, c.out)
				}
			}
			if told := strings.Contains(c.err.String(), "events are lost"); told != test.gone {
				t.Errorf("says that events are gone: %v\n%s", told, c.err)
			}
			c.quit(t)
		})
	}
}

// TestConsoleRestart: a worker that ends and another one of the same state, with
// terminate and without.
func TestConsoleRestart(t *testing.T) {
	s := newSite(t)
	addr, stop := s.server(t, "127.0.0.1:0")
	s.addr = addr
	c := s.console(t)
	c.say(t, "calculate 1000 never", "stop", "terminate")
	c.out.await(t, "[3] worker: terminating\n")
	c.out.await(t, "[worker] terminating, by alice\n")
	<-s.terminated
	finish(t, s.worker.Drain)
	c.out.await(t, "[1] worker: calculate over after ") // events go on until the end
	stop()
	c.err.await(t, "connection lost, trying again: ")
	s.close(t)
	s.open(t)
	_, stop = s.server(t, addr)
	defer stop()
	c.err.await(t, "[worker] is back: ready\n")
	c.say(t, "calculate 0 again", "wait")
	c.out.await(t, `: "again"`)
	c.out.await(t, "[5] all is over\n")
	if n := strings.Count(c.out.String(), "calculate over"); n != 1 {
		t.Errorf("its end is told %d times:\n%s", n, c.out)
	}
	c.quit(t)
}

// TestConsoleFirst: a console that is there before its worker waits for it, and a
// strict script not for ever.
func TestConsoleFirst(t *testing.T) {
	s := newSite(t)
	addr, stop := s.server(t, "127.0.0.1:0")
	stop()
	s.addr = addr
	c := s.console(t)
	c.say(t, "ping")
	c.err.await(t, "jobcli: [worker] no connection, trying again: ")
	c.err.await(t, "jobcli: [worker] hint: is jobworker running there?")
	_, stop = s.server(t, addr)
	c.out.await(t, "[1] worker: pong ")
	c.err.await(t, "jobcli: [worker] connected to https://"+addr+": ready\n")
	c.quit(t)
	stop()

	short := s.terminal("alice")
	short.patience = time.Millisecond
	if code := short.script(t, []string{"-e"}, "ping", "ping"); code != 5 {
		t.Errorf("status %d, not 5", code)
	}
	if got := short.err.String(); !strings.Contains(got, "jobcli: [1] worker: error: the worker does not come back: ") || strings.Contains(got, "[2]") {
		t.Errorf("says\n%s", got)
	}
	short = s.terminal("alice")
	short.patience = time.Millisecond
	if code := short.script(t, nil, "ping", "help"); code != 0 || !strings.Contains(short.out.String(), "[2] ") {
		t.Errorf("without -e: status %d\n%s", code, short.out)
	}
}
