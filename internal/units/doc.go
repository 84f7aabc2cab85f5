// Package units tests the unit files of deploy/ on a Debian system that systemd
// has booted, in a virtual machine: `make test-systemd`. There is nothing in it
// to import.
package units
