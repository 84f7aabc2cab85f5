package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"time"

	"jobworker/httpapi"
)

// A selection says which of the jobs that are over prune is about.
type selection struct {
	all    bool             // of all owners, not one's own alone
	older  httpapi.Duration // ended longer ago; 0: any time
	labels map[string]string
}

func setupPrune(fs *flag.FlagSet) action {
	w, quiet := workerFlags(fs), quietFlag(fs)
	var s selection
	fs.BoolVar(&s.all, "a", false, "jobs of all owners, not your own alone")
	fs.Func("older", "only jobs that ended longer than this `TIME` ago, as in 24h", func(v string) (err error) {
		s.older, err = parseTime(v)
		return err
	})
	fs.Func("label", "only jobs with the label `K=V`; repeatable, all of them count", func(v string) error {
		return setLabel(&s.labels, v)
	})
	dry := fs.Bool("dry-run", false, "only show the ids of what would be forgotten")
	return func(ctx context.Context, e *env, _ []string) error {
		var ids []string
		err := w.with(ctx, e, func(c *httpapi.Client) (err error) {
			ids, err = s.find(ctx, c, time.Now())
			return err
		})
		if err != nil {
			return err
		}
		n := 0
		err = w.each(ctx, e, ids, failed, func(c *httpapi.Client, id string) error {
			if gone, err := forget(ctx, c, id, *dry); gone || err != nil {
				return err
			}
			n++
			_, err := fmt.Fprintln(e.stdout, id)
			return written(err)
		})
		switch {
		case *quiet:
		case *dry:
			e.say("would forget %d jobs", n)
		default:
			e.say("forgot %d jobs", n)
		}
		return err
	}
}

// find returns the ids of the selected jobs, the oldest first.
func (s *selection) find(ctx context.Context, c *httpapi.Client, now time.Time) (ids []string, err error) {
	me := ""
	if !s.all {
		who, err := c.WhoAmI(ctx)
		if err != nil {
			return nil, err
		}
		me = who.User
	}
	jobs, err := list(ctx, c, []httpapi.State{httpapi.Ended}, s.labels)
	for _, j := range slices.Backward(jobs) {
		if (s.all || j.Owner == me) && j.EndedAt != nil && now.Sub(*j.EndedAt) >= time.Duration(s.older) {
			ids = append(ids, j.ID)
		}
	}
	return ids, err
}

// forget removes a job, unless it is only asked about. gone means that somebody
// else did.
func forget(ctx context.Context, c *httpapi.Client, id string, dry bool) (gone bool, err error) {
	if dry {
		return false, nil
	}
	err = c.Remove(ctx, id)
	if p, ok := errors.AsType[*httpapi.Problem](err); ok && p.Type == httpapi.TypeNotFound {
		return true, nil
	}
	return false, err
}
