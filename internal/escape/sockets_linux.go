package escape

import (
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ShmSize and Queue are of the shared memory segment and the message queue that
// the suite makes on the host.
const (
	ShmSize = 4096
	Queue   = "escape"
)

// socketProbes look for the host over the network and over what else processes
// talk through.
var socketProbes = []Probe{
	asking("address families", ".* 16 17.*", "1 2 10 16", families), // UNIX, INET, INET6, NETLINK; 17 is PACKET
	calling("raw socket", "ok", "EPERM", call{unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP}),
	calling("raw socket, IPv6", "ok", "EPERM", call{unix.SYS_SOCKET, unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6}),
	calling("SO_MARK", "ok", "EPERM",
		call{unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM, 0},
		call{unix.SYS_SETSOCKOPT, result, unix.SOL_SOCKET, unix.SO_MARK, []byte{1, 0, 0, 0}, 4}),
	calling("change the loopback interface", "ok", "EPERM",
		call{unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM, 0},
		call{unix.SYS_IOCTL, result, unix.SIOCSIFTXQLEN, append([]byte("lo"), make([]byte, 38)...)}),
	asking("interfaces", "lo.*", "lo", interfaces),
	asking("the host's address", ".*127\\.9\\.9\\.9.*", "127.0.0.1/8( ::1/128)?", addresses),
	asking("routes", "[1-9][0-9]*", "0", routes),
	asking("own loopback", "ok", "ok", func(Facts) string { return ownLoopback() }),
	asking("server on the host's loopback", "ok", "ECONNREFUSED", func(f Facts) string {
		return dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(f.Port)))
	}),
	asking("abstract socket of the host", "ok", "ECONNREFUSED", func(f Facts) string { return dial("unix", "@"+f.Abstract) }),
	asking("socket in the host's /run", "ok", "ENOENT", func(f Facts) string { return dial("unix", f.Socket) }),
	asking("shared memory of the host", "ok", "ENOENT", func(f Facts) string { return sequence(call{unix.SYS_SHMGET, f.Key, ShmSize, 0}) }),
	calling("message queue of the host", "ok", "ENOENT", call{unix.SYS_MQ_OPEN, Queue, unix.O_RDONLY, 0, nil}),
}

// families tells the address families from 0 to 45 of which the program can make
// a socket.
func families(Facts) string {
	var out []string
	for f := range 46 {
		for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_RAW, unix.SOCK_SEQPACKET} {
			if fd, err := unix.Socket(f, kind|unix.SOCK_CLOEXEC, 0); err == nil {
				unix.Close(fd)
				out = append(out, strconv.Itoa(f))
				break
			}
		}
	}
	return strings.Join(out, " ")
}

func interfaces(Facts) string {
	list, err := net.Interfaces()
	if err != nil {
		return word(err)
	}
	var out []string
	for _, i := range list {
		out = append(out, i.Name)
	}
	return strings.Join(out, " ")
}

func addresses(Facts) string {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return word(err)
	}
	var out []string
	for _, a := range list {
		out = append(out, a.String())
	}
	return strings.Join(out, " ")
}

// routes counts those of IPv4.
func routes(Facts) string {
	b, err := os.ReadFile("/proc/net/route")
	if err != nil {
		return word(err)
	}
	return strconv.Itoa(max(0, strings.Count(string(b), "\n")-1)) // without the head of the table
}

// ownLoopback has two ends of its own talk to each other.
func ownLoopback() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return word(err)
	}
	defer l.Close()
	return dial("tcp", l.Addr().String())
}

func dial(network, address string) string {
	c, err := net.Dial(network, address)
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return word(errno)
	}
	if err != nil {
		return err.Error()
	}
	c.Close()
	return "ok"
}
