package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// A console is jobcli console: the controller of one or more workers.
//
//	standard input ─▶ console ─▶ link of worker1 ─▶ sender    its commands, in order
//	                         └─▶ link of worker2    follower  its state and its events
//	                                     └─▶ display ─▶ the terminal
//
// One goroutine, that of run, reads input and gives every command its number. Two
// belong to each link, and one to each command that waits by nature (logs, cancel,
// wait), which does not hold up those after it. run waits for all of them.
//
// At a terminal the next command is read at once. A script is a conversation: the
// next line is read when the one before has its reply.
type console struct {
	env     *env
	display *display
	links   []*link
	script  bool
	strict  bool // -e
	quiet   bool // -q

	end  context.CancelCauseFunc // ends run
	work sync.WaitGroup          // all goroutines but that of run

	// One for each command that has no reply yet. Those that wait by nature
	// have their own: a request each, of which a worker serves 250 at once.
	slots, asides chan struct{}

	// Of the goroutine of run alone.
	number   int                // of the last command
	aside    context.Context    // of the commands that wait by nature
	endAside context.CancelFunc // breaks them off

	// mu guards current, for as long as it takes to read or set it.
	mu      sync.Mutex
	current *link

	// prompting is held while the prompt is made and shown, so that the one
	// that is shown last is the newest.
	prompting sync.Mutex
}

const (
	maxPending = 256             // commands without a reply
	maxAside   = 64              // of those that wait by nature
	drainTime  = 5 * time.Second // for the replies to others, at the end
)

// An endpoint is a worker by its name.
type endpoint struct{ name, addr string }

func setupConsole(fs *flag.FlagSet) action {
	w := workerFlags(fs)
	var workers []endpoint
	fs.Func("worker", "a worker, `NAME=URL`; repeatable, and all get the same certificate (default: one, that of -addr)", func(v string) error {
		name, addr, ok := strings.Cut(v, "=")
		named := func(e endpoint) bool { return e.name == name }
		switch {
		case !ok || !isWorkerName(name):
			return errors.New("must be NAME=URL, as in worker1=" + defaultAddr)
		case name == everyone || slices.ContainsFunc(workers, named):
			return fmt.Errorf("the name %q is taken", name)
		}
		workers = append(workers, endpoint{name, addr})
		return nil
	})
	quiet := quietFlag(fs)
	strict := fs.Bool("e", false, "end a script at the first command that fails, with status 1, or 5 where its worker cannot be reached")
	return func(ctx context.Context, e *env, _ []string) error {
		switch {
		case len(workers) > 0 && w.addr != "":
			return usage("", "-addr: cannot go with -worker")
		case len(workers) == 0:
			workers = []endpoint{{defaultName(w.address(e)), w.address(e)}}
		}
		c := &console{env: e, strict: *strict, quiet: *quiet, slots: make(chan struct{}, maxPending), asides: make(chan struct{}, maxAside)}
		for _, p := range workers {
			if err := c.add(w, p); err != nil {
				return err
			}
		}
		return c.run(ctx)
	}
}

// isWorkerName reports whether a name can stand after an @ and before a colon.
func isWorkerName(name string) bool {
	return name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == ""
}

// defaultName is the name of the only worker: its host's, unless that is a number.
func defaultName(addr string) string {
	u, err := url.Parse(addr)
	if err != nil || net.ParseIP(u.Hostname()) != nil || !isWorkerName(u.Hostname()) {
		return "worker"
	}
	return u.Hostname()
}

// add makes a link to a worker. The certificates are those of w.
func (c *console) add(w *worker, p endpoint) error {
	one := *w
	one.addr = p.addr
	client, err := one.dial(c.env)
	if err != nil {
		return err
	}
	c.links = append(c.links, newLink(c, p.name, &one, client))
	return nil
}

// run returns when input ends, with quit, and with ctx, whose cause it returns.
func (c *console) run(ctx context.Context) error {
	ctx, c.end = context.WithCancelCause(ctx)
	c.display = newDisplay(c.env, c.end)
	c.script = !isTerminal(c.env.stdin) || !isTerminal(c.env.stdout)
	c.renew(ctx)
	defer c.close()
	in, free, err := breakable(ctx, c.env.stdin)
	if err != nil {
		return err
	}
	defer free()
	c.use(c.links[0])
	for _, l := range c.links {
		c.spawn(func() { l.send(ctx) })
		c.spawn(func() { (&follower{link: l}).run(ctx) })
	}
	if c.display.tty != nil {
		err = c.interact(ctx, in)
	} else {
		err = c.lines(ctx, in)
	}
	if errors.Is(err, errQuit) {
		err = nil
	}
	if err == nil {
		c.drain(ctx)
	}
	return cmp.Or(err, context.Cause(ctx))
}

// errQuit ends a console because somebody said so.
var errQuit = errors.New("quit")

// spawn runs f in a goroutine that close waits for. Should it panic, the terminal
// can still be used to read why.
func (c *console) spawn(f func()) {
	c.work.Go(func() {
		returned := false
		defer func() {
			if !returned {
				c.display.restore()
			}
		}()
		f()
		returned = true
	})
}

// close ends all that goes on, waits for it, and gives the terminal back. Jobs go
// on, and so does a start that is on its way.
func (c *console) close() {
	defer c.display.close()
	c.end(nil)
	c.work.Wait()
	for _, l := range c.links {
		l.client.Close()
	}
}

// drain waits a while for the replies to what was typed.
func (c *console) drain(ctx context.Context) {
	c.endAside()
	limit := time.After(drainTime)
	for range cap(c.slots) {
		select {
		case c.slots <- struct{}{}:
		case <-limit:
			return
		case <-ctx.Done():
			return
		}
	}
}

// renew gives the commands that wait by nature a new context.
func (c *console) renew(ctx context.Context) {
	c.aside, c.endAside = context.WithCancel(ctx)
}

// note says what is no error.
func (c *console) note(prefix, text string) {
	if !c.quiet {
		c.display.message(prefix, text)
	}
}

// use makes l the worker that commands go to.
func (c *console) use(l *link) {
	c.mu.Lock()
	c.current = l
	c.mu.Unlock()
	c.refresh()
}

// refresh shows the prompt as it is now. The caller holds no lock.
func (c *console) refresh() {
	c.prompting.Lock()
	defer c.prompting.Unlock()
	c.display.prompt(c.promptText())
}

func (c *console) currentLink() *link {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current
}

// maxState is how many characters of what a worker calls its state are shown.
const maxState = 20

// promptText names the current worker and its state.
func (c *console) promptText() string {
	l := c.currentLink()
	return fmt.Sprintf("%s (%s)> ", l.name, shorten(printable(l.stateNow()), maxState))
}
