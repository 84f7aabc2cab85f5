package main

import (
	"io"
	"strings"
	"sync"
)

// A display is all that a console writes, in whole lines, each behind a prefix that
// says what it belongs to. At a terminal it takes the line that is being typed off
// the screen first and puts it back after. It is safe for concurrent use.
type display struct {
	env    *env
	tty    *tty        // nil: none that hands over single keys
	broken func(error) // gets the error of a write to standard output

	// mu is held while something is written, so that nothing tears
	// anything else apart.
	mu   sync.Mutex
	edit *editor // nil without a tty
}

func newDisplay(e *env, broken func(error)) *display {
	d := &display{env: e, broken: broken}
	if term, _ := e.lookup("TERM"); term == "dumb" {
		return d
	}
	if t, ok := openTTY(e.stdin, e.stdout); ok {
		d.tty, d.edit = t, new(editor)
	}
	return d
}

// data writes a line, escaped, to standard output.
func (d *display) data(prefix, line string) { d.write(d.env.stdout, prefix+printable(line)+"\n") }

// block writes the lines of text, each escaped, to standard output.
func (d *display) block(prefix, text string) {
	var b strings.Builder
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		b.WriteString(prefix + printable(line) + "\n")
	}
	d.write(d.env.stdout, b.String())
}

// message writes a line, escaped, to standard error, or to the same terminal.
func (d *display) message(prefix, line string) {
	if d.tty == nil {
		d.write(d.env.stderr, "jobcli: "+prefix+printable(line)+"\n")
		return
	}
	d.data(prefix, line)
}

func (d *display) write(w io.Writer, lines string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.edit != nil {
		lines = d.edit.hide() + lines + d.edit.draw(d.tty.width())
	}
	d.put(w, lines)
}

// put needs d.mu.
func (d *display) put(w io.Writer, s string) {
	if _, err := io.WriteString(w, s); err != nil && w == d.env.stdout {
		d.broken(written(err))
	}
}

// typed passes on what was typed and returns what came of it.
func (d *display) typed(p []byte) []event {
	d.mu.Lock()
	defer d.mu.Unlock()
	show, events := d.edit.feed(p, d.tty.width())
	d.put(d.env.stdout, show)
	return events
}

// ask writes a prompt for those who type whole lines.
func (d *display) ask(text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.put(d.env.stdout, text)
}

// prompt changes what stands before the line that is being typed.
func (d *display) prompt(text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.edit != nil && d.edit.prompt != text {
		d.edit.prompt = text
		d.put(d.env.stdout, d.edit.draw(d.tty.width()))
	}
}

// suspend lets the shell have the terminal until this process is continued.
func (d *display) suspend() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.put(d.env.stdout, d.edit.hide())
	d.tty.suspend()
	d.put(d.env.stdout, d.edit.draw(d.tty.width()))
}

// close gives the terminal back as it was. What is written after comes plain.
func (d *display) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.tty != nil {
		if d.edit != nil {
			d.put(d.env.stdout, d.edit.hide())
		}
		d.edit = nil
		d.tty.restore()
	}
}

// restore gives the terminal back at once, whoever is writing: something has gone
// so wrong that the process ends.
func (d *display) restore() {
	if d.tty != nil {
		d.tty.restore()
	}
}
