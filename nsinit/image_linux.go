package nsinit

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// An Image is a sealed copy of the running binary in memory, from which nsinit
// is executed. Jobs share its pages. It is safe for concurrent use.
type Image struct {
	f *os.File
}

// imageFD is the lowest number for the image's descriptor: the child's own files
// take the low ones before it executes /proc/self/fd/N.
const imageFD = 100

// imageSeals forbid every later change of the image, and of the seals.
const imageSeals = unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL

// NewImage copies the running binary.
//
//	memfd_create("jobworker", MFD_CLOEXEC|MFD_ALLOW_SEALING|MFD_EXEC)
//	sendfile(memfd, /proc/self/exe)
//	fcntl(memfd, F_ADD_SEALS, WRITE|SHRINK|GROW|SEAL)
//
// MFD_EXEC is needed where vm.memfd_noexec is 1, and unknown before Linux 6.3.
// Where it is 2, which forbids all executable memfds (EACCES), the image is
// instead a mount of the binary's file that is attached nowhere and read-only.
func NewImage() (*Image, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	low, err := unix.MemfdCreate("jobworker", flags|unix.MFD_EXEC)
	if err == unix.EINVAL {
		low, err = unix.MemfdCreate("jobworker", flags)
	}
	if err == unix.EACCES {
		return mountImage()
	}
	if err != nil {
		return nil, fmt.Errorf("nsinit image: memfd_create: %w", err)
	}
	im, err := newImage(low)
	if err != nil {
		return nil, err
	}
	if err := im.fill(); err != nil {
		return nil, errors.Join(fmt.Errorf("nsinit image: %w", err), im.Close())
	}
	return im, nil
}

// mountImage makes an Image that cannot be written through, but changes with the
// file.
func mountImage() (*Image, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("nsinit image: %w", err)
	}
	m, err := cloneMount(unix.AT_FDCWD, exe, readOnly|nosuidNodev)
	if err != nil {
		return nil, fmt.Errorf("nsinit image: %w", err)
	}
	return newImage(int(m))
}

// newImage takes ownership of low and moves it out of the way.
func newImage(low int) (*Image, error) {
	defer unix.Close(low)
	fd, err := unix.FcntlInt(uintptr(low), unix.F_DUPFD_CLOEXEC, imageFD)
	if err != nil {
		return nil, fmt.Errorf("nsinit image: fcntl F_DUPFD_CLOEXEC: %w", err)
	}
	return &Image{os.NewFile(uintptr(fd), "nsinit image")}, nil
}

func (im *Image) fill() error {
	exe, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer exe.Close()
	if _, err := io.Copy(im.f, exe); err != nil {
		return err
	}
	if _, err := unix.FcntlInt(im.f.Fd(), unix.F_ADD_SEALS, imageSeals); err != nil {
		return fmt.Errorf("fcntl F_ADD_SEALS: %w", err)
	}
	return nil
}

// Close frees the image once the last nsinit made from it has ended.
func (im *Image) Close() error { return im.f.Close() }

func (im *Image) path() string { return fmt.Sprintf("/proc/self/fd/%d", im.f.Fd()) }
