package nsinit_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"jobworker/nsinit"
)

// startWithStdin is start with an input. The daemon's own descriptor of the FIFO
// is closed by then, as that of a daemon that died would be.
func (fx *fixture) startWithStdin(script string) *nsinit.Process {
	fx.t.Helper()
	fx.stdin = filepath.Join(filepath.Dir(fx.log), "stdin")
	f, err := nsinit.MakeStdin(fx.stdin)
	must(fx.t, err)
	defer f.Close()
	fx.count = fx.stdin + ".count"
	count, err := nsinit.MakeCount(fx.count)
	must(fx.t, err)
	defer count.Close()
	c := fx.config(script)
	c.Stdin, fx.files.Stdin, fx.files.Count = true, f, count
	p, err := fx.launch(fx.t.Context(), c)
	must(fx.t, err)
	fx.t.Cleanup(func() { p.Close() })
	return p
}

// feed opens the input, writes s and closes it.
func (fx *fixture) feed(s string) {
	fx.t.Helper()
	w, err := nsinit.OpenStdin(fx.stdin)
	must(fx.t, err)
	_, err = w.WriteString(s)
	must(fx.t, errors.Join(err, w.Close()))
}

// awaitClosed returns when nsinit has closed the input.
func (fx *fixture) awaitClosed() {
	fx.t.Helper()
	for end := time.Now().Add(limit); time.Now().Before(end); runtime.Gosched() {
		w, err := nsinit.OpenStdin(fx.stdin)
		if errors.Is(err, nsinit.ErrStdinClosed) {
			return
		}
		must(fx.t, err)
		must(fx.t, w.Close())
	}
	fx.t.Fatal("the input stays open")
}

// TestStdinOutlivesWriters: neither a writer that leaves nor a daemon that died is
// the end of the input, only CloseStdin is.
func TestStdinOutlivesWriters(t *testing.T) {
	fx := newFixture(t)
	fifo := fx.fifo()
	p := fx.startWithStdin("while read line; do echo got $line > fifo; done; echo end > fifo")
	for i := range 3 {
		fx.feed(fmt.Sprintf("%d\n", i))
		if b, want := fx.read(fifo), fmt.Sprintf("got %d\n", i); string(b) != want {
			t.Fatalf("the job says %q, want %q", b, want)
		}
	}
	must(t, nsinit.CloseStdin(fx.control))
	if b := fx.read(fifo); string(b) != "end\n" {
		t.Errorf("the job says %q, want the end of its input", b)
	}
	must(t, p.Wait())
	must(t, fx.files.Control.Close())
	must(t, nsinit.CloseStdin(fx.control)) // of what is gone already
}

// TestStdinWhole: every byte arrives in order, in whatever pieces it was written,
// and before the end of the input.
func TestStdinWhole(t *testing.T) {
	fx := newFixture(t)
	p := fx.startWithStdin("sha256sum")
	w, err := nsinit.OpenStdin(fx.stdin)
	must(t, err)
	defer w.Close()
	random, hash := rand.NewChaCha8([32]byte{1}), sha256.New()
	piece := make([]byte, 300_000)
	for n := 0; n < 16<<20; {
		random.Read(piece)
		part := piece[:1+random.Uint64()%uint64(len(piece))]
		if n%3 == 0 {
			part = part[:1] // many small ones, which take a slot of the pipe each
		}
		_, err := w.Write(part)
		must(t, err)
		hash.Write(part)
		n += len(part)
	}
	must(t, nsinit.CloseStdin(fx.control))
	must(t, p.Wait())
	if want := fmt.Sprintf("%x  -\n", hash.Sum(nil)); fx.output() != want {
		t.Errorf("the job's hash is %q, want %q", fx.output(), want)
	}
}

// TestStdinOpenedLate: /dev/stdin can be opened when the input has ended already,
// and has all of it.
func TestStdinOpenedLate(t *testing.T) {
	fx := newFixture(t)
	fifo := fx.fifo()
	p := fx.startWithStdin("read go < fifo; cat /dev/stdin; cat < /dev/stdin; echo over")
	fx.feed("input\n")
	must(t, nsinit.CloseStdin(fx.control))
	fx.awaitClosed()
	must(t, os.WriteFile(fifo, []byte("go\n"), 0))
	must(t, p.Wait())
	if want := "input\nover\n"; fx.output() != want {
		t.Errorf("output %q, want %q", fx.output(), want)
	}
}

// TestStdinNotRead: a job that does not read takes a bounded amount, still gets
// signals, and its end is the writer's too.
func TestStdinNotRead(t *testing.T) {
	fx := newFixture(t)
	p := fx.startWithStdin("exec sleep 1000")
	w, err := nsinit.OpenStdin(fx.stdin)
	must(t, err)
	defer w.Close()
	must(t, w.SetWriteDeadline(time.Now().Add(300*time.Millisecond)))
	n, err := w.Write(make([]byte, 16<<20))
	if !errors.Is(err, os.ErrDeadlineExceeded) || n > 2<<20 {
		t.Errorf("write: %d bytes, %v, want that it is held at 2 MiB or less", n, err)
	}
	must(t, w.SetWriteDeadline(time.Time{}))
	written := make(chan error, 1)
	go func() {
		_, err := w.Write([]byte("x"))
		written <- err
	}()
	must(t, nsinit.CloseStdin(fx.control)) // waits for room too
	must(t, nsinit.Signal(fx.control, 15))
	must(t, p.Wait())
	if err := <-written; err != nil && !errors.Is(err, unix.EPIPE) {
		t.Errorf("write to a job that is over: %v, want EPIPE", err)
	}
	fx.awaitClosed()
}

// TestStdinClosedByJob: when no process of the job can read its input any more, who
// writes is told, although the job goes on.
func TestStdinClosedByJob(t *testing.T) {
	fx := newFixture(t)
	fifo := fx.fifo()
	p := fx.startWithStdin("exec 3<&0 < /dev/null; sleep 1000 <&3 & exec 3<&-; echo held > fifo; read go < fifo; kill $!; wait $!; echo closed > fifo; read go < fifo; exit 5")
	if b := fx.read(fifo); string(b) != "held\n" {
		t.Fatalf("fifo: %q", b)
	}
	fx.feed("for the child\n")
	must(t, os.WriteFile(fifo, []byte("go\n"), 0))
	if b := fx.read(fifo); string(b) != "closed\n" {
		t.Fatalf("fifo: %q", b)
	}
	fx.awaitClosed()
	must(t, nsinit.CloseStdin(fx.control))
	must(t, os.WriteFile(fifo, []byte("go\n"), 0))
	must(t, p.Wait())
	if e := fx.exited(); e == nil || e.Code == nil || *e.Code != 5 {
		t.Errorf("exit file %q", fx.read(fx.exit))
	}
}

// asked asserts what nsinit answers about its input.
func (fx *fixture) asked(accepted int64, closed bool) {
	fx.t.Helper()
	ctx, cancel := context.WithTimeout(fx.t.Context(), limit)
	defer cancel()
	n, c, err := nsinit.AskCount(ctx, fx.control, fx.count)
	if err != nil || n != accepted || c != closed {
		fx.t.Errorf("count of the input: %d, %t, %v, want %d, %t", n, c, err, accepted, closed)
	}
}

// TestStdinCount: a daemon that did not write the input learns how much there was,
// whether the job has read it or not, and after the end too.
func TestStdinCount(t *testing.T) {
	fx := newFixture(t)
	fifo := fx.fifo()
	p := fx.startWithStdin("read go < fifo; head -c 10 > /dev/null; echo read > fifo; exec sleep 1000")
	fx.asked(0, false)
	w, err := nsinit.OpenStdin(fx.stdin)
	must(t, err)
	must(t, w.SetWriteDeadline(time.Now().Add(100*time.Millisecond)))
	// More than the job's pipe holds: the rest stays in the FIFO.
	n, err := w.Write(make([]byte, 8<<20))
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("write: %d bytes, %v, want the pipes full", n, err)
	}
	must(t, w.Close())
	fx.asked(int64(n), false)
	must(t, nsinit.CloseStdin(fx.control))
	fx.asked(int64(n), true)
	must(t, os.WriteFile(fifo, []byte("go\n"), 0))
	fx.read(fifo)
	fx.asked(int64(n), true)
	must(t, nsinit.Signal(fx.control, int(unix.SIGTERM)))
	must(t, p.Wait())
	if e := fx.exited(); e == nil || e.StdinBytes != int64(n) {
		t.Errorf("exit file %q: want %d bytes of input", fx.read(fx.exit), n)
	}
	must(t, fx.files.Control.Close())
	_, _, err = nsinit.AskCount(t.Context(), fx.control, fx.count)
	if !errors.Is(err, nsinit.ErrStdinClosed) {
		t.Errorf("count of an input whose nsinit has ended: %v, want ErrStdinClosed", err)
	}
}
