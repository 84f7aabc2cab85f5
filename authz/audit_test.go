package authz_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

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
	if line["decision"] != "deny" || strings.ContainsAny(text, "\x00\x1b") || strings.Contains(text, "\xff") {
		t.Errorf("forged: %q", text)
	}
}

// hostile has what a terminal obeys, what breaks a line, and what reorders one.
const hostile = "a\r\n\t\x00\x1b[2J\x7f\u0085\u009b31m\u2028\u2029\u202e\u2066\ufeff\U000e0041é😀 \\u202e\"}"

func TestLogIsPrintable(t *testing.T) {
	text := checkPrintable(t, hostile)
	if !strings.Contains(text, "é😀") {
		t.Errorf("what can be read is escaped: %s", text)
	}
}

// checkPrintable logs s, in which whoever shows the line finds nothing but printable
// characters, and whoever decodes it finds s.
func checkPrintable(t *testing.T, s string) string {
	t.Helper()
	var buf bytes.Buffer
	slog.New(authz.LogHandler(&buf)).Info("m", "s", s)
	text := strings.TrimSuffix(buf.String(), "\n")
	for _, r := range text {
		if !unicode.IsPrint(r) {
			t.Fatalf("%U in %q", r, text)
		}
	}
	var line struct{ S string }
	if err := json.Unmarshal([]byte(text), &line); err != nil || utf8.ValidString(s) && line.S != s {
		t.Fatalf("%q, %v, want %q", line.S, err, s)
	}
	return text
}

func FuzzLogHandler(f *testing.F) {
	f.Add(hostile)
	f.Fuzz(func(t *testing.T, s string) { checkPrintable(t, s) })
}

func TestAuditEvent(t *testing.T) {
	var buf bytes.Buffer
	a := authz.NewAudit(slog.New(authz.LogHandler(&buf)))
	a.Happened(t.Context(), authz.Event{Seq: 7, Type: "job.ended", Job: "j", Owner: "o\n", By: "b", Signal: "SIGTERM", Verdict: "stopped", Code: new(0)})
	a.Happened(t.Context(), authz.Event{Seq: 8, Type: "worker.ready"})
	_, first, _ := strings.Cut(buf.String(), `"level"`)
	if want := `:"INFO","msg":"event","seq":7,"event":"job.ended","job":"j","owner":"o\n","by":"b","signal":"SIGTERM","verdict":"stopped","code":0}` + "\n"; !strings.HasPrefix(first, want) {
		t.Errorf("%s want %s", first, want)
	}
	if want := `"msg":"event","seq":8,"event":"worker.ready"}` + "\n"; !strings.HasSuffix(first, want) {
		t.Errorf("%s want %s", first, want)
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
