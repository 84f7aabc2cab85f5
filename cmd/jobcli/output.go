package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
)

// output is how a command shows what it has to say.
type output struct {
	json  bool
	quiet bool
}

// outputFlags declares -o, which is plain unless it is given, and -q with what
// that means.
func outputFlags(fs *flag.FlagSet, plain, quiet string) *output {
	o := new(output)
	fs.Func("o", "output `FORMAT`: "+plain+" (the default) or json", func(s string) error {
		if s != plain && s != "json" {
			return fmt.Errorf("must be %s or json", plain)
		}
		o.json = s == "json"
		return nil
	})
	fs.BoolVar(&o.quiet, "q", false, quiet)
	return o
}

// quietFlag declares -q for a command that has no output and no notes: scripts may
// give it to every command.
func quietFlag(fs *flag.FlagSet) *bool { return fs.Bool("q", false, noNotes) }

// noNotes is what -q means where it has no other meaning.
const noNotes = "say nothing on standard error but errors"

// writeJSON writes v as one line.
func writeJSON(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return written(err)
}
