package stream

import (
	"encoding/binary"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// inotifyOpen makes an instance that the runtime's poller can wait for.
func inotifyOpen() (int, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	return fd, os.NewSyscallError("inotify_init1", err)
}

// inotifyAdd watches the very file that is open, whatever its path leads to by now (/proc/pid/fd in proc(5)).
func inotifyAdd(fd int, f *os.File) (wd int, err error) {
	wd, err = unix.InotifyAddWatch(fd, "/proc/self/fd/"+strconv.Itoa(int(f.Fd())), unix.IN_MODIFY)
	return wd, os.NewSyscallError("inotify_add_watch", err)
}

func inotifyRemove(fd, wd int) error {
	_, err := unix.InotifyRmWatch(fd, uint32(wd))
	return os.NewSyscallError("inotify_rm_watch", err)
}

// inotifyEvent reads the watch descriptor of the first event, -1 when the queue overflowed, and cuts it off:
//
//	struct inotify_event { int wd; uint32_t mask, cookie, len; char name[len]; };  (inotify(7))
func inotifyEvent(b []byte) (wd int, rest []byte) {
	if len(b) < unix.SizeofInotifyEvent {
		return -1, nil
	}
	name := int64(binary.NativeEndian.Uint32(b[12:]))
	wd = int(int32(binary.NativeEndian.Uint32(b)))
	return wd, b[min(int64(len(b)), unix.SizeofInotifyEvent+name):]
}
