//go:build !linux

package stream

import (
	"errors"
	"os"
)

func inotifyOpen() (int, error)                 { return -1, errors.ErrUnsupported }
func inotifyAdd(int, *os.File) (int, error)     { return -1, errors.ErrUnsupported }
func inotifyRemove(int, int) error              { return errors.ErrUnsupported }
func inotifyEvent([]byte) (wd int, rest []byte) { return -1, nil }
