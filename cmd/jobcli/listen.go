package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
)

// How a console reads its input.

// interact obeys a terminal that hands over each key.
func (c *console) interact(ctx context.Context, in io.Reader) error {
	c.note("", "help lists the commands; ^D or quit ends the console, and jobs go on")
	buf := make([]byte, 4<<10)
	for {
		n, err := in.Read(buf)
		for _, ev := range c.display.typed(buf[:n]) {
			if err := c.on(ctx, ev); err != nil {
				return err
			}
		}
		if err != nil {
			return inputEnd(ctx, err)
		}
	}
}

// inputEnd is what an error of standard input means: a terminal that hung up
// (EIO) ends it as well.
func inputEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.EIO) {
		return nil
	}
	return fmt.Errorf("read standard input: %w", err)
}

// on does what one event of the terminal asks for.
func (c *console) on(ctx context.Context, ev event) error {
	switch ev.kind {
	case eventEOF:
		return errQuit
	case eventSuspend:
		c.display.suspend()
	case eventInterrupt:
		c.endAside()
		c.renew(ctx)
		c.note("", "what waits is broken off; ^D or quit ends the console")
	case eventLine:
		_, err := c.enter(ctx, ev.line)
		c.refresh()
		return err
	}
	return nil
}

// lines obeys a script, or a terminal that hands over whole lines.
func (c *console) lines(ctx context.Context, in io.Reader) error {
	r := bufio.NewReader(in)
	for {
		if !c.script {
			c.display.ask(c.promptText())
		}
		text, err := readLine(r)
		if err != nil && (text == "" || err != io.EOF) {
			return inputEnd(ctx, err)
		}
		replies, err := c.enter(ctx, text)
		if err != nil {
			return err
		}
		if c.script {
			if err := c.converse(ctx, replies); err != nil {
				return err
			}
		}
	}
}

// converse waits for the replies to one line of a script.
func (c *console) converse(ctx context.Context, replies <-chan error) error {
	var first error
	for range cap(replies) {
		select {
		case err := <-replies:
			first = cmp.Or(first, err)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	switch {
	case first == nil || !c.strict:
		return nil
	case diagnose(first).status == unreachable:
		return exit(unreachable)
	}
	return exit(failed)
}

// readLine returns the next line without its end. Of one that is longer than
// maxLine it returns a little more than that, which parseLine refuses, and skips
// the rest.
func readLine(r *bufio.Reader) (string, error) {
	var b strings.Builder
	for {
		part, err := r.ReadSlice('\n')
		if b.Len() <= maxLine {
			b.Write(part)
		}
		if err != bufio.ErrBufferFull {
			return strings.TrimSuffix(strings.TrimSuffix(b.String(), "\n"), "\r"), err
		}
	}
}
