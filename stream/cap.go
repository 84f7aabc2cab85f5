package stream

import (
	"errors"
	"fmt"
	"syscall"
)

// ErrFull is what Output returns for a log that has reached its Cap.
var ErrFull = errors.New("the log has reached its largest size")

// MinCap is the smallest Cap.Bytes: the newest frame always fits beside what is kept in front of it, so that the end
// of a log tells its offset.
const MinCap = 1 << 20

// A Cap bounds what the output takes of the disk. The zero value is no bound. Gap and exit frames are written
// whatever it says: some 100 bytes, without which a log would not tell the truth.
//
// With Newest the oldest output makes room for the newest: it is punched out of the file, all but the block that the
// start frame ends in. The file's size and the offsets in it go on as if nothing had happened, readers get a gap frame
// for what is missing, and so do followers that are overtaken.
type Cap struct {
	Bytes   int64 // most bytes on disk after the start frame, frames and all, at least MinCap; 0: any number
	Newest  bool  // keep the newest output; else the oldest: the rest is refused with ErrFull
	Reserve int64 // bytes to leave free in the file system; 0: none. Output beyond is lost as on a full disk
}

// capped is what a Writer knows about its Cap.
type capped struct {
	Cap
	full  bool  // ErrFull was returned: what follows is refused too, though it might fit
	hole  int64 // end of what is punched out; first of the block that the start frame ends in
	fresh int64 // bytes written since the free space was looked at
}

const (
	// keepStep is the part of a full log that is punched out at once.
	keepStep = 8

	// holeAlign is what holes begin and end at. Where blocks are larger the kernel zeroes parts of them
	// (fallocate(2)), which readers take for a hole as well.
	holeAlign = 4 << 10

	// reserveStep is how much is written before the free space is looked at again.
	reserveStep = MaxFrame
)

// SetCap puts c in force for the output to come, in a log that holds its start frame. It returns the cause where the
// file system cannot punch holes, as Cap.Newest needs.
func (w *Writer) SetCap(c Cap) error {
	if c.Bytes != 0 && c.Bytes < MinCap {
		return fmt.Errorf("cap log: %d bytes: less than %d", c.Bytes, MinCap)
	}
	if err := w.measure(); err != nil {
		return fmt.Errorf("cap log: %w", err)
	}
	head := (w.size + holeAlign - 1) / holeAlign * holeAlign
	w.cap = capped{Cap: c, hole: head, fresh: reserveStep}
	if !c.Newest {
		return nil
	}
	// Beyond the end there is nothing to punch, but the question is answered.
	if err := punchHole(w.file, head, holeAlign); err != nil {
		return fmt.Errorf("cap log: %w", err)
	}
	return nil
}

// admit makes room for n bytes of output frames, or says why there is none.
func (w *Writer) admit(n int64) error {
	c := &w.cap
	if kept := max(0, w.size-c.hole); c.Bytes != 0 && kept+n > c.Bytes {
		if !c.Newest {
			c.full = true
			return ErrFull
		}
		if err := w.dropOldest(n); err != nil {
			return err
		}
	}
	if c.fresh += n; c.Reserve == 0 || c.fresh < reserveStep {
		return nil
	}
	free, known, err := freeSpace(w.file)
	if err != nil {
		return err
	}
	if known && free < c.Reserve {
		c.fresh = reserveStep // look again next time
		return fmt.Errorf("%d bytes are free, %d in reserve: %w", free, c.Reserve, syscall.ENOSPC)
	}
	c.fresh = 0
	return nil
}

// dropOldest punches out as much of the output as makes room for n bytes and more, so that this is seldom. By MinCap
// the line before is not touched.
func (w *Writer) dropOldest(n int64) error {
	c := &w.cap
	end := (w.size + n - c.Bytes + c.Bytes/keepStep) / holeAlign * holeAlign
	if err := punchHole(w.file, c.hole, end-c.hole); err != nil {
		return err
	}
	c.hole = end
	return nil
}
