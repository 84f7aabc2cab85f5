package authz

import (
	"context"
	"log/slog"
)

// Decision is one answer of the policy, or a refusal before it was asked. Empty fields are
// logged as they are.
type Decision struct {
	Identity  Identity // who asked; zero where the certificate names nobody
	RequestID string   // ties the line to the request's other lines
	Action    Action   // what was asked for
	Object    string   // id of the job, as the client gave it
	Owner     string   // owner of that job
	Remote    string   // address of the client
	Allow     bool     // the verdict
	Reason    string   // as Allow gave it
}

// Event is something that happened to a job or to the worker. Empty fields are left out of the log.
type Event struct {
	Seq     int64  // its number
	Type    string // as in "job.ended"
	Job     string // id
	Owner   string // of the job
	By      string // who caused it; empty where nobody did, as of a job that ends by itself
	Signal  string // sent to the job, or that ended it
	Verdict string // how the job ended
	Code    *int   // its exit code, if it has one
}

// Audit writes decisions and events to a log. It is safe for concurrent use.
type Audit struct {
	log *slog.Logger
}

// NewAudit returns an Audit that writes to log, which should use a LogHandler: that one escapes
// whatever a client puts into a name or an id. A nil log discards everything.
func NewAudit(log *slog.Logger) *Audit {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Audit{log: log}
}

// Log writes one line with the message "audit": at level INFO what was allowed, at WARN what was
// denied. Strings are cut to 256 bytes, so that no client can choose the size of a line.
func (a *Audit) Log(ctx context.Context, d Decision) {
	level, verdict := slog.LevelWarn, "deny"
	if d.Allow {
		level, verdict = slog.LevelInfo, "allow"
	}
	a.log.LogAttrs(ctx, level, "audit",
		slog.String("user", clip(d.Identity.User)),
		slog.Any("groups", clipAll(d.Identity.Groups)),
		slog.String("fingerprint", clip(d.Identity.Fingerprint)),
		slog.String("request_id", clip(d.RequestID)),
		slog.String("action", clip(string(d.Action))),
		slog.String("job", clip(d.Object)),
		slog.String("owner", clip(d.Owner)),
		slog.String("remote", clip(d.Remote)),
		slog.String("decision", verdict),
		slog.String("reason", clip(d.Reason)),
	)
}

// Happened writes one line with the message "event".
func (a *Audit) Happened(ctx context.Context, e Event) {
	attrs := []slog.Attr{slog.Int64("seq", e.Seq), slog.String("event", clip(e.Type))}
	for _, s := range [][2]string{{"job", e.Job}, {"owner", e.Owner}, {"by", e.By}, {"signal", e.Signal}, {"verdict", e.Verdict}} {
		if s[1] != "" {
			attrs = append(attrs, slog.String(s[0], clip(s[1])))
		}
	}
	if e.Code != nil {
		attrs = append(attrs, slog.Int("code", *e.Code))
	}
	a.log.LogAttrs(ctx, slog.LevelInfo, "event", attrs...)
}

func clipAll(list []string) []string {
	out := []string{}
	for _, s := range list[:min(len(list), maxGroups)] {
		out = append(out, clip(s))
	}
	return out
}
