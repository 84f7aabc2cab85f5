package stream_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"

	"jobworker/stream"
)

// TestFollowers: many of one job, joining at any time and any offset, get the same bytes.
func TestFollowers(t *testing.T) {
	const followers, frames = 100, 400
	path, f := create(t)
	watch := watcher(t)
	w := stream.NewWriter(f, 0)
	must(t, w.Start("job", []string{"true"}, t0))
	rng := rand.New(rand.NewPCG(10, 11))
	var m model // written before: the followers only read it
	_, scratch := create(t)
	m.write(t, stream.NewWriter(scratch, 0), rng, frames, 2000)
	m.ended = true
	done := make(chan struct{})
	var all sync.WaitGroup
	for i, frame := range m.frames {
		end := len(m.data)
		if i+1 < frames {
			end = m.frames[i+1].offset
		}
		must(t, w.Output(m.source[frame.offset], frame.time, m.data[frame.offset:end]))
		if i%(frames/followers) == 0 {
			q := stream.Query{Follow: true, Offset: rng.Int64N(int64(end) + 1)}
			all.Go(func() { m.follow(t, path, watch, done, q) })
		}
	}
	must(t, w.Exit(t0, stream.Verdict{Reason: "exited"}, nil))
	close(done)
	all.Wait()
}

func (m *model) follow(t *testing.T, path string, w *stream.Watcher, done <-chan struct{}, q stream.Query) {
	r, err := stream.Open(path, w, done, q)
	if err != nil {
		t.Error(err)
		return
	}
	defer r.Close()
	got, err := m.read(t.Context(), r)
	if err == nil {
		err = got.diff(m.answer(q))
	}
	if err != nil {
		t.Errorf("%+v: %v", q, err)
	}
}

// TestTornLines: a follower of a log that grows byte by byte, and loses half a line again, sees whole lines only.
func TestTornLines(t *testing.T) {
	whole, scratch := create(t)
	w := stream.NewWriter(scratch, 0)
	must(t, w.Start("job", []string{"true"}, t0))
	rng := rand.New(rand.NewPCG(12, 13))
	var m model
	m.write(t, w, rng, 300, 4000)
	must(t, w.Exit(t0, stream.Verdict{Reason: "exited"}, nil))
	m.ended = true
	wire, err := os.ReadFile(whole)
	must(t, err)

	path, f := create(t)
	watch := watcher(t)
	var reading sync.WaitGroup
	reading.Go(func() { m.follow(t, path, watch, nil, stream.Query{Follow: true}) })
	for size := 0; size < len(wire); {
		n := min(1+rng.IntN(3000), len(wire)-size)
		_, err := f.Write(wire[size : size+n])
		must(t, err)
		size += n
		if rng.IntN(10) == 0 {
			size = bytes.LastIndexByte(wire[:size], '\n') + 1
			must(t, f.Truncate(int64(size)))
			half := wire[size:min(size+20, len(wire))]
			_, err = f.Write(bytes.ReplaceAll(half, []byte("\n"), []byte("?"))) // of another line
			must(t, err)
			must(t, f.Truncate(int64(size)))
		}
	}
	reading.Wait()
}

// TestFollowSilent: a follower of a silent job ends with its context at once, may go on, and leaves nothing behind.
func TestFollowSilent(t *testing.T) {
	path, f := create(t)
	watch := watcher(t)
	before := openFiles()
	w := stream.NewWriter(f, 0)
	must(t, w.Start("job", []string{"true"}, t0))
	r, err := stream.Open(path, watch, nil, stream.Query{Follow: true})
	must(t, err)
	lines, err := r.Next(t.Context())
	if err != nil || !bytes.HasPrefix(lines, []byte(`{"type":"start"`)) {
		t.Fatalf("first lines %q, %v", lines, err)
	}
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error)
		go func() {
			_, err := r.Next(ctx)
			result <- err
		}()
		cancel()
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Errorf("next: %v, want the context's error", err)
		}
	}
	if e := r.End(); e.Next != 0 || e.Reason != stream.EndSnapshot {
		t.Errorf("end in between: %+v", e)
	}
	must(t, w.Output(stream.Stdout, t0, []byte("hello")))
	if lines, err = r.Next(t.Context()); err != nil || !bytes.Contains(lines, []byte("hello")) {
		t.Errorf("after the heartbeat: %q, %v", lines, err)
	}
	must(t, r.Close())
	if n := openFiles(); n != before {
		t.Errorf("%d open files, %d before", n, before)
	}
	info, err := os.ReadFile("/proc/self/fdinfo/" + inotifyFD(t))
	must(t, err)
	if bytes.Contains(info, []byte("inotify wd:")) {
		t.Errorf("a watch is left: %s", info)
	}
}

// inotifyFD finds the one inotify instance of the process.
func inotifyFD(t *testing.T) string {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	for _, n := range names {
		if to, err := os.Readlink("/proc/self/fd/" + n.Name()); err == nil && strings.Contains(to, "inotify") {
			return n.Name()
		}
	}
	t.Fatal("no inotify instance")
	return ""
}

// TestFollowEnds: done, the exit frame or the limit end a follower, each with its reason.
func TestFollowEnds(t *testing.T) {
	for _, c := range []struct {
		name, reason string
		limit        int64
		exit, done   bool
	}{
		{"exit", stream.EndComplete, 0, true, false},
		{"done", stream.EndComplete, 0, false, true},
		{"limit", stream.EndLimit, 3, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			path, f := create(t)
			w := stream.NewWriter(f, 0)
			done := make(chan struct{})
			r, err := stream.Open(path, watcher(t), done, stream.Query{Follow: true, Limit: c.limit})
			must(t, err)
			defer r.Close()
			m := model{data: []byte("hello"), source: repeat(stream.Stderr, 5), frames: []modelFrame{{0, t0}}, ended: c.exit}
			result := make(chan error)
			go func() {
				got, err := m.read(t.Context(), r)
				if err == nil {
					want := m.answer(stream.Query{Limit: c.limit})
					want.start, want.end.Reason = false, c.reason
					err = got.diff(want)
				}
				result <- err
			}()
			must(t, w.Output(stream.Stderr, t0, m.data))
			if c.exit {
				must(t, w.Exit(t0, stream.Verdict{Reason: "exited"}, nil))
			}
			if c.done {
				close(done)
			}
			if err := <-result; err != nil {
				t.Error(err)
			}
		})
	}
}

// TestWatcherClose: followers that wait are told.
func TestWatcherClose(t *testing.T) {
	path, f := create(t)
	must(t, stream.NewWriter(f, 0).Start("job", []string{"true"}, t0))
	w, err := stream.NewWatcher()
	must(t, err)
	r, err := stream.Open(path, w, nil, stream.Query{Follow: true, Offset: 0})
	must(t, err)
	_, err = r.Next(t.Context())
	must(t, err)
	result := make(chan error)
	go func() {
		_, err := r.Next(t.Context())
		result <- err
	}()
	must(t, w.Close())
	must(t, w.Close())
	if err := <-result; !errors.Is(err, os.ErrClosed) {
		t.Errorf("next: %v, want os.ErrClosed", err)
	}
	must(t, r.Close())
	if r, err := stream.Open(path, w, nil, stream.Query{Follow: true}); !errors.Is(err, os.ErrClosed) {
		r.Close()
		t.Errorf("open with a closed watcher: %v", err)
	}
}
