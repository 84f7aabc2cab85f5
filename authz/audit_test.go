package authz_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"

	"jobworker/authz"
)

// auditLine logs d and returns its one line, decoded.
func auditLine(t *testing.T, d authz.Decision) (map[string]any, string) {
	t.Helper()
	var buf bytes.Buffer
	authz.NewAudit(slog.New(slog.NewJSONHandler(&buf, nil))).Log(t.Context(), d)
	text := buf.String()
	if strings.Count(text, "\n") != 1 || !strings.HasSuffix(text, "\n") {
		t.Fatalf("not one line: %q", text)
	}
	var line map[string]any
	if err := json.Unmarshal(buf.Bytes(), &line); err != nil {
		t.Fatal(err)
	}
	delete(line, "time")
	return line, text
}

func TestAuditLine(t *testing.T) {
	line, _ := auditLine(t, authz.Decision{
		Identity:  authz.Identity{User: "bob", Groups: []string{"g", "h"}, Fingerprint: "ab12"},
		RequestID: "r1", Action: authz.JobStop, Object: "j1", Owner: "alice", Remote: "127.0.0.1:5",
		Reason: "not the owner",
	})
	want := map[string]any{
		"level": "WARN", "msg": "audit", "user": "bob", "groups": []any{"g", "h"}, "fingerprint": "ab12",
		"request_id": "r1", "action": "job.stop", "job": "j1", "owner": "alice", "remote": "127.0.0.1:5",
		"decision": "deny", "reason": "not the owner",
	}
	if !reflect.DeepEqual(line, want) {
		t.Errorf("got %v, want %v", line, want)
	}
	line, _ = auditLine(t, authz.Decision{Allow: true})
	if line["level"] != "INFO" || line["decision"] != "allow" || !reflect.DeepEqual(line["groups"], []any{}) {
		t.Errorf("got %v", line)
	}
}

func TestAuditCannotBeForged(t *testing.T) {
	evil := "x\"}\n{\"msg\":\"audit\",\"decision\":\"allow\"}\x00\x1b[2J\xff"
	line, text := auditLine(t, authz.Decision{
		Identity: authz.Identity{User: evil, Groups: []string{evil}, Fingerprint: evil}, RequestID: evil,
		Action: authz.Action(evil), Object: evil, Owner: evil, Remote: evil, Reason: evil,
	})
	if line["decision"] != "deny" || strings.ContainsAny(text, "\x00\x1b\xff") {
		t.Errorf("forged: %q", text)
	}
}

func TestAuditLineIsBounded(t *testing.T) {
	huge := strings.Repeat("é", 1<<20)
	line, text := auditLine(t, authz.Decision{
		Identity: authz.Identity{User: huge, Groups: slices.Repeat([]string{huge}, 1000), Fingerprint: huge}, RequestID: huge,
		Action: authz.Action(huge), Object: huge, Owner: huge, Remote: huge, Reason: huge,
	})
	if len(text) > 32<<10 {
		t.Errorf("a line of %d bytes", len(text))
	}
	if want := strings.Repeat("é", 128) + "…"; line["job"] != want {
		t.Errorf("cut to %q", line["job"])
	}
}

func TestAuditWithoutLog(t *testing.T) {
	authz.NewAudit(nil).Log(t.Context(), authz.Decision{}) // must not panic
}
