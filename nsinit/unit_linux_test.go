package nsinit

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"jobworker/internal/escape"
)

var update = flag.Bool("update", false, "write docs/job.service")

// unitFile describes the sandbox of a job in the words of systemd.exec(5). It is for
// reading and for systemd-analyze(1) only.
const unitFile = "../docs/job.service"

// A directive is a line of the unit. What it says is either made of the tables of
// this package, or shown by probes of the escape suite, which make the attempt.
type directive struct {
	line   string
	probes []string
}

func shown(line string, probes ...string) directive { return directive{line, probes} }

func made(line string) directive { return directive{line: line} }

// directives are those that hold for a job of the default profile. RestrictRealtime
// and the like are said of what comes of it: that the call is refused.
func directives(t *testing.T) []directive {
	return slices.Concat([]directive{
		shown("User=1879048192", "user"),
		shown("SupplementaryGroups=", "groups"),
		shown("CapabilityBoundingSet=", "capabilities"),
		shown("AmbientCapabilities=", "capabilities"),
		shown("NoNewPrivileges=yes", "no_new_privs"),
		made("SecureBits=" + secureBits()),
		shown("UMask=0022", "umask"),
		shown("KeyringMode=private", "keyctl"),
		shown("PrivateNetwork=yes", "interfaces", "server on the host's loopback", "abstract socket of the host"),
		shown("IPAddressDeny=any", "routes", "the host's address"),
		shown("IPAddressAllow=localhost", "own loopback"),
		shown("PrivateIPC=yes", "shared memory of the host", "message queue of the host"),
		shown("RemoveIPC=yes", "shared memory of the host"),
		shown("PrivateMounts=yes", "mounts not private"),
		shown("ProtectHostname=yes", "sethostname", "setdomainname"),
		made("RootDirectory=" + jobRoot),
		shown("ProtectSystem=strict", "mounts writable", "create a file in /usr"),
		shown("ReadWritePaths=/scratch", "mounts writable"),
		shown("ProtectHome=yes", "names in /", "read a secret of the host at every place"),
		shown("PrivateTmp=yes", "read a secret of the host at every place"),
		made("TemporaryFileSystem=" + temporary()),
		shown("PrivateDevices=yes", "names in /dev", "mknod of /dev/mem", "mknod of a disk", "iopl", "ioperm"),
		shown("DevicePolicy=closed", "names in /dev", "mounts with devices"),
		made("ProtectProc=" + protectProc()),
		made("InaccessiblePaths=" + strings.Join(masked(), " ")),
		shown("ProtectKernelTunables=yes", "write /proc/sys/kernel/core_pattern", "read /sys/kernel/vmcoreinfo"),
		shown("ProtectKernelModules=yes", "init_module", "finit_module", "delete_module"),
		shown("ProtectKernelLogs=yes", "syslog", "read /proc/kmsg", "read /dev/kmsg"),
		shown("ProtectControlGroups=yes", "write /sys/fs/cgroup/cgroup.procs", "mount cgroups"),
		shown("ProtectClock=yes", "clock_settime", "settimeofday", "adjtimex"),
		shown("RestrictRealtime=yes", "real time by sched_setscheduler", "a deadline by sched_setattr"),
		shown("RestrictSUIDSGID=yes", "chmod u+s", "create a file u+s", "openat2 a file u+s"),
		shown("RestrictNamespaces=yes", "unshare: user namespace", "clone: user namespace", "clone3: user namespace", "setns: of PID 1"),
		shown("LockPersonality=yes", "personality: no address randomization", "personality: reading implies executing"),
		made("RestrictAddressFamilies=" + familyNames(t)),
		shown("SystemCallArchitectures=native", "int 0x80: getpid", "x32: getpid"),
		made("SystemCallErrorNumber=" + unix.ErrnoName(unix.Errno(noSuchCall&unix.SECCOMP_RET_DATA))),
		made("SystemCallFilter=" + strings.Join(callNames(t), " ")),
		shown("NotifyAccess=none", "socket in the host's /run"),
	}, limits())
}

func secureBits() string {
	var names []string
	for _, b := range []struct {
		name string
		bit  int
	}{{"noroot", secNoRoot}, {"noroot-locked", secNoRootLocked}, {"no-setuid-fixup-locked", secNoSetuidFixupLocked}, {"keep-caps-locked", secKeepCapsLocked}} {
		if securebits&b.bit != 0 {
			names = append(names, b.name)
		}
	}
	return strings.Join(names, " ")
}

// temporary are the file systems in memory, with their sizes.
func temporary() string {
	var out []string
	for _, m := range rootMounts {
		if m.fstype == "tmpfs" {
			out = append(out, fmt.Sprintf("/%s:%s", m.at, options(m.options)))
		}
	}
	return strings.Join(out, " ")
}

func options(list []option) string {
	var out []string
	for _, o := range list {
		out = append(out, o.key+"="+o.value)
	}
	return strings.Join(out, ",")
}

// protectProc is systemd's name for what /proc is mounted with.
func protectProc() string {
	for _, m := range rootMounts {
		if m.fstype == "proc" && slices.Contains(m.options, option{"hidepid", "2"}) {
			return "invisible"
		}
	}
	return "default"
}

func masked() []string {
	var out []string
	for _, name := range slices.Concat(maskedFiles, maskedDirs) {
		out = append(out, "-/proc/"+name)
	}
	return out
}

func familyNames(t *testing.T) string {
	names := map[uint32]string{unix.AF_UNIX: "AF_UNIX", unix.AF_INET: "AF_INET", unix.AF_INET6: "AF_INET6", unix.AF_NETLINK: "AF_NETLINK"}
	var out []string
	for _, f := range families {
		if names[f] == "" {
			t.Fatalf("address family %d has no name here", f)
		}
		out = append(out, names[f])
	}
	return strings.Join(out, " ")
}

func limits() []directive {
	value := func(v uint64) string {
		if v == unix.RLIM_INFINITY {
			return "infinity"
		}
		return strconv.FormatUint(v, 10)
	}
	var out []directive
	for _, l := range rlimits {
		out = append(out, made(fmt.Sprintf("Limit%s=%s:%s", l.name, value(l.cur), value(l.max))))
	}
	return out
}

// callNames are the system calls that the filter lets through, whatever their
// arguments may have to be.
func callNames(t *testing.T) []string {
	names := systemCalls(t)
	all := slices.Concat(allowedCalls, archAllowedCalls)
	for _, r := range slices.Concat(argumentRules, archArgumentRules) {
		all = append(all, r.call)
	}
	var out []string
	for _, c := range all {
		if names[c] == "" {
			t.Fatalf("system call %d has no name in x/sys", c)
		}
		out = append(out, names[c])
	}
	slices.Sort(out)
	return out
}

// systemCalls reads the names of the constants in x/sys.
func systemCalls(t *testing.T) map[uint32]string {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "golang.org/x/sys").Output()
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(strings.TrimSpace(string(dir)), "unix/zsysnum_linux_amd64.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[uint32]string)
	ast.Inspect(file, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || len(v.Values) != 1 {
			return true
		}
		if lit, ok := v.Values[0].(*ast.BasicLit); ok {
			if number, err := strconv.ParseUint(lit.Value, 10, 32); err == nil {
				names[uint32(number)] = strings.ToLower(strings.TrimPrefix(v.Names[0].Name, "SYS_"))
			}
		}
		return true
	})
	return names
}

const unitHead = `# The sandbox of a job in the default profile, as a systemd unit would say it. It is
# made from the tables of package nsinit (go test ./nsinit -run TestUnit -update), for
# systemd-analyze security, and not to be started.
[Service]
ExecStart=/bin/true
`

// atHome reports whether the sources have to be here: everywhere but in the virtual
// machine of the kernel tests, where these tests run too, and there is no systemd.
func atHome() bool { return os.Getenv("KERNELTEST") != "vm" }

// TestUnit: the unit is what the tables say, and each line that no table is behind
// has attempts that show it.
func TestUnit(t *testing.T) {
	if !atHome() || filterArch != unix.AUDIT_ARCH_X86_64 { // the unit has the calls of amd64
		return
	}
	attempted := make(map[string]bool)
	for _, p := range escape.Probes() {
		attempted[p.Name] = true
	}
	unit := bytes.NewBufferString(unitHead)
	for _, d := range directives(t) {
		fmt.Fprintln(unit, d.line)
		for _, p := range d.probes {
			if !attempted[p] {
				t.Errorf("%s: there is no probe %q", d.line, p)
			}
		}
	}
	if *update {
		if err := os.WriteFile(unitFile, unit.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := os.ReadFile(unitFile); err != nil || !bytes.Equal(b, unit.Bytes()) {
		t.Errorf("%s is not what the tables say (-update writes it): %v", unitFile, err)
	}
}

// maxExposure is what systemd-analyze may find: 0 is the best, 10 the worst, and
// below 2 it says "OK".
const maxExposure = 1.0

// TestExposure has systemd judge the unit.
func TestExposure(t *testing.T) {
	if !atHome() {
		return
	}
	if _, err := os.Stat(unitFile); err != nil { // seen by this process, it counts for go test's cache
		t.Fatal(err)
	}
	const command = "systemd-analyze security --offline=true --no-pager --threshold=100 "
	run := func(args string) []byte {
		out, err := exec.CommandContext(t.Context(), "sh", "-c", command+args+" 2>/dev/null").Output()
		if err != nil {
			t.Fatalf("%s: %v (make deps installs systemd-analyze)", command, err)
		}
		return out
	}
	_, after, ok := strings.Cut(string(run(unitFile)), "Overall exposure level for job.service: ")
	word, _, _ := strings.Cut(after, " ")
	exposure, err := strconv.ParseFloat(word, 64)
	if !ok || err != nil || exposure > maxExposure {
		t.Errorf("exposure %q, want at most %.1f", word, maxExposure)
	}
	var findings []struct{ Name, Description, Exposure string }
	if err := json.Unmarshal(run("--json=short "+unitFile), &findings); err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		if f.Exposure != "" {
			t.Logf("%s %s: %s", f.Exposure, f.Name, f.Description)
		}
	}
	version, err := exec.CommandContext(t.Context(), "systemd-analyze", "--version").Output()
	if err != nil || !strings.HasPrefix(string(version), "systemd 252 ") {
		return // another one may judge otherwise than the one the document speaks of
	}
	b, err := os.ReadFile("../docs/security.md")
	if want := "exposure level " + word; err != nil || !strings.Contains(string(b), want) {
		t.Errorf("docs/security.md does not have %q (%v)", want, err)
	}
}
