package job

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// hostDirs are the directories of the host that every job may read, where they
// exist: its programs and their configuration.
var hostDirs = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc"}

// ownDirs are directories that every job has of its own, or that no job may
// have: nothing of the host can be exposed there.
var ownDirs = []string{"/proc", "/sys", "/dev", "/tmp", scratchDir, "/run"}

// scratchDir is the job's writable directory, its working directory and HOME.
const scratchDir = "/scratch"

// defaultPath is where a job's programs are looked up, where its Spec does not say.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment returns the environment, sorted, of a job whose user is at home in
// home.
func (s *Spec) environment(home string) []string {
	var env []string
	for k, v := range s.Env {
		env = append(env, k+"="+v)
	}
	for k, v := range map[string]string{"PATH": defaultPath, "HOME": home, "LANG": "C.UTF-8"} {
		if _, ok := s.Env[k]; !ok {
			env = append(env, k+"="+v)
		}
	}
	slices.Sort(env)
	return env
}

// below reports whether name is dir or in it. Both are clean.
func below(name, dir string) bool {
	return name == dir || strings.HasPrefix(name, strings.TrimSuffix(dir, "/")+"/")
}

func checkExposed(dir string) error {
	if !path.IsAbs(dir) || path.Clean(dir) != dir || dir == "/" {
		return &FieldError{"exposed directory", quote(dir), "must be an absolute, clean path, and not /"}
	}
	for _, own := range ownDirs {
		if below(dir, own) || below(own, dir) {
			return &FieldError{"exposed directory", quote(dir), "jobs have a " + own + " of their own"}
		}
	}
	return nil
}

// hostPath returns the path on the host of name as a job sees it, for a file
// that is on a disk. scratch is where /scratch is, unless it is a tmpfs.
func (s *Spec) hostPath(name, scratch string, exposed []string) (string, error) {
	name = path.Clean(name)
	if s.onHost() {
		return name, nil
	}
	for _, b := range slices.Backward(s.Binds) { // a later one may cover an earlier
		if below(name, b.Target) {
			return path.Join(b.Source, strings.TrimPrefix(name, b.Target)), nil
		}
	}
	if below(name, scratchDir) && s.Limits.ScratchBytes == 0 {
		return scratch, nil
	}
	own := slices.ContainsFunc(ownDirs, func(dir string) bool { return below(name, dir) })
	if s.Rootfs != "" && name != "/" && !own {
		return path.Join(s.Rootfs, name), nil
	}
	for _, dir := range slices.Concat(hostDirs, exposed) {
		if below(name, dir) && s.Rootfs == "" {
			return name, nil
		}
	}
	return "", fmt.Errorf("%q is in memory, not on a disk", name)
}
