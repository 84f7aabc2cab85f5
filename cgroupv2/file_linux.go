package cgroupv2

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// dirFlags open a cgroup's directory only to name what is in it.
const dirFlags = unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC

// retry repeats a system call that a signal interrupted (Go preempts threads by signals).
func retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// openAt opens name below the directory dir.
func openAt(dir int, name string, flags int) (fd int, err error) {
	err = retry(func() error {
		fd, err = unix.Openat(dir, name, flags|unix.O_CLOEXEC, 0)
		return err
	})
	return fd, err
}

// readAt returns the content of the file name below the directory dir.
func readAt(dir int, name string) (string, error) {
	fd, err := openAt(dir, name, unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	return readAll(fd)
}

// readAll reads a kernel file from its beginning, wherever its offset is.
func readAll(fd int) (string, error) {
	var first [1024]byte
	buf, n := first[:], 0
	for {
		var got int
		err := retry(func() (err error) {
			got, err = unix.Pread(fd, buf[n:], int64(n))
			return err
		})
		if err != nil {
			return "", err
		}
		if got == 0 {
			return string(buf[:n]), nil
		}
		if n += got; n == len(buf) {
			buf = append(buf, make([]byte, len(buf))...)
		}
	}
}

// write writes s in one call, as the kernel's files want it.
func write(fd int, s string) error {
	return retry(func() error {
		n, err := unix.Write(fd, []byte(s))
		if err == nil && n != len(s) {
			return fmt.Errorf("wrote %d of %d bytes", n, len(s))
		}
		return err
	})
}

// writeAt writes s to the file name below the directory dir.
func writeAt(dir int, name, s string) error {
	fd, err := openAt(dir, name, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return write(fd, s)
}

// exchange writes s to the file name below the directory dir and returns what reads back.
func exchange(dir int, name, s string) (string, error) {
	fd, err := openAt(dir, name, unix.O_RDWR)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	if err := write(fd, s); err != nil {
		return "", err
	}
	return readAll(fd)
}

// gone says whether err means that the cgroup was removed: before its file was opened
// (ENOENT), or since (ENODEV, fs/kernfs/file.c).
func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV)
}

// failure wraps an error as "operation: object: cause".
func failure(op, object string, err error) error {
	return fmt.Errorf("%s: %s: %w", op, object, err)
}
