package job

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestPageTokens(t *testing.T) {
	j := Job{ID: newID(), CreatedAt: time.Date(2026, 11, 21, 20, 33, 28, 290000001, time.UTC)}
	p, err := parsePageToken(pageToken(j))
	if err != nil || p.id != j.ID || !p.created.Equal(j.CreatedAt) {
		t.Errorf("token of %v: %+v, %v", j, p, err)
	}
	if p, err := parsePageToken(""); err != nil || p != (position{}) {
		t.Errorf("no token: %+v, %v, want the beginning", p, err)
	}
	for _, text := range []string{"", "1", "1 ", " 1 " + j.ID, "x " + j.ID, "1 " + j.ID[1:], "1 ../" + j.ID[3:], "1 " + j.ID + " ", "1 " + j.ID + " 2",
		"01 " + j.ID, "9223372036854775808 " + j.ID, j.ID + " 1", strings.ToUpper("1 " + j.ID)} {
		token := base64.RawURLEncoding.EncodeToString([]byte(text))
		if text == "" {
			token = "="
		}
		if p, err := parsePageToken(token); !errors.Is(err, ErrPageToken) {
			t.Errorf("token of %q: %+v, %v, want ErrPageToken", text, p, err)
		}
	}
}

func TestPositions(t *testing.T) {
	at := time.Unix(1, 0)
	order := []position{{at, "a"}, {at, "b"}, {at.Add(1), "a"}, {}} // the last is the beginning of a list, newest first
	for i, p := range order {
		for j, q := range order[:3] {
			if q.before(p) != (j < i) {
				t.Errorf("%v before %v: %v", q, p, q.before(p))
			}
		}
	}
}
