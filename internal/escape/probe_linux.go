package escape

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Probe is one attempt. Outside and Inside are regular expressions, for the
// whole answer.
type Probe struct {
	Name    string
	User    bool   // outside it is made as the user of a job; otherwise as root
	Outside string // answer outside of a job
	Inside  string // answer in a job of the default profile

	attempt func(Facts) string
}

// Facts are what the program is told of the host that it attacks.
type Facts struct {
	Port     int    // of a server on the host's loopback interface
	Abstract string // name of an abstract socket there, unix(7)
	Socket   string // path of a socket there
	Key      int    // of a shared memory segment there, shmget(2)
	Setuid   string // program with the set-user-ID bit that belongs to root: with the argument euid it prints its effective user id
	Daemon   int    // process id of the daemon
	Victim   string // directory of another job in the daemon's state directory

	Secrets []string // files of the host that everybody there may read
}

// An Answer is what became of one attempt.
type Answer struct {
	Probe  string `json:"probe"`
	Answer string `json:"answer"`
}

// Probes are all attempts, in the order in which they are made.
func Probes() []Probe {
	return slices.Concat(fileProbes, processProbes, namespaceProbes, callProbes, socketProbes, privilegeProbes, limitProbes)
}

// Run makes those attempts for which made holds, and writes an Answer for each to
// w, a line of JSON.
func Run(w io.Writer, f Facts, made func(Probe) bool) error {
	out := json.NewEncoder(w)
	for _, p := range Probes() {
		if !made(p) {
			continue
		}
		if err := out.Encode(Answer{p.Name, p.attempt(f)}); err != nil {
			return err
		}
	}
	return nil
}

// asking is a probe that answers with what ask returns.
func asking(name, outside, inside string, ask func(Facts) string) Probe {
	return Probe{Name: name, Outside: outside, Inside: inside, attempt: ask}
}

// asUser makes p one that is made as the user of a job outside.
func asUser(p Probe) Probe {
	p.User = true
	return p
}

// calling is a probe that answers with the last of some system calls.
func calling(name, outside, inside string, calls ...call) Probe {
	return asking(name, outside, inside, func(Facts) string { return sequence(calls...) })
}

// reading is a probe that reads the beginning of a file.
func reading(path, outside, inside string) Probe {
	return asking("read "+path, outside, inside, func(Facts) string { return read(path) })
}

// writing is a probe that opens a file for writing, which is where the kernel
// decides.
func writing(path, outside, inside string) Probe {
	return asking("write "+path, outside, inside, func(Facts) string { return open(path, unix.O_WRONLY) })
}

func read(path string) string {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return word(err)
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, make([]byte, 8192)) // a record of /dev/kmsg wants it
	if err == nil && n == 0 {
		return "empty"
	}
	return word(err)
}

func open(path string, flags int) string {
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC|unix.O_NOCTTY, 0o600)
	if err == nil {
		unix.Close(fd)
	}
	return word(err)
}

// word is how an answer names err: "ok" if it is nil.
func word(err error) string {
	switch errno, ok := err.(syscall.Errno); {
	case err == nil || ok && errno == 0:
		return "ok"
	case ok:
		if name := unix.ErrnoName(errno); name != "" {
			return name
		}
		return fmt.Sprintf("errno %d", int(errno))
	case os.IsNotExist(err):
		return "ENOENT"
	}
	return err.Error()
}
