package job

import (
	"encoding/base64"
	"fmt"
	"time"
)

// A position is a place in the order of jobs: by creation, then by id. It stays
// valid when the job it was made of is removed.
type position struct {
	created time.Time
	id      string
}

// before reports whether p comes before q; the zero position comes after all.
func (p position) before(q position) bool {
	if c := p.created.Compare(q.created); c != 0 || q.id == "" {
		return c < 0 || q.id == ""
	}
	return p.id < q.id
}

func pageToken(j Job) string {
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "%d %s", j.CreatedAt.UnixNano(), j.ID))
}

func parsePageToken(s string) (position, error) {
	if s == "" {
		return position{}, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return position{}, ErrPageToken
	}
	var nano int64
	var id string
	if n, _ := fmt.Sscanf(string(b), "%d %s", &nano, &id); n != 2 {
		return position{}, ErrPageToken
	}
	p := position{time.Unix(0, nano), id}
	if _, ok := ParseID(id); !ok || pageToken(Job{CreatedAt: p.created, ID: id}) != s {
		return position{}, ErrPageToken
	}
	return p, nil
}
