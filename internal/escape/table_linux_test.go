package escape_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"jobworker/internal/escape"
)

var update = flag.Bool("update", false, "write docs/escape.md")

// tableFile says for readers what TestEscape asks for.
const tableFile = "../../docs/escape.md"

const tableHead = `# Attempts to get out of a job

What package internal/escape attempts, and what it must be answered: the errno of the system call, ` + "`ok`" + `, or what is looked at, as a regular
expression. Outside, the attempt is made without a job, by root unless it says otherwise; that it succeeds there, or gets past the check of rights,
shows that the attempt is one. ` + "`make escape`" + ` makes all of them in every profile and prints the answers. This file is made by ` + "`go test ./internal/escape -run TestTable -update`" + `.

| attempt | outside | in a job |
|---|---|---|
`

// TestTable: the table for readers is the one that the suite holds the answers
// against.
func TestTable(t *testing.T) {
	if os.Getenv("KERNELTEST") == "vm" {
		return // where these tests run too, and no sources are
	}
	var b strings.Builder
	b.WriteString(tableHead)
	for _, p := range escape.Probes() {
		name := p.Name
		if p.User {
			name += " (outside by a user)"
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", name, cell(p.Outside), cell(p.Inside))
	}
	for _, p := range profiles {
		if len(p.but) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n## What is different with %s\n\n| attempt | in a job |\n|---|---|\n", p.name)
		for _, name := range slices.Sorted(maps.Keys(p.but)) {
			fmt.Fprintf(&b, "| %s | %s |\n", name, cell(p.but[name]))
		}
	}
	if *update {
		if err := os.WriteFile(tableFile, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(tableFile); err != nil || string(got) != b.String() {
		t.Errorf("%s is not what the probes say (-update writes it): %v", tableFile, err)
	}
}

// cell escapes what would end a cell of a table in Markdown.
func cell(s string) string { return "`" + strings.ReplaceAll(s, "|", `\|`) + "`" }
