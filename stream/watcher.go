package stream

import (
	"fmt"
	"os"
	"sync"
	"time"
)

// wakePause is how long followers are left alone after they were woken: a busy job would wake each of them for each
// of its writes otherwise, thousands of times a second. The first write after a quiet time is told at once.
const wakePause = time.Millisecond

// Watcher tells followers that their logs grew: one inotify instance, of which a user may have 128 (inotify(7),
// max_user_instances), with a watch for each followed log. It is safe for concurrent use.
type Watcher struct {
	fd     int      // of events; used under mu while not closed
	events *os.File // reads are woken by Close
	done   chan struct{}

	mu     sync.Mutex // guards what follows, held for moments
	closed bool
	logs   map[int]*watchedLog // by watch descriptor
}

// watchedLog is a log that has followers.
type watchedLog struct {
	followers int
	changed   chan struct{} // closed at the next change; nil while nobody waits
}

// watch is one follower's share in a watchedLog.
type watch struct {
	watcher *Watcher
	wd      int
	log     *watchedLog
}

// NewWatcher returns a Watcher with a goroutine of its own, which Close ends. On systems other than Linux it returns
// errors.ErrUnsupported.
func NewWatcher() (*Watcher, error) {
	fd, err := inotifyOpen()
	if err != nil {
		return nil, fmt.Errorf("new watcher: %w", err)
	}
	w := &Watcher{
		fd:     fd,
		events: os.NewFile(uintptr(fd), "inotify"),
		done:   make(chan struct{}),
		logs:   make(map[int]*watchedLog),
	}
	go w.run()
	return w, nil
}

// Close ends the watching and waits for its goroutine. Followers that still wait get os.ErrClosed.
func (w *Watcher) Close() error {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil
	}
	w.closed = true
	for _, l := range w.logs {
		l.wake()
	}
	w.mu.Unlock()
	err := w.events.Close()
	<-w.done
	return err
}

// run reads events until Close.
func (w *Watcher) run() {
	defer close(w.done)
	buf := make([]byte, 16<<10)
	for {
		n, err := w.events.Read(buf)
		if err != nil {
			return
		}
		w.dispatch(buf[:n])
		time.Sleep(wakePause)
	}
}

// dispatch wakes the followers of each log that changed, all when events were lost.
func (w *Watcher) dispatch(events []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(events) > 0 {
		var wd int
		wd, events = inotifyEvent(events)
		if l := w.logs[wd]; l != nil {
			l.wake()
		}
		if wd < 0 {
			for _, l := range w.logs {
				l.wake()
			}
		}
	}
}

func (l *watchedLog) wake() {
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// watch begins to follow f. The kernel gives the same descriptor for the same file.
func (w *Watcher) watch(f *os.File) (*watch, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, fmt.Errorf("watch %s: %w", f.Name(), os.ErrClosed)
	}
	wd, err := inotifyAdd(w.fd, f)
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", f.Name(), err)
	}
	l := w.logs[wd]
	if l == nil {
		l = new(watchedLog)
		w.logs[wd] = l
	}
	l.followers++
	return &watch{watcher: w, wd: wd, log: l}, nil
}

// changed returns a channel that is closed at the next growth. Take it before looking at the file.
func (s *watch) changed() (<-chan struct{}, error) {
	s.watcher.mu.Lock()
	defer s.watcher.mu.Unlock()
	if s.watcher.closed {
		return nil, fmt.Errorf("watch log: %w", os.ErrClosed)
	}
	if s.log.changed == nil {
		s.log.changed = make(chan struct{})
	}
	return s.log.changed, nil
}

// release ends a follower's share; the last one takes the watch with it.
func (s *watch) release() error {
	w := s.watcher
	w.mu.Lock()
	defer w.mu.Unlock()
	s.log.followers--
	if s.log.followers > 0 {
		return nil
	}
	delete(w.logs, s.wd)
	if w.closed {
		return nil
	}
	if err := inotifyRemove(w.fd, s.wd); err != nil {
		return fmt.Errorf("remove watch: %w", err)
	}
	return nil
}
