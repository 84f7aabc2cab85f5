package main

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// programName is what the test binary is called where it is the program of a job.
const programName = "jobprogram"

// steps are what that program can do. Its arguments are steps, "name:value", done in
// order.
var steps = map[string]func(value string) error{
	"out":   func(v string) error { return say(os.Stdout, v+"\n") },
	"err":   func(v string) error { return say(os.Stderr, v+"\n") },
	"raw":   func(v string) error { return say(os.Stdout, v) },
	"lines": printLines,
	"noise": printNoise,
	"env":   func(v string) error { return say(os.Stdout, os.Getenv(v)+"\n") },
	"kill":  killSelf,
	"mem":   useMemory,
	"hold":  func(string) error { forever(); return nil },
	"deaf":  ignoreSignals,
	"trap":  trapInterrupt,
	"flood": flood,
	"cat":   func(string) error { _, err := io.Copy(os.Stdout, os.Stdin); return err },
	"sum":   sumInput,
	"take":  takeInput,
}

// forever does nothing until a signal ends it. Go's runtime would call an empty select
// a deadlock.
func forever() {
	for {
		time.Sleep(time.Hour)
	}
}

func program(args []string) int {
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, ":")
		if name == "exit" {
			code, err := strconv.Atoi(value)
			if err != nil {
				return 99
			}
			return code
		}
		step, ok := steps[name]
		if !ok {
			fmt.Fprintf(os.Stderr, "unknown step %q\n", arg)
			return 99
		}
		if err := step(value); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", arg, err)
			return 98
		}
	}
	return 0
}

func say(f *os.File, s string) error {
	_, err := f.WriteString(s)
	return err
}

// printLines prints numbered lines, each with a write of its own.
func printLines(v string) error {
	n, err := strconv.Atoi(v)
	for i := 1; i <= n && err == nil; i++ {
		err = say(os.Stdout, fmt.Sprintf("line %d\n", i))
	}
	return err
}

// noise is n bytes that are the same every time.
func noise(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// printNoise prints noise in pieces of uneven size.
func printNoise(v string) error {
	n, err := strconv.Atoi(v)
	if err != nil {
		return err
	}
	b := noise(n)
	for i := 0; len(b) > 0; i++ {
		size := min(len(b), 1+i*7919%30000)
		if _, err := os.Stdout.Write(b[:size]); err != nil {
			return err
		}
		b = b[size:]
	}
	return nil
}

// sumInput reads all of the input and prints how much it was, and its hash.
func sumInput(string) error {
	h := sha256.New()
	n, err := io.Copy(h, os.Stdin)
	return errors.Join(err, say(os.Stdout, fmt.Sprintf("%d %x\n", n, h.Sum(nil))))
}

// takeInput prints so many bytes of the input and reads no more.
func takeInput(v string) error {
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		return err
	}
	_, err = io.CopyN(os.Stdout, os.Stdin, n)
	return err
}

func killSelf(v string) error {
	n, err := strconv.Atoi(v)
	if err != nil {
		return err
	}
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		return err
	}
	if err := self.Signal(syscall.Signal(n)); err != nil {
		return err
	}
	forever()
	return nil
}

func useMemory(v string) error {
	n, err := strconv.Atoi(v)
	if err != nil {
		return err
	}
	b := make([]byte, n)
	for i := 0; i < n; i += 4096 {
		b[i] = 1
	}
	return say(os.Stdout, fmt.Sprintf("%d bytes used, %d\n", n, b[n/2]))
}

// ignoreSignals ends by force only.
func ignoreSignals(string) error {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM)
	if err := say(os.Stdout, "deaf\n"); err != nil {
		return err
	}
	forever()
	return nil
}

// trapInterrupt prints a line for each SIGINT and ends with SIGTERM, with status 7.
func trapInterrupt(string) error {
	c := make(chan os.Signal, 8)
	signal.Notify(c, syscall.SIGINT, syscall.SIGTERM)
	if err := say(os.Stdout, "trap set\n"); err != nil {
		return err
	}
	for s := range c {
		if s == syscall.SIGTERM {
			os.Exit(7)
		}
		if err := say(os.Stdout, "interrupted\n"); err != nil {
			return err
		}
	}
	return nil
}

// flood prints lines until it cannot.
func flood(string) error {
	w := bufio.NewWriter(os.Stdout)
	for {
		if _, err := fmt.Fprintln(w, time.Now()); err != nil {
			return err
		}
	}
}
