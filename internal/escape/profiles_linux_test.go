package escape_test

import (
	"jobworker/httpapi"
	"jobworker/job"
)

// What of the host the profiles are given.
const (
	rootfsDir = "/disk/rootfs"
	sharedDir = "/disk/shared"
	someUser  = "54321" // whom no passwd knows
)

// profiles are the ways in which a job can be confined. In but are the probes
// that answer something else than in the default profile, which is what the profile
// is for, and what they answer.
var profiles = []struct {
	name   string
	change func(*httpapi.Spec)
	but    map[string]string
}{
	{name: "sandbox", change: func(*httpapi.Spec) {}},
	{
		name:   "rootfs",
		change: func(s *httpapi.Spec) { s.Rootfs = rootfsDir },
		but: map[string]string{
			"names in /":                "dev etc proc scratch tmp usr",
			"create a file in /usr/bin": "ENOENT", // it has none
		},
	},
	{
		name: "binds",
		change: func(s *httpapi.Spec) {
			s.Binds = []job.Bind{{Source: sharedDir, Target: "/read"}, {Source: sharedDir, Target: "/write", Write: true}}
		},
		but: map[string]string{
			"names in /":      "bin dev etc lib lib64 proc read sbin scratch tmp usr write",
			"mounts writable": "/dev/pts /dev/shm /scratch /tmp /write",
		},
	},
	{
		name:   "user",
		change: func(s *httpapi.Spec) { s.User = someUser },
		but:    map[string]string{"user": someUsers},
	},
	{
		name:   "userns",
		change: func(s *httpapi.Spec) { s.Userns = true },
		but: map[string]string{ // each device is the host's: none can be made in a user namespace
			"mounts with devices": "/dev /dev/full /dev/null /dev/pts /dev/random /dev/tty /dev/urandom /dev/zero( /proc/[a-z_-]+)*",
		},
	},
	{
		name:   "net host",
		change: func(s *httpapi.Spec) { s.Net = "host" },
		but:    hostNet,
	},
	{
		name:   "host",
		change: func(s *httpapi.Spec) { s.Profile, s.User = "host", someUser },
		but:    merge(merge(map[string]string{}, hostNet), hostFiles),
	},
}

const someUsers = someUser + " " + someUser + " " + someUser + " " + someUser

// hostNet is what a job sees in the host's network namespace.
var hostNet = map[string]string{
	"the host's address":            ".*127.9.9.9.*",
	"routes":                        "1",
	"server on the host's loopback": "ok",
	"abstract socket of the host":   "ok",
}

// hostFiles is what a job sees of the host's file systems: what its user may, which
// leaves out what is in /root.
var hostFiles = map[string]string{
	"user":                                     someUsers,
	"environment":                              "ESCAPE=a=b HOME=/ LANG=C.UTF-8 PATH=.*",
	"names in /":                               ".* root .*",
	"names in /dev":                            ".* nvme0n1 .*",
	"names in /dev/pts":                        "0 ptmx",
	"mounts with devices":                      "/ /dev /dev/pts /disk( /proc/[a-z_-]+)*",
	"mounts writable":                          ".*",
	"socket in the host's /run":                "ok",
	"read /sys/kernel/vmcoreinfo":              "ok",
	"read /dev/mem":                            "EACCES",
	"read /dev/kmsg":                           "EPERM",
	"read /dev/nvme0n1":                        "EACCES",
	"write /sys/fs/cgroup/cgroup.procs":        "EACCES",
	"read a secret of the host at every place": "all but /root/escape-secret",
	"the same through ../../..":                "all but /../../../root/escape-secret",
	"the same through /proc/self/root":         "all but /proc/self/root/../../root/escape-secret",
}
