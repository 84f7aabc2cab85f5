package job

import (
	"crypto/rand"
	"encoding/base32"
	"strings"
)

// idLen is the length of an id: 128 bits in base32 (RFC 4648), lower case,
// without padding.
const idLen = 26

var idEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// newID returns a fresh, unguessable id.
func newID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails, see crypto/rand
	return idEncoding.EncodeToString(b[:])
}

// ParseID reports whether s has the form of an id: 26 characters of a-z and
// 2-7. It is what keeps a path separator out of a file name, so every id that
// comes from outside passes here first.
func ParseID(s string) (id string, ok bool) {
	if len(s) != idLen || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz234567") != "" {
		return "", false
	}
	return s, true
}
