package nsinit

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// A call is what the kernel shows a filter, in struct seccomp_data of seccomp(2).
type call struct {
	number, arch uint32
	args         [6]uint64
}

// word returns what a load at an offset sees.
func (c call) word(t *testing.T, offset uint32) uint32 {
	switch {
	case offset == dataNumber:
		return c.number
	case offset == dataArch:
		return c.arch
	case offset >= dataArguments && offset < dataArguments+48 && offset%4 == 0:
		arg := c.args[(offset-dataArguments)/8]
		if offset%8 != 0 {
			arg >>= 32
		}
		return uint32(arg)
	}
	t.Fatalf("load at %d", offset)
	return 0
}

// interpret runs code as the kernel does, and checks what its verifier would:
// jumps go forward and stay inside.
func interpret(t *testing.T, code []unix.SockFilter, c call) uint32 {
	t.Helper()
	var a uint32
	for pc := 0; pc < len(code); pc++ {
		in := code[pc]
		yes := false
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = c.word(t, in.K)
			continue
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(in.K)
			continue
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			yes = a == in.K
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			yes = a >= in.K
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			yes = a&in.K != 0
		default:
			t.Fatalf("instruction %d: code %#x", pc, in.Code)
		}
		if yes {
			pc += int(in.Jt)
		} else {
			pc += int(in.Jf)
		}
	}
	t.Fatalf("call %+v runs off the end", c)
	return 0
}

// TestFilterNumbers: every number gets the answer of the table it is in, and
// ENOSYS if it is in none; those of x32 are in none.
func TestFilterNumbers(t *testing.T) {
	code := assembleFilter()
	if len(code) > 4096 { // BPF_MAXINSNS
		t.Fatalf("%d instructions", len(code))
	}
	ruled := make(map[uint32]bool)
	for _, r := range slices.Concat(argumentRules, archArgumentRules) {
		ruled[r.call] = true
	}
	seen := make(map[uint32]int)
	const x32 = 1 << 30
	for _, base := range []uint32{0, x32, 1 << 31, 1<<32 - 2048} {
		for i := range uint32(2048) {
			number := base + i
			want := noSuchCall
			switch {
			case slices.Contains(allowedCalls, number), slices.Contains(archAllowedCalls, number):
				want = allow
			case slices.Contains(refusedCalls, number), slices.Contains(archRefusedCalls, number):
				want = notAllowed
			case ruled[number]:
				continue // TestFilterArguments
			}
			if got := interpret(t, code, call{number: number, arch: filterArch}); got != want {
				t.Errorf("call %d: %#x, want %#x", number, got, want)
			}
			seen[want]++
		}
	}
	if seen[allow] < 200 || seen[notAllowed] < 40 || seen[noSuchCall] < 4*1024 {
		t.Errorf("answers %v: the tables are not what they were", seen)
	}
	t.Logf("%d instructions, %d calls allowed, %d refused", len(code), seen[allow], seen[notAllowed])
}

// TestFilterTables: a call is in one table only.
func TestFilterTables(t *testing.T) {
	all := slices.Concat(allowedCalls, archAllowedCalls, refusedCalls, archRefusedCalls)
	for _, r := range slices.Concat(argumentRules, archArgumentRules) {
		all = append(all, r.call)
	}
	slices.Sort(all)
	for i := 1; i < len(all); i++ {
		if all[i] == all[i-1] {
			t.Errorf("call %d is there twice", all[i])
		}
	}
}

// TestFilterArchitecture: a call of another architecture ends the process,
// whatever it is.
func TestFilterArchitecture(t *testing.T) {
	code := assembleFilter()
	for _, arch := range []uint32{unix.AUDIT_ARCH_I386, unix.AUDIT_ARCH_ARM, unix.AUDIT_ARCH_X86_64 ^ unix.AUDIT_ARCH_AARCH64 ^ filterArch, 0, 1<<32 - 1} {
		for number := range uint32(600) {
			if got := interpret(t, code, call{number: number, arch: arch}); got != kill {
				t.Fatalf("arch %#x, call %d: %#x, want %#x", arch, number, got, kill)
			}
		}
	}
}

// TestFilterArguments: the rules see the half of the argument that the kernel
// sees, and no other.
func TestFilterArguments(t *testing.T) {
	const high = 0xdead_beef << 32
	code := assembleFilter()
	type test struct {
		what   string
		number uint32
		args   [6]uint64
		want   uint32
	}
	tests := []test{
		{"fork", unix.SYS_CLONE, [6]uint64{uint64(unix.SIGCHLD)}, allow},
		{"thread", unix.SYS_CLONE, [6]uint64{unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD | unix.CLONE_SETTLS}, allow},
		{"vfork", unix.SYS_CLONE, [6]uint64{unix.CLONE_VM | unix.CLONE_VFORK | uint64(unix.SIGCHLD)}, allow},
		{"clone, cgroup", unix.SYS_CLONE, [6]uint64{unix.CLONE_NEWCGROUP}, notAllowed},
		{"unshare, cgroup", unix.SYS_UNSHARE, [6]uint64{unix.CLONE_NEWCGROUP}, allow},
		{"unshare, files", unix.SYS_UNSHARE, [6]uint64{unix.CLONE_FILES}, allow},
		{"unshare, time", unix.SYS_UNSHARE, [6]uint64{unix.CLONE_NEWTIME}, notAllowed},
		{"unshare, cgroup and user", unix.SYS_UNSHARE, [6]uint64{unix.CLONE_NEWCGROUP | unix.CLONE_NEWUSER}, notAllowed},
		{"TIOCSTI", unix.SYS_IOCTL, [6]uint64{0, unix.TIOCSTI}, notAllowed},
		{"TIOCSTI with a high half", unix.SYS_IOCTL, [6]uint64{0, high | unix.TIOCSTI}, notAllowed},
		{"TIOCLINUX", unix.SYS_IOCTL, [6]uint64{9, unix.TIOCLINUX}, notAllowed},
		{"TCGETS", unix.SYS_IOCTL, [6]uint64{unix.TIOCSTI, unix.TCGETS}, allow},
		{"ask for the personality", unix.SYS_PERSONALITY, [6]uint64{0xffffffff}, allow},
		{"personality Linux", unix.SYS_PERSONALITY, [6]uint64{0}, allow},
		{"no address randomization", unix.SYS_PERSONALITY, [6]uint64{0x0040000}, notAllowed},
		{"chmod", unix.SYS_FCHMODAT, [6]uint64{0, 0, 0o1777}, allow},
		{"chmod u+s", unix.SYS_FCHMODAT, [6]uint64{0, 0, 0o4755}, notAllowed},
		{"chmod g+s with a high half", unix.SYS_FCHMODAT2, [6]uint64{0, 0, high | 0o2755}, notAllowed},
		{"fchmod u+s", unix.SYS_FCHMOD, [6]uint64{0, 0o4000}, notAllowed},
		{"make a FIFO", unix.SYS_MKNODAT, [6]uint64{0, 0, unix.S_IFIFO | 0o666}, allow},
		{"make a file u+s", unix.SYS_MKNODAT, [6]uint64{0, 0, unix.S_IFREG | 0o4755}, notAllowed},
		{"open for reading, with what is in the register of the mode", unix.SYS_OPENAT, [6]uint64{0, 0, unix.O_RDONLY | unix.O_DIRECTORY, 0o6777}, allow},
		{"create a file", unix.SYS_OPENAT, [6]uint64{0, 0, unix.O_CREAT | unix.O_WRONLY, 0o777}, allow},
		{"create a file u+s", unix.SYS_OPENAT, [6]uint64{0, 0, unix.O_CREAT | unix.O_WRONLY, 0o4777}, notAllowed},
		{"make a file without a name g+s", unix.SYS_OPENAT, [6]uint64{0, 0, unix.O_TMPFILE | unix.O_RDWR, 0o2777}, notAllowed},
		{"read implies exec", unix.SYS_PERSONALITY, [6]uint64{high | 0x0400000}, notAllowed},
	}
	for _, ns := range []uint64{unix.CLONE_NEWNS, unix.CLONE_NEWUTS, unix.CLONE_NEWIPC, unix.CLONE_NEWUSER, unix.CLONE_NEWPID, unix.CLONE_NEWNET} {
		tests = append(tests,
			test{"clone", unix.SYS_CLONE, [6]uint64{ns | uint64(unix.SIGCHLD)}, notAllowed},
			test{"clone with a high half", unix.SYS_CLONE, [6]uint64{high | ns}, notAllowed},
			test{"unshare", unix.SYS_UNSHARE, [6]uint64{ns}, notAllowed})
	}
	for family := range uint64(46) {
		want := noFamily
		if slices.Contains([]uint64{1, 2, 10, 16}, family) { // UNIX, INET, INET6, NETLINK
			want = allow
		}
		for _, number := range []uint32{unix.SYS_SOCKET, unix.SYS_SOCKETPAIR} {
			tests = append(tests, test{"socket", number, [6]uint64{family}, want}, test{"socket with a high half", number, [6]uint64{high | family}, want})
		}
	}
	for _, tt := range tests {
		if got := interpret(t, code, call{tt.number, filterArch, tt.args}); got != tt.want {
			t.Errorf("%s %#x: %#x, want %#x", tt.what, tt.args, got, tt.want)
		}
	}
}
