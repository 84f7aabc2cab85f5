package nsinit

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// The descriptors of nsinit. Standard input and output are /dev/null, standard
// error is the daemon's; those of Files come with the config.
const (
	handshakeFD = 3 + iota // the socket of the start
	payloadFD              // Setup.PayloadCgroup
	logFD                  // Files.Log
	exitFD                 // Files.Exit
	controlFD              // Files.Control
	cpuMaxFD               // Files.CPUMax, if Config.CPUMax is not empty
	stdinFD                // Files.Stdin, if Config.Stdin
	countFD                // Files.Count, if Config.Stdin
	rootFD                 // Files.Root, if Config.Root is RootDir
	imageCopyFD            // of no use there, see Image.clone
	lastFD      = rootFD
)

// bindFD stands for the number of each of Files.Binds, which may have any.
const bindFD = 255

// initName is argv[0] of nsinit, by which MaybeRun knows it.
const initName = "jobworker-nsinit"

// socketpair returns the two ends of the handshake. Ours is non-blocking,
// so that the runtime's poller waits for it and deadlines work.
func socketpair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, nil, errors.Join(err, unix.Close(fds[0]), unix.Close(fds[1]))
	}
	return os.NewFile(uintptr(fds[0]), "handshake"), os.NewFile(uintptr(fds[1]), "handshake"), nil
}

func shutdownWrite(f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	err = conn.Control(func(fd uintptr) { serr = unix.Shutdown(int(fd), unix.SHUT_WR) })
	return errors.Join(err, serr)
}

// sendFiles passes fds on (unix(7), SCM_RIGHTS), with a byte for each that is its
// number on the other side.
func sendFiles(f *os.File, numbers []byte, fds []int) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	err = conn.Write(func(fd uintptr) bool {
		serr = unix.Sendmsg(int(fd), numbers, unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL)
		return serr != unix.EAGAIN && serr != unix.EINTR
	})
	return errors.Join(err, serr)
}

// receiveFiles puts what sendFiles has sent in its places, each of which is taken
// until then, and closes the places that stay empty. It returns Files.Binds. Data
// that comes with descriptors is not mixed with what follows: "ancillary data forms
// a barrier", unix(7).
func receiveFiles(socket int) (binds []int, err error) {
	const most = lastFD + MaxBinds
	numbers := make([]byte, most)
	oob := make([]byte, unix.CmsgSpace(4*most))
	n, oobn, _, _, err := unix.Recvmsg(socket, numbers, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("recvmsg", err)
	}
	if n == 0 {
		return nil, errNoJob
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		return nil, fmt.Errorf("recvmsg: %d control messages: %v", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != n {
		return nil, fmt.Errorf("recvmsg: %d descriptors for %d places: %v", len(fds), n, err)
	}
	if i := slices.Index(numbers[:n], bindFD); i >= 0 { // they come last
		binds, n = fds[i:], i
	}
	return binds, placeFiles(numbers[:n], fds)
}

// placeFiles gives each of fds its number.
func placeFiles(numbers []byte, fds []int) error {
	for fd := logFD; fd <= lastFD; fd++ {
		i := slices.Index(numbers, byte(fd))
		if i < 0 {
			unix.Close(fd)
			continue
		}
		if err := unix.Dup3(fds[i], fd, unix.O_CLOEXEC); err != nil {
			return os.NewSyscallError("dup3", err)
		}
		unix.Close(fds[i])
	}
	return nil
}

// errNoJob means that a spare nsinit is not needed any more.
var errNoJob = errors.New("no job")

// errno returns the system's error number in err, or 0.
func errno(err error) syscall.Errno {
	n, _ := errors.AsType[syscall.Errno](err)
	return n
}

// explainClone says what a refused clone3(2) means for the cgroup and the
// namespaces it was asked for.
func explainClone(err error) string {
	why := map[syscall.Errno]string{
		unix.ENOSYS:     "this kernel has no clone3, or a seccomp filter hides it",
		unix.EOPNOTSUPP: "the cgroup is threaded",
		unix.EBUSY:      "the cgroup has controllers enabled for its children",
		unix.EACCES:     "no permission to put a process into the cgroup",
		unix.ENOENT:     "the cgroup is not below the root of this process's cgroup namespace, or was removed",
		unix.EPERM:      "no permission to make namespaces",
		unix.ENOSPC:     "too many namespaces, see /proc/sys/user/max_*_namespaces",
		unix.EUSERS:     "too many namespaces, see /proc/sys/user/max_*_namespaces",
	}[errno(err)]
	if why == "" {
		return err.Error()
	}
	return fmt.Sprintf("%v: %s", err, why)
}

// MakeControl makes the FIFO at name through which signals reach a job's main
// process, and CloseStdin and AskCount nsinit, and opens it for Files.Control: for reading and writing, so that it
// never ends (fifo(7)).
func MakeControl(name string) (*os.File, error) { return makeFIFO(name) }

func makeFIFO(name string) (*os.File, error) {
	if err := unix.Mkfifo(name, 0o600); err != nil {
		return nil, &os.PathError{Op: "mkfifo", Path: name, Err: err}
	}
	return os.OpenFile(name, os.O_RDWR|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
}

// Signal has the nsinit that reads the FIFO at name send a signal, 1 to 64, to
// its job's main process. It does not block. One that has ended already is no
// error.
//
// It is a FIFO and not a signal to nsinit because some signals cannot be caught
// to be forwarded, and because a daemon that did not start the job can use it.
func Signal(name string, sig int) error {
	if sig < 1 || sig > 64 {
		return fmt.Errorf("signal %d: there is no such signal", sig)
	}
	return tell(name, byte(sig))
}

// tell writes one byte to the control FIFO at name.
func tell(name string, what byte) error {
	// Not an os.File: its Write would wait for room.
	fd, err := unix.Open(name, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENXIO {
		return nil // nobody reads it any more
	}
	if err != nil {
		return &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte{what}); err != nil {
		return &os.PathError{Op: "write", Path: name, Err: err} // EAGAIN: 65536 bytes are waiting
	}
	return nil
}
