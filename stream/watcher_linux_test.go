package stream

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOverflow: when the kernel's queue overflowed, every follower is woken, otherwise those of the file.
func TestOverflow(t *testing.T) {
	event := func(wd int32, mask uint32, name string) []byte {
		b := binary.NativeEndian.AppendUint32(nil, uint32(wd))
		b = binary.NativeEndian.AppendUint32(b, mask)
		b = binary.NativeEndian.AppendUint32(b, 0)
		b = binary.NativeEndian.AppendUint32(b, uint32(len(name)))
		return append(b, name...)
	}
	for _, c := range []struct {
		events     []byte
		woken, all bool
	}{
		{event(1, unix.IN_MODIFY, ""), true, false},
		{append(event(9, unix.IN_MODIFY, "name\x00\x00\x00\x00"), event(1, unix.IN_MODIFY, "")...), true, false},
		{event(9, unix.IN_IGNORED, ""), false, false},
		{event(-1, unix.IN_Q_OVERFLOW, ""), true, true},
		{event(1, unix.IN_MODIFY, "")[:7], true, true},
		{event(9, unix.IN_MODIFY, "cut off")[:18], false, false},
	} {
		one := &watchedLog{changed: make(chan struct{})}
		two := &watchedLog{changed: make(chan struct{})}
		w := &Watcher{logs: map[int]*watchedLog{1: one, 2: two}}
		w.dispatch(c.events)
		if (one.changed == nil) != c.woken || (two.changed == nil) != c.all {
			t.Errorf("events %x: woken %t %t, want %t %t", c.events, one.changed == nil, two.changed == nil, c.woken, c.all)
		}
	}
}
