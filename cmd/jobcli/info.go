package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"jobworker/authz"
	"jobworker/httpapi"
)

func setupWhoami(fs *flag.FlagSet) action {
	w, o := workerFlags(fs), outputFlags(fs, "text", noNotes)
	return func(ctx context.Context, e *env, _ []string) error {
		return w.with(ctx, e, func(c *httpapi.Client) error {
			me, err := c.WhoAmI(ctx)
			switch {
			case err != nil:
				return err
			case o.json:
				return writeJSON(e.stdout, me)
			}
			return describeMe(e, me)
		})
	}
}

func describeMe(e *env, me httpapi.WhoAmI) error {
	var roles, may []string
	for _, r := range me.Roles {
		roles = append(roles, string(r))
	}
	for a, scope := range me.Actions {
		may = append(may, fmt.Sprintf("%s (%s)", a, scope))
	}
	slices.Sort(may)
	var b strings.Builder
	for _, line := range [][2]string{
		{"user", me.User},
		{"groups", strings.Join(me.Groups, ", ")},
		{"roles", strings.Join(roles, ", ")},
		{"may", strings.Join(may, ", ")},
		{"sees jobs", string(me.Sees)},
		{"grants", describeGrants(me.Grants)},
		{"quota", describeQuota(me)},
		{"fingerprint", me.Fingerprint},
		{"valid until", me.NotAfter.Local().Format(time.RFC3339)},
	} {
		fmt.Fprintf(&b, "%-11s  %s\n", line[0], printable(line[1]))
	}
	_, err := fmt.Fprint(e.stdout, b.String())
	return written(err)
}

// describeGrants tells what of the host one's jobs may be given, in the words of run's
// flags.
func describeGrants(g authz.Grants) string {
	var parts []string
	add := func(flag string, values ...string) {
		for _, v := range values {
			parts = append(parts, strings.TrimSpace(flag+" "+v))
		}
	}
	add("-profile", g.Profiles...)
	add("-net", g.Net...)
	add("-user", g.RunAs...)
	paths := func(flag string, grants []authz.PathGrant) {
		for _, p := range grants {
			add(flag, p.Path+map[bool]string{true: " (rw)"}[p.Write])
		}
	}
	paths("-rootfs", g.Rootfs)
	paths("-bind", g.Binds)
	if g.Userns {
		add("-userns", "")
	}
	return cmp.Or(strings.Join(parts, ", "), "none")
}

// describeQuota tells how much of each bound is in use.
func describeQuota(me httpapi.WhoAmI) string {
	q, used := me.Quota, me.Used
	cpus := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	var parts []string
	for _, b := range []struct{ name, used, limit string }{
		{"jobs", decimal(used.Jobs), decimal(q.Jobs)},
		{"cpus", cpus(used.CPUs), cpus(q.CPUs)},
		{"memory", bytesText(used.MemoryBytes), bytesText(q.MemoryBytes)},
		{"pids", decimal(used.Pids), decimal(q.Pids)},
		{"kept jobs", decimal(used.KeptJobs), decimal(q.KeptJobs)},
		{"their specs", bytesText(used.SpecBytes), bytesText(q.SpecBytes)},
		{"their output", bytesText(used.OutputBytes), bytesText(q.OutputBytes)},
		{"starts a minute", decimal(used.StartsPerMinute), decimal(q.StartsPerMinute)},
	} {
		if b.limit != "0" {
			parts = append(parts, b.name+" "+b.used+" of "+b.limit)
		}
	}
	return cmp.Or(strings.Join(parts, ", "), "none")
}

// pong is the answer of ping in JSON.
type pong struct {
	Addr    string  `json:"addr"`
	Seconds float64 `json:"seconds"` // the whole round trip, connection included
}

func setupPing(fs *flag.FlagSet) action {
	w, o := workerFlags(fs), outputFlags(fs, "text", "show nothing; the exit status says it")
	return func(ctx context.Context, e *env, _ []string) error {
		return w.with(ctx, e, func(c *httpapi.Client) error {
			begin := time.Now()
			if err := c.Live(ctx); err != nil {
				return err
			}
			p := pong{w.address(e), time.Since(begin).Seconds()}
			switch {
			case o.quiet:
				return nil
			case o.json:
				return writeJSON(e.stdout, p)
			}
			_, err := fmt.Fprintf(e.stdout, "%s answers after %.1f ms\n", printable(p.Addr), p.Seconds*1000)
			return written(err)
		})
	}
}

// build is what version shows.
type build struct {
	Version string `json:"version"` // of the module, or of the source tree it was built from
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func setupVersion(fs *flag.FlagSet) action {
	o := outputFlags(fs, "text", noNotes)
	return func(_ context.Context, e *env, _ []string) error {
		b := build{"unknown", runtime.Version(), runtime.GOOS, runtime.GOARCH}
		if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
			b.Version = info.Main.Version
		}
		if o.json {
			return writeJSON(e.stdout, b)
		}
		_, err := fmt.Fprintf(e.stdout, "jobcli %s %s %s/%s\n", b.Version, b.Go, b.OS, b.Arch)
		return written(err)
	}
}
