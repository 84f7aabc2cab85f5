//go:build !race

package main

// What TestInputLoad sends, and how much memory it may take.
const (
	loadBytes  = 1 << 30
	loadMemory = 64 << 10 // KiB, of jobcli in all and of the worker more than before
)
