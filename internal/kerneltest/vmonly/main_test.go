package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

const source = `package p
func TestItself(t *testing.T) { kerneltest.VM(t) }
func TestDisk(t *testing.T) { dir := filepath.Join(kerneltest.Disk(t), "x") }
func TestThrough(t *testing.T) { t.Run("x", func(t *testing.T) { open(t) }) }
func TestMethod(t *testing.T) { f.limited() }
func TestRoot(t *testing.T) { kerneltest.Root(t); loop(t) }
func TestPlain(t *testing.T) { f.VM(t) }
func open(t *testing.T) { machine(t) }
func machine(t *testing.T) { kerneltest.VM(t) }
func loop(t *testing.T) { loop(t) }
func (f *fixture) limited() { open(f.t) }
`

func TestTests(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "p_test.go"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	names, err := tests(dir)
	slices.Sort(names)
	if want := []string{"TestDisk", "TestItself", "TestMethod", "TestThrough"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("tests: %q, %v; want %q", names, err, want)
	}
	if err := os.WriteFile(filepath.Join(dir, "q_test.go"), []byte("package"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := tests(dir); err == nil {
		t.Error("no error for a file that is not Go")
	}
}
