package stream

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// openLog opens path for reading. A symbolic link and anything but a regular file are refused; O_NONBLOCK keeps
// the open of a FIFO from waiting (open(2)) until that is found out.
func openLog(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("open %s: not a regular file: %s", path, st.Mode().Type())
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// dataAfter returns the position of the first byte at or after pos that is in no hole, io.EOF when only a hole
// follows (SEEK_DATA in lseek(2): ENXIO). A file system without holes gives pos itself. It moves the position of
// f, which nothing here uses.
func dataAfter(f *os.File, pos int64) (int64, error) {
	p, err := unix.Seek(int(f.Fd()), pos, unix.SEEK_DATA)
	switch err {
	case nil:
		return p, nil
	case unix.ENXIO:
		return 0, io.EOF
	case unix.EINVAL:
		return pos, nil
	default:
		return 0, fmt.Errorf("seek data: %s: %d: %w", f.Name(), pos, err)
	}
}

// fdatasync writes back the data of f and the size needed to read it (fdatasync(2)).
func fdatasync(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err != unix.EINTR {
			return err
		}
	}
}
