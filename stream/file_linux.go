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

// punchHole frees n bytes of f from pos on, which read as NULs from then on, and keeps the size of f (fallocate(2):
// ext4 since Linux 3.0, tmpfs 3.5, XFS, Btrfs and others; EOPNOTSUPP elsewhere).
func punchHole(f *os.File, pos, n int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, pos, n)
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return &os.PathError{Op: "punch hole", Path: f.Name(), Err: err}
		}
	}
}

// freeSpace returns how many bytes of the file system of f are free for everybody. known is false where it does not
// count (ramfs).
func freeSpace(f *os.File) (free int64, known bool, err error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return 0, false, &os.PathError{Op: "statfs", Path: f.Name(), Err: err}
	}
	return int64(st.Bavail) * st.Bsize, st.Blocks != 0, nil
}
