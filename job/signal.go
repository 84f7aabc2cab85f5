package job

import (
	"fmt"
	"strconv"
	"strings"
)

// signalNames are the numbers of signal(7) on amd64 and arm64. The table is our
// own so that a client on another system names them the same.
var signalNames = [...]string{
	1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE",
	9: "SIGKILL", 10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM", 16: "SIGSTKFLT",
	17: "SIGCHLD", 18: "SIGCONT", 19: "SIGSTOP", 20: "SIGTSTP", 21: "SIGTTIN", 22: "SIGTTOU", 23: "SIGURG", 24: "SIGXCPU",
	25: "SIGXFSZ", 26: "SIGVTALRM", 27: "SIGPROF", 28: "SIGWINCH", 29: "SIGIO", 30: "SIGPWR", 31: "SIGSYS",
}

// Real-time signals as the C library numbers them; it keeps 32 and 33.
const (
	sigRTMin = 34
	sigRTMax = 64
)

// ParseSignal reads a signal as "TERM", "SIGTERM", "15" or "SIGRTMIN+1", in
// upper or lower case.
func ParseSignal(s string) (int, error) {
	for n := range sigRTMax + 1 {
		name := SignalName(n)
		if name == "" {
			continue
		}
		for _, known := range []string{name, name[len("SIG"):], strconv.Itoa(n)} {
			if s == known || s == strings.ToLower(known) {
				return n, nil
			}
		}
	}
	return 0, fmt.Errorf("unknown signal %s", quote(s))
}

// SignalName names a signal, as in "SIGTERM" or "SIGRTMIN+1". It is empty for a
// number that cannot be sent to a job.
func SignalName(n int) string {
	switch {
	case n > 0 && n < len(signalNames):
		return signalNames[n]
	case n == sigRTMin:
		return "SIGRTMIN"
	case n > sigRTMin && n <= sigRTMax:
		return "SIGRTMIN+" + strconv.Itoa(n-sigRTMin)
	}
	return ""
}
