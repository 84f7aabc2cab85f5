package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A script is a text file of lines: a verb and its words. '…' makes one word of
// several, ${NAME} stands for a variable, and # begins a comment.
//
//	worker [USER]      start a worker; USER (alice) is who asks it
//	as USER            be another of its users: alice, bob, eve, mallory
//	set NAME VALUE     set a variable of the script and of jobcli's environment
//	unset NAME         remove it
//	input TEXT         what the next jobcli reads, and a newline
//	jobcli ARG...      run jobcli, which succeeds
//	! jobcli ARG...    run jobcli, which does not
//	until TEXT ARG...  run jobcli, and interrupt it when it has written TEXT
//	exit N             it ended with this status
//	stdout RE          what it wrote matches; ^ and $ match at lines. ! for not
//	stderr RE
//	empty stdout       it wrote nothing there; or stderr
//	await ID TEXT      the job has written TEXT
//	capture NAME       its standard output, without the newline, becomes a variable
//	file NAME RE       the file's text matches
//	! file NAME        there is no such file
//
// ${WORK} is a directory of the script's own, and where a worker runs ${PKI} is that
// of its certificates, ${JOB} its program and ${EVENT} the number of its first event.
type script struct {
	t      *testing.T
	site   scriptSite
	vars   map[string]string
	input  string
	code   int
	ran    bool // jobcli did
	stdout string
	stderr string
}

// scriptSite is a site, on systems that can have one.
type scriptSite interface {
	variables() map[string]string
	terminal(user string) *terminal
}

func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := &script{t: t, vars: map[string]string{"WORK": t.TempDir()}}
			n := 0
			for line := range strings.Lines(string(text)) {
				n++
				if err := s.line(line); err != nil {
					t.Fatalf("%s:%d: %s: %v\nexit %d\nstdout:\n%s\nstderr:\n%s", file, n, strings.TrimSpace(line), err, s.code, s.stdout, s.stderr)
				}
			}
		})
	}
}

// verbs are what a line can begin with. not is whether a "!" stood before it.
var verbs = map[string]struct {
	min, max int // words
	mayNot   bool
	do       func(s *script, not bool, words []string) error
}{
	"worker":  {0, 1, false, (*script).startWorker},
	"as":      {1, 1, false, (*script).as},
	"set":     {2, 2, false, (*script).set},
	"unset":   {1, 1, false, (*script).unset},
	"input":   {1, 1, false, (*script).giveInput},
	"jobcli":  {0, 99, true, (*script).jobcli},
	"until":   {1, 99, false, (*script).until},
	"exit":    {1, 1, false, (*script).exit},
	"stdout":  {1, 1, true, (*script).matchStdout},
	"stderr":  {1, 1, true, (*script).matchStderr},
	"empty":   {1, 1, false, (*script).empty},
	"await":   {2, 2, false, (*script).await},
	"capture": {1, 1, false, (*script).capture},
	"file":    {1, 2, true, (*script).file},
}

func (s *script) line(line string) error {
	words, err := s.split(line)
	if err != nil || len(words) == 0 {
		return err
	}
	not := words[0] == "!"
	if not {
		words = words[1:]
	}
	if len(words) == 0 {
		return fmt.Errorf("no verb")
	}
	verb, ok := verbs[words[0]]
	words = words[1:]
	switch {
	case !ok:
		return fmt.Errorf("unknown verb")
	case not && !verb.mayNot:
		return fmt.Errorf("cannot have a !")
	case len(words) < verb.min || len(words) > verb.max:
		return fmt.Errorf("%d words, not %d to %d", len(words), verb.min, verb.max)
	}
	return verb.do(s, not, words)
}

var variable = regexp.MustCompile(`\$\{\w+\}`)

// split cuts a line into words.
func (s *script) split(line string) (words []string, err error) {
	var word strings.Builder
	quoted, any := false, false
	end := func() {
		if any {
			words = append(words, word.String())
		}
		word.Reset()
		any = false
	}
	for _, r := range strings.TrimSpace(line) + "\n" {
		if r == '#' && !any && !quoted {
			break
		}
		switch {
		case r == '\'':
			quoted, any = !quoted, true
		case quoted && r == '\n':
			return nil, fmt.Errorf("' is not closed")
		case quoted:
			word.WriteRune(r)
		case r == ' ' || r == '\t' || r == '\n':
			end()
		default:
			word.WriteRune(r)
			any = true
		}
	}
	for i, w := range words {
		words[i] = variable.ReplaceAllStringFunc(w, func(v string) string {
			value, ok := s.vars[v[2:len(v)-1]]
			if !ok {
				err = fmt.Errorf("%s is not set", v)
			}
			return value
		})
	}
	return words, err
}

func (s *script) startWorker(_ bool, words []string) error {
	s.site = newScriptSite(s.t)
	maps.Copy(s.vars, s.site.variables())
	return s.as(false, append(words, "alice")[:1])
}

func (s *script) as(_ bool, words []string) error {
	if s.site == nil {
		return fmt.Errorf("no worker")
	}
	maps.Copy(s.vars, s.site.terminal(words[0]).vars)
	return nil
}

func (s *script) set(_ bool, words []string) error {
	s.vars[words[0]] = words[1]
	return nil
}

func (s *script) unset(_ bool, words []string) error {
	delete(s.vars, words[0])
	return nil
}

func (s *script) giveInput(_ bool, words []string) error {
	s.input = words[0] + "\n"
	return nil
}

func (s *script) jobcli(not bool, words []string) error {
	c := newTerminal()
	c.vars, c.in = s.vars, strings.NewReader(s.input)
	s.input = ""
	c.patience = 0 // a worker that is not there stays away
	ctx, cancel := context.WithTimeout(s.t.Context(), 30*time.Second)
	defer cancel()
	s.code = c.run(ctx, words...)
	s.stdout, s.stderr, s.ran = c.out.String(), c.err.String(), true
	if not != (s.code != 0) {
		return fmt.Errorf("unexpected status")
	}
	for line := range strings.Lines(s.stderr) {
		if not && strings.HasPrefix(line, "panic") {
			return fmt.Errorf("panic")
		}
	}
	return nil
}

func (s *script) until(_ bool, words []string) error {
	c := newTerminal()
	c.vars = s.vars
	wait := c.start(s.t, words[1:]...)
	c.out.await(s.t, words[0])
	c.signals <- os.Interrupt
	s.code, s.stdout, s.stderr, s.ran = wait(), c.out.String(), c.err.String(), true
	return nil
}

func (s *script) exit(_ bool, words []string) error {
	want, err := strconv.Atoi(words[0])
	if err != nil {
		return err
	}
	if !s.ran || s.code != want {
		return fmt.Errorf("exit status is %d", s.code)
	}
	return nil
}

func (s *script) matchStdout(not bool, words []string) error { return s.match(s.stdout, not, words[0]) }
func (s *script) matchStderr(not bool, words []string) error { return s.match(s.stderr, not, words[0]) }

func (s *script) match(text string, not bool, pattern string) error {
	re, err := regexp.Compile("(?m)" + pattern)
	if err != nil {
		return err
	}
	if !s.ran || re.MatchString(text) == not {
		return fmt.Errorf("match is %v", !not)
	}
	return nil
}

func (s *script) empty(_ bool, words []string) error {
	text, ok := map[string]string{"stdout": s.stdout, "stderr": s.stderr}[words[0]]
	if !ok || !s.ran || text != "" {
		return fmt.Errorf("is not empty")
	}
	return nil
}

func (s *script) await(_ bool, words []string) error {
	c := newTerminal()
	c.vars = s.vars
	c.start(s.t, "logs", "-f", words[0])
	c.out.await(s.t, words[1])
	return nil
}

func (s *script) capture(_ bool, words []string) error {
	s.vars[words[0]] = strings.TrimSuffix(s.stdout, "\n")
	return nil
}

func (s *script) file(not bool, words []string) error {
	text, err := os.ReadFile(words[0])
	if not {
		if len(words) != 1 || !os.IsNotExist(err) {
			return fmt.Errorf("is there, or has a pattern (%v)", err)
		}
		return nil
	}
	if err != nil {
		return err
	}
	return s.match(string(text), false, strings.Join(words[1:], ""))
}

// TestScriptMistakes: a script that is wrong fails.
func TestScriptMistakes(t *testing.T) {
	for _, line := range []string{
		"jobcl help", "!", "! exit 2", "exit", "exit 1 2", "stdout 'a", "stdout ${NOPE}", "exit 0", "stdout a", "empty stdou", "as alice",
		"! jobcli help", "jobcli nosuchverb",
	} {
		s := &script{t: t, vars: map[string]string{}}
		if err := s.line(line); err == nil {
			t.Errorf("%q: accepted", line)
		}
	}
	words, err := (&script{vars: map[string]string{"A": "x y"}}).split("jobcli 'a b'c '' ${A} # comment")
	if want := []string{"jobcli", "a bc", "", "x y"}; err != nil || !slices.Equal(words, want) {
		t.Errorf("split: %q, %v; want %q", words, err, want)
	}
}
