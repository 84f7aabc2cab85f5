package escape

import (
	"fmt"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A call is a system call: its number, and its arguments. A string is passed as
// one of C, a []byte and a []uint64 as the address of its first element, nil as a
// null pointer, and result as what the call before has returned.
type call []any

type argument string

// result is what the call before has returned.
const result argument = "result"

// int80 is the number of a call that is made with the instruction int 0x80, as
// i386 programs do; its argument is the number there.
const int80 = -80

// A step is a call as the child makes it.
type step struct {
	number uintptr
	args   [6]uintptr
	before int    // index of the argument that is the result of the call before; -1 for none
	kept   [6]any // what args point to
}

// sequence makes the calls, one after the other and whatever they return, in a
// child that is made for it, and answers with what became of the last.
func sequence(calls ...call) string {
	steps := make([]step, len(calls))
	for i, c := range calls {
		steps[i] = c.step()
	}
	pid, errno := forked(steps)
	runtime.KeepAlive(steps)
	if errno != 0 {
		return "clone: " + word(errno)
	}
	var status unix.WaitStatus
	for {
		if _, err := unix.Wait4(pid, &status, unix.WALL, nil); err == nil {
			break
		} else if err != unix.EINTR {
			return "wait4: " + word(err)
		}
	}
	if status.Signaled() {
		return unix.SignalName(status.Signal())
	}
	return word(syscall.Errno(status.ExitStatus()))
}

// step lays out the arguments. What they point to is on the heap, which does not
// move, as long as the step is.
func (c call) step() step {
	s := step{number: uintptr(c[0].(int)), before: -1}
	for i, a := range c[1:] {
		switch v := a.(type) {
		case nil:
		case int:
			s.args[i] = uintptr(v)
		case argument:
			s.before = i
		case string:
			b := append([]byte(v), 0)
			s.kept[i], s.args[i] = b, uintptr(unsafe.Pointer(unsafe.SliceData(b)))
		case []byte:
			s.kept[i], s.args[i] = v, uintptr(unsafe.Pointer(unsafe.SliceData(v)))
		case []uint64:
			s.kept[i], s.args[i] = v, uintptr(unsafe.Pointer(unsafe.SliceData(v)))
		default:
			panic(fmt.Sprintf("escape: argument %d of call %d is a %T", i, c[0], a))
		}
	}
	return s
}

// forked makes the steps in a copy of this process, whose exit status is the
// errno of the last. The copy has one thread and no Go runtime behind it: until it
// exits it may call nothing that grows the stack or allocates.
//
//go:nosplit
func forked(steps []step) (pid int, errno syscall.Errno) {
	r, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || r != 0 {
		return int(r), errno
	}
	for i := range steps {
		s := &steps[i]
		if s.before >= 0 {
			s.args[s.before] = r
		}
		if int(s.number) == int80 {
			r, errno = callInt80(s.args[0])
			continue
		}
		r, _, errno = syscall.RawSyscall6(s.number, s.args[0], s.args[1], s.args[2], s.args[3], s.args[4], s.args[5])
	}
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, uintptr(errno), 0, 0)
	}
}

// Bomb makes copies of this process, that do the same, for ever.
//
//go:nosplit
func Bomb() {
	for {
		syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	}
}
