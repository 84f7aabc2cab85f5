//go:build !linux

package main

import "testing"

func leftovers() string { return "" }

func newScriptSite(t *testing.T) scriptSite {
	t.Skip("a worker needs Linux")
	return nil
}
