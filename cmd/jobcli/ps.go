package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"jobworker/httpapi"
)

func setupPs(fs *flag.FlagSet) action {
	w, o := workerFlags(fs), outputFlags(fs, "text", "show the ids alone")
	states := []httpapi.State{httpapi.Starting, httpapi.Running, httpapi.Stopping}
	var labels map[string]string
	all := fs.Bool("a", false, "show jobs that are over as well")
	fs.Func("state", "only jobs in this `STATE`: starting, running, stopping or ended", func(v string) error {
		s := httpapi.State(v)
		if s != httpapi.Ended && !slices.Contains(states[:3], s) {
			return fmt.Errorf("must be starting, running, stopping or ended")
		}
		states = append(states[:3:3], s)
		return nil
	})
	fs.Func("label", "only jobs with the label `K=V`; repeatable, all of them count", func(v string) error {
		return setLabel(&labels, v)
	})
	return func(ctx context.Context, e *env, _ []string) error {
		wanted := states
		switch {
		case len(states) > 3:
			wanted = states[3:]
		case *all:
			wanted = []httpapi.State{""}
		}
		return w.with(ctx, e, func(c *httpapi.Client) error {
			jobs, err := list(ctx, c, wanted, labels)
			if err != nil {
				return err
			}
			return o.list(e.stdout, jobs, time.Now())
		})
	}
}

// list returns the jobs in any of the states, newest first. They are asked for state
// by state in the order of a job's life: one that moves on meanwhile is seen twice,
// which is mended here, but not missed.
func list(ctx context.Context, c *httpapi.Client, states []httpapi.State, labels map[string]string) ([]httpapi.Job, error) {
	seen := make(map[string]httpapi.Job)
	for _, s := range states {
		q := httpapi.ListOptions{State: s, Labels: labels, Limit: httpapi.MaxPage}
		for {
			page, err := c.List(ctx, q)
			if err != nil {
				return nil, err
			}
			for _, j := range page.Jobs {
				seen[j.ID] = j
			}
			if q.PageToken = page.NextPageToken; q.PageToken == "" {
				break
			}
		}
	}
	var jobs []httpapi.Job
	for _, j := range seen {
		jobs = append(jobs, j)
	}
	slices.SortFunc(jobs, func(a, b httpapi.Job) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return jobs, nil
}

func (o *output) list(w io.Writer, jobs []httpapi.Job, now time.Time) error {
	switch {
	case o.json:
		for _, j := range jobs {
			if err := writeJSON(w, j); err != nil {
				return err
			}
		}
		return nil
	case o.quiet:
		for _, j := range jobs {
			if _, err := fmt.Fprintln(w, j.ID); err != nil {
				return written(err)
			}
		}
		return nil
	}
	return table(w, jobs, now)
}

func table(w io.Writer, jobs []httpapi.Job, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tNAME\tOWNER\tSTATE\tAGE\tCOMMAND")
	for _, j := range jobs {
		row := []string{j.ID, cmp.Or(j.Name, "-"), j.Owner, stateText(j), age(now.Sub(j.CreatedAt)), strings.Join(j.Argv, " ")}
		for i, cell := range row {
			row[i] = shorten(printable(cell), 60)
		}
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	return written(t.Flush())
}

// stateText is the state, and of a job that is over how it ended.
func stateText(j httpapi.Job) string {
	v := j.Verdict
	switch {
	case v == nil:
		return string(j.State)
	case v.Code != nil:
		return fmt.Sprintf("%s %d", v.Reason, *v.Code)
	case v.Signal != "":
		return v.Reason + " " + v.Signal
	}
	return v.Reason
}
