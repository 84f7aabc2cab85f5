//go:build linux

package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// File types of an archive member, inode(7).
const (
	typeDir     = 0o040000
	typeFile    = 0o100000
	typeSymlink = 0o120000
)

// A cpio writes an archive in the "newc" format, the one the kernel unpacks
// into its first root (Documentation/driver-api/early-userspace/buffer-format.rst).
// Names are given as absolute paths; directories above a member are added when
// they are missing. The first error sticks and is returned by close.
type cpio struct {
	w    *bufio.Writer
	ino  int
	seen map[string]bool
	err  error
}

func newCPIO(w io.Writer) *cpio {
	return &cpio{w: bufio.NewWriterSize(w, 256<<10), seen: map[string]bool{"/": true}}
}

// dir adds a directory; one that is there already keeps its mode.
func (c *cpio) dir(name string, perm os.FileMode) {
	if c.seen[name] {
		return
	}
	c.member(name, typeDir, perm, 0, nil)
}

func (c *cpio) symlink(name, target string) {
	c.member(name, typeSymlink, 0o777, int64(len(target)), strings.NewReader(target))
}

func (c *cpio) file(name string, perm os.FileMode, data string) {
	c.member(name, typeFile, perm, int64(len(data)), strings.NewReader(data))
}

// copy adds the host's file from as name, with its permissions.
func (c *cpio) copy(name, from string) {
	f, err := os.Open(from)
	if err != nil {
		c.fail(err)
		return
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		c.fail(err)
		return
	}
	if !info.Mode().IsRegular() {
		c.fail(fmt.Errorf("%s: not a regular file", from))
		return
	}
	c.member(name, typeFile, info.Mode().Perm(), info.Size(), f)
}

// close ends the archive; it does not close the underlying writer.
func (c *cpio) close() error {
	c.header("TRAILER!!!", 0, 0)
	if err := c.w.Flush(); err != nil {
		c.fail(err)
	}
	return c.err
}

// member adds one entry of exactly size bytes of body.
func (c *cpio) member(name string, kind uint32, perm os.FileMode, size int64, body io.Reader) {
	if path.Clean(name) != name || !path.IsAbs(name) {
		c.fail(fmt.Errorf("archive member %q: not a clean absolute path", name))
	}
	if size > 0xffffffff {
		c.fail(fmt.Errorf("archive member %s: %d bytes: beyond the 4 GiB of the format", name, size))
	}
	if c.err != nil {
		return
	}
	c.dir(path.Dir(name), 0o755)
	c.seen[name] = true
	c.header(name[1:], kind|uint32(perm.Perm())|sticky(perm), size)
	if body == nil {
		return
	}
	if _, err := io.CopyN(c.w, body, size); err != nil {
		c.fail(fmt.Errorf("archive member %s: %w", name, err))
	}
	c.pad(int(size & 3))
}

// header writes the 110 bytes before a member's name, the name, and padding
// to a multiple of four.
func (c *cpio) header(name string, mode uint32, size int64) {
	c.ino++
	n, err := fmt.Fprintf(c.w, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		c.ino, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(name)+1, 0, name)
	if err != nil {
		c.fail(err)
	}
	c.pad(n & 3)
}

// pad fills up to a multiple of four; rest is the length so far modulo four.
func (c *cpio) pad(rest int) {
	if _, err := c.w.Write(make([]byte, -rest&3)); err != nil {
		c.fail(err)
	}
}

func (c *cpio) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

func sticky(perm os.FileMode) uint32 {
	if perm&os.ModeSticky != 0 {
		return 0o1000
	}
	return 0
}
