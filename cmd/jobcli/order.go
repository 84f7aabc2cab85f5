package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// An order is one row of the table of what the console understands.
type order struct {
	name     string
	synopsis string // its arguments
	help     string // what it does, in one line
	min, max int    // how many arguments it takes; max < 0: any number
	extra    string // what to say to those who give it more

	// do replies through the call. It is for no worker where here is set,
	// and then done in the goroutine of run, at once.
	do   func(ctx context.Context, k *call) error
	here bool

	// aside is of what waits by nature: it does not hold up what is typed
	// after it, and ^C breaks it off.
	aside bool
}

// everyone is the name that stands for all workers.
const everyone = "all"

// orders is the table; help shows it in this order.
func orders() []order {
	return []order{
		{name: "start", help: "make the worker ready: it takes ping, calculate and run", do: startWorker},
		{name: "stop", help: "make it unready: it takes none of these; what runs goes on", do: stopWorker, extra: "stop is for the worker; cancel ID stops a job"},
		{name: "terminate", help: "have it stop its jobs, clean up and exit", do: terminateWorker},
		{name: "ping", help: "ask for its clock, in seconds since 1970", do: pingWorker},
		{name: "calculate", synopsis: "SECONDS MESSAGE", help: "take so long, then print the message", min: 2, max: 2, do: calculate, extra: `a message of several words is quoted: "hello world"`},
		{name: "run", synopsis: "COMMAND [ARG...]", help: "start a job; the reply is its id", min: 1, max: -1, do: runJob},
		{name: "jobs", synopsis: "[all]", help: "list the jobs that run, or all", max: 1, do: listJobs},
		{name: "logs", synopsis: "ID", help: "show the output of a job so far; jobcli logs -f follows it", min: 1, max: 1, do: showLogs, aside: true},
		{name: "cancel", synopsis: "ID", help: "stop a job; the reply comes when it is over", min: 1, max: 1, do: cancelJob, aside: true},
		{name: "status", synopsis: "[ID]", help: "show the worker, or a job", max: 1, do: showStatus},
		{name: "wait", help: "wait until all that was started here is over", do: waitForAll, here: true, aside: true},
		{name: "workers", help: "list the workers; commands go to the one marked *", do: listWorkers, here: true},
		{name: "use", synopsis: "WORKER", help: "make another worker that one; @WORKER alone does so too", min: 1, max: 1, do: useWorker, here: true},
		{name: "help", synopsis: "[COMMAND]", help: "show this, or one command", max: 1, do: showHelp, here: true},
		{name: "quit", help: "end the console; jobs go on", do: quit, here: true},
	}
}

// A call is one order on its way to one worker.
type call struct {
	*order
	console *console
	link    *link // nil for an order that is done here
	number  int
	args    []string
}

// prefix begins every line of the reply.
func (k *call) prefix() string { return prefix(k.number, k.link) }

func prefix(number int, l *link) string {
	if l == nil {
		return fmt.Sprintf("[%d] ", number)
	}
	return fmt.Sprintf("[%d] %s: ", number, l.name)
}

// reply writes a line of the reply, replyLines several.
func (k *call) reply(format string, args ...any) {
	k.console.display.data(k.prefix(), fmt.Sprintf(format, args...))
}

func (k *call) replyLines(text string) { k.console.display.block(k.prefix(), text) }

// enter does what one line of input says. The channel, which may be nil, gets as
// many errors, or nils, as it has room for: one from each worker, when its reply is
// there. The error is errQuit, or nil.
func (c *console) enter(ctx context.Context, text string) (replies <-chan error, err error) {
	l, err := parseLine(text)
	if err == nil && l.to == "" && l.name == "" {
		return nil, nil
	}
	c.number++
	var calls []*call
	if err == nil {
		calls, err = c.address(l)
	}
	if err != nil {
		c.tell(prefix(c.number, nil), err)
		return result(err), nil
	}
	done := make(chan error, len(calls))
	for _, k := range calls {
		err := c.dispatch(ctx, k, done)
		if errors.Is(err, errQuit) {
			return nil, err
		}
	}
	return done, nil
}

// result is the channel for a reply that has been given.
func result(err error) <-chan error {
	done := make(chan error, 1)
	done <- err
	return done
}

// address makes a line into calls, one for each worker that it is for.
func (c *console) address(l line) ([]*call, error) {
	if l.name == "" {
		l.name, l.args, l.to = "use", []string{l.to}, ""
	}
	o, err := findOrder(l.name)
	if err != nil {
		return nil, err
	}
	if err := o.check(l.args); err != nil {
		return nil, err
	}
	if o.here && l.to != "" {
		return nil, fmt.Errorf("%s is for no worker: leave out the @%s", o.name, l.to)
	}
	targets, err := c.targets(o, l.to)
	if err != nil {
		return nil, err
	}
	var calls []*call
	for _, t := range targets {
		calls = append(calls, &call{order: o, console: c, link: t, number: c.number, args: l.args})
	}
	return calls, nil
}

// targets returns the links that an order is for; one that is nil for none.
func (c *console) targets(o *order, to string) ([]*link, error) {
	switch {
	case o.here:
		return []*link{nil}, nil
	case to == everyone:
		return c.links, nil
	case to != "":
		l, err := c.find(to)
		return []*link{l}, err
	}
	return []*link{c.currentLink()}, nil
}

// find returns the worker of a name.
func (c *console) find(name string) (*link, error) {
	var names []string
	for _, l := range c.links {
		if l.name == name {
			return l, nil
		}
		names = append(names, l.name)
	}
	return nil, fmt.Errorf("no worker %q; there are: %s", name, strings.Join(names, ", "))
}

func findOrder(name string) (*order, error) {
	var close []string
	table := orders()
	for i, o := range table {
		if o.name == name {
			return &table[i], nil
		}
		if distance(name, o.name) <= 1 {
			close = append(close, o.name)
		}
	}
	if len(close) > 0 {
		return nil, fmt.Errorf("no command %q; did you mean %s?", name, strings.Join(close, ", "))
	}
	return nil, fmt.Errorf("no command %q; help lists them", name)
}

// check reports whether there are as many arguments as the order takes.
func (o *order) check(args []string) error {
	switch {
	case len(args) < o.min:
		return fmt.Errorf("argument missing: %s %s", o.name, o.synopsis)
	case o.max >= 0 && len(args) > o.max && o.extra != "":
		return fmt.Errorf("argument too many: %q; %s", args[o.max], o.extra)
	case o.max >= 0 && len(args) > o.max:
		return fmt.Errorf("argument too many: %q; %s", args[o.max], strings.TrimSpace("it is "+o.name+" "+o.synopsis))
	}
	return nil
}

// dispatch has k done, at once or in its turn; then done gets its error.
func (c *console) dispatch(ctx context.Context, k *call, done chan<- error) error {
	if k.here && !k.aside {
		err := k.perform(ctx)
		done <- err
		return err
	}
	slots := c.slots
	if k.aside {
		slots = c.asides
	}
	select {
	case slots <- struct{}{}:
	default:
		err := fmt.Errorf("%d commands have no reply yet: wait for some", cap(slots))
		c.tell(k.prefix(), err)
		done <- err
		return nil
	}
	finish := func(err error) { <-slots; done <- err }
	if !k.aside {
		k.link.queue <- func(ctx context.Context) { finish(k.perform(ctx)) }
		return nil
	}
	aside := c.aside
	c.spawn(func() { finish(k.perform(aside)) })
	return nil
}

// perform does k and tells what goes wrong.
func (k *call) perform(ctx context.Context) error {
	err := k.attempt(ctx)
	if err != nil && !errors.Is(err, errQuit) {
		k.console.tell(k.prefix(), err)
	}
	return err
}

// attempt does k. In a script it waits for a worker that is not there: nothing has
// been sent to it then.
func (k *call) attempt(ctx context.Context) error {
	if k.link == nil {
		return k.do(ctx, k)
	}
	select {
	case <-k.link.tried:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	again := retry{worker: k.link.worker, env: k.console.env, quiet: true, met: true}
	for {
		err := k.once(ctx)
		if !k.console.script || !neverThere(err) {
			return k.link.worker.explain(ctx, k.console.env, err)
		}
		if err := again.pause(ctx, err); err != nil {
			return err
		}
	}
}

// replyTime is how long a worker may take for a reply that does not wait by nature.
const replyTime = 30 * time.Second

func withReplyTime(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, replyTime, fmt.Errorf("no reply within %s", replyTime))
}

func (k *call) once(ctx context.Context) error {
	if !k.aside {
		var cancel context.CancelFunc
		ctx, cancel = withReplyTime(ctx)
		defer cancel()
	}
	err := k.do(ctx, k)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// errBroken is what became of a command that was broken off.
var errBroken = errors.New("broken off")

// tell says what went wrong, and what to do about it.
func (c *console) tell(prefix string, err error) {
	if errors.Is(err, context.Canceled) {
		err = errBroken
	}
	c.display.message(prefix+"error: ", err.Error())
	if hint := diagnose(err).inConsole(); hint != "" {
		c.display.message(prefix+"hint: ", hint)
	}
}
