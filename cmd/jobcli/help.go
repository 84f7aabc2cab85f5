package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

const helpTail = `
Flags may come before or after the id; in run and start they end at the first word
of the job's command. "jobcli help COMMAND" shows the flags of a command.

Environment:
  JOBCLI_ADDR         the worker's URL; https://127.0.0.1:8443 where it is not set
  JOBCLI_CERT_DIR     directory with ca.pem, cert.pem and key.pem
  JOBCLI_CACERT       file with the CA that signed the worker's certificate
  JOBCLI_CLIENT_CERT  file with the client's certificate
  JOBCLI_CLIENT_KEY   file with its key

Exit status of run and wait: the job's code; 124 timed out; 125 jobcli or the worker
failed, the output was more than its limit, or the result is not known; 126 not
executable; 127 not found; 128+n ended by signal n; 137 out of memory. Of the others:
0; 1 refused or failed; 3 no such job; 4 not allowed; 5 worker not reachable. Of all: 2
wrong usage; 130 interrupted.
`

func setupHelp(*flag.FlagSet) action {
	return func(_ context.Context, e *env, args []string) error {
		if len(args) == 0 {
			return overview(e.stdout)
		}
		c, rest, err := find(args)
		if err != nil {
			return err
		}
		if len(rest) > 0 {
			return usage("help", "argument too many: %q", rest[0])
		}
		return c.show(e.stdout)
	}
}

// overview writes the table of commands.
func overview(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "Usage: jobcli COMMAND [flags] [arguments]\n\n")
	for _, c := range commands() {
		fmt.Fprintf(t, "  %s\t%s\n", c.name, c.help)
	}
	fmt.Fprint(t, helpTail)
	return written(t.Flush())
}

// show writes the help of one command.
func (c *command) show(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: jobcli %s %s\n\n%s.\n", c.name, c.synopsis, strings.ToUpper(c.help[:1])+c.help[1:])
	all := flag.NewFlagSet(c.name, flag.ContinueOnError)
	c.setup(all)
	common := flag.NewFlagSet("", flag.ContinueOnError)
	workerFlags(common)
	own, shared := divide(all, common)
	writeFlags(&b, "Flags", own)
	writeFlags(&b, "The worker", shared)
	_, err := io.WriteString(w, b.String())
	return written(err)
}

// divide sorts the flags of all into those that common has as well and the others.
func divide(all, common *flag.FlagSet) (own, shared *flag.FlagSet) {
	own, shared = flag.NewFlagSet("", flag.ContinueOnError), flag.NewFlagSet("", flag.ContinueOnError)
	all.VisitAll(func(f *flag.Flag) {
		to := own
		if common.Lookup(f.Name) != nil {
			to = shared
		}
		to.Var(f.Value, f.Name, f.Usage)
		to.Lookup(f.Name).DefValue = f.DefValue
	})
	return own, shared
}

func writeFlags(b *strings.Builder, title string, fs *flag.FlagSet) {
	any := false
	fs.VisitAll(func(*flag.Flag) { any = true })
	if !any {
		return
	}
	fmt.Fprintf(b, "\n%s:\n", title)
	fs.SetOutput(b)
	fs.PrintDefaults()
}
