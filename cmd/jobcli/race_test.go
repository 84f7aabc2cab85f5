//go:build race

package main

// Less is sent under the race detector, where copying is many times slower, and what
// is held takes several times as much.
const (
	loadBytes  = 64 << 20
	loadMemory = 256 << 10
)
