package main

import (
	"flag"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestCommands walks the table: every command and every flag says what it is for, has
// help that shows it, and keeps what it parses to itself.
func TestCommands(t *testing.T) {
	overview := newTerminal()
	if code := overview.run(t.Context(), "help"); code != 0 {
		t.Fatalf("help: status %d", code)
	}
	sentence := regexp.MustCompile(`^[a-z].*[a-z]$`)
	var names []string
	for _, c := range commands() {
		names = append(names, c.name)
		if !sentence.MatchString(c.help) {
			t.Errorf("%s: help is %q", c.name, c.help)
		}
		if !strings.Contains(overview.out.String(), "  "+c.name+" ") {
			t.Errorf("help does not show %s", c.name)
		}
		help := newTerminal()
		if code := help.run(t.Context(), append([]string{"help"}, strings.Fields(c.name)...)...); code != 0 || help.err.String() != "" {
			t.Errorf("help %s: status %d, %s", c.name, code, help.err)
		}
		fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
		c.setup(fs)
		fs.VisitAll(func(f *flag.Flag) { checkFlag(t, c.name, f, help.out.String()) })
		if c.name != "help" && fs.Lookup("q") == nil && c.name != "version" {
			t.Errorf("%s: has no -q", c.name)
		}
	}
	slices.Sort(names)
	if len(slices.Compact(names)) != len(commands()) {
		t.Errorf("a command is there twice: %q", names)
	}
}

func checkFlag(t *testing.T, command string, f *flag.Flag, help string) {
	t.Helper()
	if f.Usage == "" || strings.HasSuffix(f.Usage, ".") {
		t.Errorf("%s -%s: usage is %q", command, f.Name, f.Usage)
	}
	if b, ok := f.Value.(interface{ IsBoolFlag() bool }); (!ok || !b.IsBoolFlag()) && strings.Count(f.Usage, "`") != 2 {
		t.Errorf("%s -%s: usage %q does not name its value", command, f.Name, f.Usage)
	}
	if !strings.Contains(help, "  -"+f.Name) {
		t.Errorf("help %s does not show -%s", command, f.Name)
	}
}

// TestSplit: where flags may be.
func TestSplit(t *testing.T) {
	for _, test := range []struct {
		words bool
		args  string
		want  string
		f     string
		b     bool
	}{
		{false, "a -f x b -b", "a b", "x", true},
		{false, "-f=x a", "a", "x", false},
		{false, "--f x -- -b a", "-b a", "x", false},
		{false, "a -- -b", "a -b", "", false},
		{false, "a - b", "a - b", "", false},
		{true, "-b a -f x", "a -f x", "", true},
		{true, "-- -b", "-b", "", false},
		{true, "a -- b", "a -- b", "", false},
		{false, "", "", "", false},
	} {
		fs := flag.NewFlagSet("", flag.ContinueOnError)
		fs.SetOutput(io.Discard)
		f, b := fs.String("f", "", ""), fs.Bool("b", false, "")
		got, err := (&command{words: test.words}).split(fs, strings.Fields(test.args))
		if strings.Join(got, " ") != test.want || *f != test.f || *b != test.b || err != nil {
			t.Errorf("%q: %q, -f %q, -b %v, %v", test.args, got, *f, *b, err)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"logs", "logs", 0}, {"log", "logs", 1}, {"logs", "log", 1}, {"lgos", "logs", 1}, {"lots", "logs", 1},
		{"xlogs", "logs", 1}, {"los", "logs", 1}, {"", "a", 1}, {"", "", 0}, {"", "ab", 2}, {"abcd", "badc", 2}, {"ps", "rm", 2},
	} {
		if got := distance(test.a, test.b); got != test.want {
			t.Errorf("%q, %q: %d, not %d", test.a, test.b, got, test.want)
		}
	}
}
