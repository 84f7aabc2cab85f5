// Vmonly prints the tests that only the virtual machine can run, as a pattern for
// -run: those that come to call kerneltest.VM or kerneltest.Disk, themselves or
// through functions of their package.
//
//	go run ./internal/kerneltest/vmonly ./job ./cgroupv2
//
// With the race detector the machine is slow, and what a host can run has been run
// there with it.
package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	var names []string
	for _, dir := range os.Args[1:] {
		found, err := tests(dir)
		if err != nil {
			fmt.Fprintln(os.Stderr, "vmonly:", err)
			os.Exit(1)
		}
		names = append(names, found...)
	}
	if len(names) == 0 {
		fmt.Fprintf(os.Stderr, "vmonly: no test of %q needs the machine\n", os.Args[1:])
		os.Exit(1)
	}
	slices.Sort(names)
	fmt.Printf("^(%s)$\n", strings.Join(slices.Compact(names), "|"))
}

// tests returns the tests in the directory that need the machine.
func tests(dir string) (names []string, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		return nil, err
	}
	calls := map[string][]string{} // what the functions of the package call
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok {
				calls[fn.Name.Name] = append(calls[fn.Name.Name], callees(fn)...)
			}
		}
	}
	for name := range calls {
		if strings.HasPrefix(name, "Test") && needsMachine(name, calls, map[string]bool{}) {
			names = append(names, name)
		}
	}
	return names, nil
}

// callees returns the names of what fn calls: "f" for a function or a method of its
// package, "kerneltest.VM" for one of that package. Methods are told apart by name only.
func callees(fn *ast.FuncDecl) (names []string) {
	ast.Inspect(fn, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		switch f := call.Fun.(type) {
		case *ast.Ident:
			names = append(names, f.Name)
		case *ast.SelectorExpr:
			if p, ok := f.X.(*ast.Ident); ok && p.Name == "kerneltest" {
				names = append(names, "kerneltest."+f.Sel.Name)
			} else {
				names = append(names, f.Sel.Name)
			}
		}
		return true
	})
	return names
}

// needsMachine says whether the function comes to ask for the machine.
func needsMachine(name string, calls map[string][]string, seen map[string]bool) bool {
	if name == "kerneltest.VM" || name == "kerneltest.Disk" {
		return true
	}
	if seen[name] {
		return false
	}
	seen[name] = true
	return slices.ContainsFunc(calls[name], func(callee string) bool { return needsMachine(callee, calls, seen) })
}
