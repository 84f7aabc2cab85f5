package nsinit

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"jobworker/internal/failpoint"
)

// A Setup is what nsinit needs to begin with, whatever the job. Prepare does not
// close the files.
type Setup struct {
	ReadOnly      []string // host paths shown read-only where they are, absolute; those that do not exist are left out
	Hidden        []string // host paths whose files a job does not see where it sees the host's, absolute and without links
	InitCgroup    *os.File // directory of the cgroup nsinit starts in
	PayloadCgroup *os.File // directory of the cgroup the program starts in

	Late    bool // the root waits for its job, which has another than most
	HostNet bool // the network is that of this process, not one of its own

	// UserUID and UserGID, if not 0, make it a user namespace of its own, in
	// which there are these two ids and root's, as they are outside, and no more.
	UserUID, UserGID int
}

// An early is the part of a Setup that nsinit is told as its argument.
type early struct {
	ReadOnly []string `json:"read_only"`
	Hidden   []string `json:"hidden"`
	Late     bool     `json:"late"`
	HostNet  bool     `json:"host_net"`
}

// argument returns what nsinit is executed with.
func (s *Setup) argument() (string, error) {
	b, err := json.Marshal(early{s.ReadOnly, s.Hidden, s.Late, s.HostNet})
	return string(b), err
}

// Files are what the daemon opens for the job. Start does not close them.
type Files struct {
	Log     *os.File // the job's log, O_APPEND
	Exit    *os.File // the exit file, empty
	Control *os.File // of MakeControl
	CPUMax  *os.File // cpu.max above the two cgroups; nil with an empty Config.CPUMax
	Stdin   *os.File // of MakeStdin; nil without Config.Stdin
	Count   *os.File // of MakeCount; nil without Config.Stdin

	Root  *os.File   // of CloneTree, a directory; nil unless Config.Root is RootDir
	Binds []*os.File // of CloneTree; as many as Config.Binds
}

// placed returns the files that there are, and their numbers in nsinit.
func (f Files) placed() (fds []int, numbers []byte) {
	for _, p := range []struct {
		f  *os.File
		fd byte
	}{{f.Log, logFD}, {f.Exit, exitFD}, {f.Control, controlFD}, {f.CPUMax, cpuMaxFD}, {f.Stdin, stdinFD}, {f.Count, countFD}, {f.Root, rootFD}} {
		if p.f != nil {
			fds, numbers = append(fds, int(p.f.Fd())), append(numbers, p.fd)
		}
	}
	for _, b := range f.Binds {
		fds, numbers = append(fds, int(b.Fd())), append(numbers, bindFD)
	}
	return fds, numbers
}

// A Spare is an nsinit without a job: a process in its namespaces that builds
// what every job has and then waits. It ends by itself when the process that
// made it does, and holds nothing but memory. What the host mounts after
// Prepare, its job does not see.
type Spare struct {
	proc *Process
	conn *os.File // our end of the handshake
}

// Prepare executes nsinit and returns at once, while that prepares itself. The
// error is a *StartError of stage "clone". One of Start and End must follow.
func (im *Image) Prepare(s Setup) (*Spare, error) {
	ours, theirs, err := socketpair()
	if err != nil {
		return nil, &StartError{"clone", errno(err), fmt.Sprintf("socketpair: %v", err)}
	}
	defer theirs.Close()
	p, err := im.clone(theirs, s)
	if err != nil {
		return nil, errors.Join(&StartError{"clone", errno(err), fmt.Sprintf("clone nsinit: %s", explainClone(err))}, ours.Close())
	}
	return &Spare{p, ours}, nil
}

// Ended reports whether the process is no more, for whatever reason.
func (s *Spare) Ended() bool { return s.proc.Ended() }

// End ends the process and frees what s holds.
func (s *Spare) End() error { return errors.Join(s.conn.Close(), s.proc.End()) }

// Start makes s the nsinit of a job, and blocks until that has executed the
// job's program. The error is a *StartError, or ctx's; then no process is left.
func (s *Spare) Start(ctx context.Context, c Config, f Files) (*Process, error) {
	stop := context.AfterFunc(ctx, func() { s.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	err := context.Cause(ctx)
	if err == nil {
		err = s.confirm(s.send(c, f))
	}
	if err != nil {
		return nil, errors.Join(cmp.Or(context.Cause(ctx), err), s.End())
	}
	s.conn.Close() // it has served; the program runs whatever this says
	return s.proc, nil
}

// send writes the files and c, and says that it is all.
func (s *Spare) send(c Config, f Files) error {
	fds, numbers := f.placed()
	if err := sendFiles(s.conn, numbers, fds); err != nil {
		return err
	}
	failpoint.Here("start.files-sent")
	err := errors.Join(json.NewEncoder(s.conn).Encode(c), shutdownWrite(s.conn))
	failpoint.Here("start.config-sent")
	return err
}

// confirm reads the report, which says more than that nsinit did not read what
// was sent. A nsinit that ends without one was killed, or has told its story on
// standard error.
func (s *Spare) confirm(sent error) error {
	b, err := io.ReadAll(s.conn)
	var r Report
	switch {
	case err == nil && json.Unmarshal(b, &r) == nil && r.Stage != "":
		return &StartError{r.Stage, r.Errno, r.Message}
	case sent != nil:
		return &StartError{"config", errno(sent), fmt.Sprintf("send config: %v", sent)}
	case err != nil:
		return &StartError{"config", errno(err), fmt.Sprintf("read report: %v", err)}
	case r.PID == 0:
		return &StartError{"config", 0, "nsinit ended before it could start the program"}
	}
	s.proc.report = r
	return nil
}
