//go:build linux

package main

import (
	"fmt"
	"net"
)

// notify tells the service manager that started this process, if one did and wants to
// know, of its state: "READY=1" or "STOPPING=1", sd_notify(3).
func (d *daemon) notify(state string) {
	if err := notify(d.getenv("NOTIFY_SOCKET"), state); err != nil {
		d.log.Warn("notify the service manager", "error", err.Error())
	}
}

// notify sends state to the socket at path, which begins with @ if it is an abstract
// one. There is none where path is empty.
func notify(path, state string) error {
	if path == "" {
		return nil
	}
	c, err := net.Dial("unixgram", path)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write([]byte(state)); err != nil {
		return fmt.Errorf("%s: %w", state, err)
	}
	return nil
}
