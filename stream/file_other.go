//go:build !linux

package stream

import (
	"errors"
	"fmt"
	"os"
)

// openLog refuses: logs are read where jobs run.
func openLog(path string) (*os.File, error) {
	return nil, fmt.Errorf("open %s: %w", path, errors.ErrUnsupported)
}

func dataAfter(_ *os.File, pos int64) (int64, error) { return pos, nil }

func fdatasync(f *os.File) error { return f.Sync() }

func punchHole(*os.File, int64, int64) error { return errors.ErrUnsupported }

func freeSpace(*os.File) (free int64, known bool, err error) { return 0, false, nil }
