package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"jobworker/httpapi"
)

func setupStatus(fs *flag.FlagSet) action {
	w, o := workerFlags(fs), outputFlags(fs, "text", noNotes)
	return func(ctx context.Context, e *env, ids []string) error {
		return w.each(ctx, e, ids, failed, func(c *httpapi.Client, id string) error {
			j, err := c.Status(ctx, id)
			switch {
			case err != nil:
				return err
			case o.json:
				return writeJSON(e.stdout, j)
			}
			return describe(e.stdout, j)
		})
	}
}

// describe writes a job as lines of a name and a value, and an empty line.
func describe(w io.Writer, j httpapi.Job) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, line := range slices.Concat(identityLines(j), timeLines(j), limitLines(j.Limits), protectionLines(j.Protections), usageLines(j)) {
		if line[1] != "" {
			fmt.Fprintf(t, "%s\t%s\n", line[0], printable(line[1]))
		}
	}
	fmt.Fprintln(t)
	return written(t.Flush())
}

func identityLines(j httpapi.Job) [][2]string {
	command, verdict := quoteWords(j.Argv), ""
	if j.Builtin {
		command += " (built in)"
	}
	if j.Verdict != nil {
		verdict = verdictText(j.Verdict)
	}
	var labels []string
	for _, k := range slices.Sorted(maps.Keys(j.Labels)) {
		labels = append(labels, k+"="+j.Labels[k])
	}
	return [][2]string{
		{"id", j.ID},
		{"name", j.Name},
		{"owner", j.Owner},
		{"labels", strings.Join(labels, " ")},
		{"command", command},
		{"dir", j.Dir},
		{"profile", j.Profile},
		{"network", j.Net},
		{"user", j.User},
		{"root", j.Rootfs},
		{"binds", bindsText(j.Binds)},
		{"state", string(j.State)},
		{"verdict", verdict},
	}
}

// bindsText is binds in the notation of -bind.
func bindsText(binds []httpapi.Bind) string {
	var words []string
	for _, b := range binds {
		w := b.Source + ":" + b.Target
		if b.Write {
			w += ":rw"
		}
		words = append(words, w)
	}
	return strings.Join(words, " ")
}

// quoteWords joins words so that it can be seen where one ends.
func quoteWords(words []string) string {
	quoted := slices.Clone(words)
	for i, w := range words {
		if w == "" || strings.ContainsAny(w, " \t\n\"'\\") {
			quoted[i] = strconv.Quote(w)
		}
	}
	return strings.Join(quoted, " ")
}

func timeLines(j httpapi.Job) [][2]string {
	lines := [][2]string{{"created", j.CreatedAt.Local().Format(time.RFC3339)}}
	if j.StartedAt != nil {
		lines = append(lines, [2]string{"started", j.StartedAt.Local().Format(time.RFC3339)})
	}
	if j.EndedAt != nil {
		lines = append(lines, [2]string{"ended", j.EndedAt.Local().Format(time.RFC3339)})
	}
	if j.StartedAt != nil && j.EndedAt != nil {
		lines = append(lines, [2]string{"took", j.EndedAt.Sub(*j.StartedAt).Round(time.Millisecond).String()})
	}
	if j.Timeout != 0 {
		lines = append(lines, [2]string{"timeout", j.Timeout.String()})
	}
	return lines
}

func limitLines(l httpapi.Limits) [][2]string {
	var lines [][2]string
	add := func(name string, set bool, text string) {
		if set {
			lines = append(lines, [2]string{name, text})
		}
	}
	add("cpus limit", l.CPUs != 0, strconv.FormatFloat(l.CPUs, 'f', -1, 64))
	add("cpu weight", l.CPUWeight != 0, strconv.Itoa(l.CPUWeight))
	add("memory limit", l.MemoryBytes != 0, bytesText(l.MemoryBytes))
	add("pids limit", l.Pids != 0, strconv.FormatInt(l.Pids, 10))
	add("scratch size", l.ScratchBytes != 0, bytesText(l.ScratchBytes))
	add("output limit", l.OutputBytes != 0, bytesText(l.OutputBytes)+", then "+l.OutputFull)
	for _, io := range l.IO {
		add("io limit", true, ioText(io))
	}
	return lines
}

// protectionLines tells what is in force for a job that runs.
func protectionLines(p *httpapi.Protections) [][2]string {
	if p == nil {
		return nil
	}
	capabilities, root := "none", "read-only"
	if !p.Capabilities.None() {
		capabilities = fmt.Sprintf("%+v", p.Capabilities)
	}
	if !p.RootReadOnly {
		root = "writable"
	}
	return [][2]string{
		{"runs as", fmt.Sprintf("uid %d, gid %d, groups %d", p.UID, p.GID, p.Groups)},
		{"capabilities", capabilities},
		{"no_new_privs", strconv.FormatBool(p.NoNewPrivs)},
		{"seccomp", p.Seccomp},
		{"namespaces", strings.Join(p.Namespaces, " ")},
		{"root mount", root},
		{"writable", strings.Join(p.Writable, " ")},
		{"setuid", strings.Join(p.Setuid, " ")},
	}
}

// ioText is an IOLimit in the notation of -io.
func ioText(l httpapi.IOLimit) string {
	var rates []string
	for _, r := range []struct {
		name string
		n    int64
		text func(int64) string
	}{
		{"rbps", l.ReadBPS, bytesText}, {"wbps", l.WriteBPS, bytesText},
		{"riops", l.ReadIOPS, decimal}, {"wiops", l.WriteIOPS, decimal},
	} {
		if r.n != 0 {
			rates = append(rates, r.name+"="+r.text(r.n))
		}
	}
	return l.Path + l.Device + ":" + strings.Join(rates, ",")
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }

func usageLines(j httpapi.Job) [][2]string {
	u := j.Usage
	lines := [][2]string{{"cpu time", fmt.Sprintf("%.3fs", u.CPUSeconds)}}
	for _, n := range []struct {
		name  string
		value *int64
	}{
		{"memory", u.MemoryBytes}, {"memory peak", u.MemoryPeakBytes}, {"oom kills", u.OOMKills},
		{"processes", u.Pids}, {"forks denied", u.PidsDenied},
	} {
		if n.value != nil {
			lines = append(lines, [2]string{n.name, decimal(*n.value)})
		}
	}
	if j.Stdin {
		lines = append(lines, [2]string{"input bytes", decimal(j.StdinBytes)})
	}
	return append(lines, [2]string{"output bytes", decimal(j.OutputBytes)})
}
