package job

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"jobworker/nsinit"
)

// A location is where a file is, however many mounts lead there.
type location struct {
	fs   string // device number of the file system
	path string // from the root of the file system
}

// openReal opens what name leads to by whatever links. It is for names that no client
// has chosen, or one who may have all there is.
func openReal(name string) (*os.File, error) {
	name, err := filepath.EvalSymlinks(name)
	if err != nil {
		return nil, err
	}
	return nsinit.OpenPath(name)
}

func locatePath(name string) (location, error) {
	f, err := openReal(name)
	if err != nil {
		return location{}, err
	}
	defer f.Close()
	return locate(f)
}

// locate finds the mount that f was opened through, proc_pid_fdinfo(5), and from it
// what f is on its file system: mount point and root of the mount are prefixes of
// the two paths to it.
func locate(f *os.File) (location, error) {
	fd := strconv.Itoa(int(f.Fd()))
	info, err := os.ReadFile("/proc/self/fdinfo/" + fd)
	if err != nil {
		return location{}, err
	}
	_, id, _ := strings.Cut(string(info), "mnt_id:")
	id, _, _ = strings.Cut(strings.TrimSpace(id), "\n")
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return location{}, err
	}
	name, err := os.Readlink("/proc/self/fd/" + fd)
	if err != nil {
		return location{}, err
	}
	m, err := findMount(string(mounts), id)
	if err != nil || !below(name, m.point) {
		return location{}, fmt.Errorf("%s: mount %s at %q: %w", name, id, m.point, errors.Join(errLocation, err))
	}
	return location{m.fs, filepath.Join(m.root, strings.TrimPrefix(name, strings.TrimSuffix(m.point, "/")))}, nil
}

var errLocation = errors.New("its place on its file system cannot be found")

// A hostMount is a line of /proc/self/mountinfo.
type hostMount struct{ fs, root, point string }

// findMount returns the mount with an id, proc_pid_mountinfo(5):
//
//	36 35 98:0 /mnt1 /mnt/parent rw,noatime - ext3 /dev/root rw
func findMount(mountinfo, id string) (hostMount, error) {
	for line := range strings.Lines(mountinfo) {
		if f := strings.Fields(line); len(f) > 5 && f[0] == id {
			return hostMount{f[2], unescape(f[3]), unescape(f[4])}, nil
		}
	}
	return hostMount{}, fmt.Errorf("no such mount: %w", os.ErrNotExist)
}

// ownFiles are those that no job may see.
func (w *Worker) ownFiles() []string { return slices.Concat(w.cfg.Private, []string{w.cfg.StateDir}) }

// hidden is where ownFiles are, as long as they are there.
func (w *Worker) hidden() (names []string) {
	for _, name := range w.ownFiles() {
		name, err := filepath.EvalSymlinks(name)
		if err == nil {
			name, err = filepath.Abs(name)
		}
		if err == nil {
			names = append(names, name)
		}
	}
	return names
}

// checkExpose refuses to show every job what no Permit can give one.
func (w *Worker) checkExpose() error {
	for _, dir := range w.cfg.Expose {
		f, err := openReal(dir)
		if err != nil {
			return fmt.Errorf("exposed directory: %w", err)
		}
		err = w.checkSource(f)
		f.Close()
		if err != nil {
			return &FieldError{"exposed directory", quote(dir), err.Error()}
		}
	}
	return nil
}
