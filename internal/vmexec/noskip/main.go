// Noskip reads `go test -json` on its standard input, prints it for a person
// and fails when a test did not run.
//
//	go test -json ./... | go run ./internal/vmexec/noskip
//
// A skipped test, a package without an end, a package in which no test ran and
// an input without any test are failures, next to those go test itself reports.
// There is no list of exceptions. With -some, for a run that was narrowed with
// -run, a package in which no test ran is fine as long as another had one.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	some := flag.Bool("some", false, "accept packages in which no test ran, but not all of them")
	flag.Parse()
	r := newReport(os.Stdout)
	if err := r.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "noskip:", err)
		os.Exit(1)
	}
	faults := r.faults(*some)
	for _, f := range faults {
		fmt.Println("noskip:", f)
	}
	if len(faults) > 0 {
		os.Exit(1)
	}
}
