package nsinit

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"jobworker/stream"
)

// A payload is the job's program after it has been executed.
type payload struct {
	pid     int
	pidfd   int
	outputs []output
	input   input
	log     *stream.Writer
}

// pipeSize lets a job write on while its output is being recorded; the default
// of 64 KiB is one frame.
const pipeSize = 1 << 20

// forkPayload executes the program in the job's root, in which this thread is, and
// reports the true reason if it cannot be. ForkExec itself tells a missing
// directory from a missing program by neither stage nor name, so that both have been
// looked up before.
//
//	clone3(CLONE_INTO_CGROUP payload)
//	setsid, unshare(CLONE_NEWCGROUP)
//	setgroups(0), setgid, setuid, chdir(Dir)
//	execve
func forkPayload(c Config, program string) (payload, error) {
	stdin, in, err := inputPipe(c)
	if err != nil {
		return payload{}, err
	}
	defer unix.Close(stdin)
	outputs, writers, err := outputPipes(c)
	if err != nil {
		return payload{}, err
	}
	pidfd := -1
	argv, env := c.Argv, c.Env
	if c.Builtin {
		argv, env = c.builtin()
	}
	pid, err := syscall.ForkExec(program, argv, &syscall.ProcAttr{
		Dir:   c.Dir,
		Env:   env,
		Files: []uintptr{uintptr(stdin), uintptr(writers[0]), uintptr(writers[1])},
		Sys: &syscall.SysProcAttr{
			UseCgroupFD:  true,
			CgroupFD:     payloadFD,
			PidFD:        &pidfd,
			Setsid:       true,
			Unshareflags: unix.CLONE_NEWCGROUP,
			Credential:   &syscall.Credential{Uid: uint32(c.UID), Gid: uint32(c.GID)},
		},
	})
	if err != nil {
		return payload{}, execError(c.Argv[0], err)
	}
	// The pipes must end when the job's processes do.
	unix.Close(writers[0])
	if !c.Merge {
		unix.Close(writers[1])
	}
	unix.Close(payloadFD)
	// setfsuid and the child's setuid, which shares this memory until it
	// executes, have set fs.suid_dumpable instead.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return payload{}, fmt.Errorf("prctl PR_SET_DUMPABLE: %w", err)
	}
	return payload{pid: pid, pidfd: pidfd, outputs: outputs, input: in}, nil
}

// outputPipes makes the job's standard output and error. They belong to the
// job's user, so that it can open /dev/stdout, which leads to the pipe.
func outputPipes(c Config) (outputs []output, writers [2]int, err error) {
	sources := []stream.Source{stream.Stdout, stream.Stderr}
	if c.Merge {
		sources = sources[:1]
	}
	for i, s := range sources {
		r, w, err := pipe()
		if err != nil {
			return nil, writers, err
		}
		if err := unix.Fchown(w, c.UID, c.GID); err != nil {
			return nil, writers, fmt.Errorf("chown pipe: %w", err)
		}
		// The job can open the pipe for reading too, and be faster than
		// nsinit, which must not wait for it.
		if err := unix.SetNonblock(r, true); err != nil {
			return nil, writers, fmt.Errorf("pipe: %w", err)
		}
		// Only a wish: above fs.pipe-user-pages-soft the default stays.
		unix.FcntlInt(uintptr(w), unix.F_SETPIPE_SZ, pipeSize)
		outputs = append(outputs, output{r, s})
		writers[i] = w
	}
	if c.Merge {
		writers[1] = writers[0]
	}
	return outputs, writers, nil
}

func pipe() (r, w int, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return 0, 0, fmt.Errorf("pipe: %w", err)
	}
	return p[0], p[1], nil
}

// lookUp checks the working directory and finds the program, in the job's root
// and with the job's rights: the file system user id of this thread is the
// job's for as long, which takes the capabilities that override permissions
// away too (capabilities(7)).
func lookUp(c Config) (program string, err error) {
	root, err := unix.Open(jobRoot, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("open job root: %w", err)
	}
	defer unix.Close(root)
	unix.Setfsgid(c.GID)
	unix.Setfsuid(c.UID)
	defer unix.Setfsgid(0)
	defer unix.Setfsuid(0)
	if err := checkDir(root, c.Dir); err != nil {
		return "", &StartError{"dir", errno(err), fmt.Sprintf("dir: %q: %v", c.Dir, err)}
	}
	if c.Builtin {
		return builtinPath, nil
	}
	program, err = findProgram(root, c)
	if err != nil {
		return "", execError(c.Argv[0], err)
	}
	return program, nil
}

// execError words an error of finding or executing the program as os/exec does.
func execError(name string, err error) *StartError {
	what := err.Error()
	if err == unix.ENOENT {
		what = "not found"
	}
	return &StartError{"exec", errno(err), fmt.Sprintf("exec: %q: %s", name, what)}
}

func checkDir(root int, dir string) error {
	fd, err := openInRoot(root, dir, unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return executable(fd)
}

// findProgram returns the path of the program, which as in execvp(3) is looked
// up along PATH unless it contains a slash. The first that can be executed is
// taken; if none can, one that only lacks permission explains it best.
func findProgram(root int, c Config) (string, error) {
	name := c.Argv[0]
	if strings.Contains(name, "/") {
		if !path.IsAbs(name) {
			name = path.Join(c.Dir, name)
		}
		return name, checkProgram(root, name)
	}
	cause := error(unix.ENOENT)
	for _, dir := range strings.Split(variable(c.Env, "PATH"), ":") {
		if !path.IsAbs(dir) {
			continue // the working directory is no place to find programs in
		}
		p := path.Join(dir, name)
		err := checkProgram(root, p)
		if err == nil {
			return p, nil
		}
		if err != unix.ENOENT && err != unix.ENOTDIR {
			cause = err
		}
	}
	return "", cause
}

func checkProgram(root int, name string) error {
	fd, err := openInRoot(root, name, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return unix.EACCES // as execve(2) says
	}
	return executable(fd)
}

// openInRoot opens name as if root were the root directory. It follows no magic
// link of /proc, so /proc/self/exe does not lead to nsinit.
func openInRoot(root int, name string, flags uint64) (fd int, err error) {
	return openat2(root, name, flags|unix.O_PATH, unix.RESOLVE_IN_ROOT)
}

// openat2 opens name below dir as resolve says. All that is used of it here excludes
// the magic links of /proc as well (openat2(2)).
func openat2(dir int, name string, flags, resolve uint64) (fd int, err error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: resolve}
	// openat2(2): EAGAIN for a ".." while anything on the system is renamed or
	// mounted, as other jobs' starts do all the time.
	for range 100 {
		if fd, err = unix.Openat2(dir, name, &how); err != unix.EAGAIN && err != unix.EINTR {
			break
		}
	}
	return fd, err
}

// executable checks fd for the file system user id, which is what AT_EACCESS
// means for a process whose other ids are root's.
func executable(fd int) error {
	return unix.Faccessat(fd, "", unix.X_OK, unix.AT_EACCESS|unix.AT_EMPTY_PATH)
}

func variable(env []string, name string) string {
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}

// startError fits err with the stage it happened at, unless it has its own.
func startError(stage string, err error) *StartError {
	if e, ok := errors.AsType[*StartError](err); ok {
		return e
	}
	return &StartError{stage, errno(err), err.Error()}
}
