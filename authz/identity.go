package authz

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// maxName is the length of a user or group name in characters: the upper bound of a common
	// name and of an organization name in RFC 5280, appendix A.1.
	maxName = 64
	// maxGroups bounds what one certificate can make every decision compare and every audit
	// line carry.
	maxGroups = 64
)

// Identity is who a verified client certificate names. The zero Identity is nobody: no policy
// allows it anything.
type Identity struct {
	User        string    // common name of the subject
	Groups      []string  // organizations of the subject, in its order; may be empty
	Fingerprint string    // lower case hexadecimal SHA-256 of the certificate's DER
	NotAfter    time.Time // the last moment at which the chain that proves it is valid
}

// Expired reports whether the certificate, or the CA behind it, has run out at now.
func (id Identity) Expired(now time.Time) bool { return now.After(id.NotAfter) }

// Identify returns who the peer of a server's connection is. It trusts nothing but the chains
// that the handshake verified, and fails when there are none, when the certificate is not marked
// for client authentication, and when its subject has no or several common names, or a name that
// is empty, longer than 64 characters, not UTF-8, not printable or surrounded by space.
// It does not look at the clock: see ServerTLS.Identify and Identity.Expired.
func Identify(cs *tls.ConnectionState) (Identity, error) {
	if cs == nil || len(cs.VerifiedChains) == 0 || len(cs.VerifiedChains[0]) == 0 {
		return Identity{}, errors.New("identify client: no verified certificate")
	}
	leaf := cs.VerifiedChains[0][0]
	if err := checkClientLeaf(leaf); err != nil {
		return Identity{}, fmt.Errorf("identify client: %w", err)
	}
	sum := sha256.Sum256(leaf.Raw)
	return Identity{
		User:        leaf.Subject.CommonName,
		Groups:      slices.Clone(leaf.Subject.Organization),
		Fingerprint: hex.EncodeToString(sum[:]),
		NotAfter:    validUntil(cs.VerifiedChains),
	}, nil
}

func checkClientLeaf(leaf *x509.Certificate) error {
	if !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
		return fmt.Errorf("certificate of %q: extended key usage has no clientAuth", clip(leaf.Subject.CommonName))
	}
	// Of several common names crypto/x509 takes the last and other programs the first.
	if n := commonNames(leaf); n > 1 {
		return fmt.Errorf("certificate of %q: %d common names, must be one", clip(leaf.Subject.CommonName), n)
	}
	if err := checkName(leaf.Subject.CommonName); err != nil {
		return fmt.Errorf("common name: %w", err)
	}
	if n := len(leaf.Subject.Organization); n > maxGroups {
		return fmt.Errorf("certificate of %q: %d organizations, must be at most %d", leaf.Subject.CommonName, n, maxGroups)
	}
	for _, group := range leaf.Subject.Organization {
		if err := checkName(group); err != nil {
			return fmt.Errorf("organization: %w", err)
		}
	}
	return nil
}

func commonNames(c *x509.Certificate) (n int) {
	for _, attr := range c.Subject.Names {
		if attr.Type.Equal([]int{2, 5, 4, 3}) { // id-at-commonName, RFC 5280 appendix A.1
			n++
		}
	}
	return n
}

// validUntil returns when the last of the chains ends; a chain ends with the first of its
// certificates.
func validUntil(chains [][]*x509.Certificate) (until time.Time) {
	for _, chain := range chains {
		var end time.Time
		for i, c := range chain {
			if i == 0 || c.NotAfter.Before(end) {
				end = c.NotAfter
			}
		}
		if end.After(until) {
			until = end
		}
	}
	return until
}

// checkName is the one rule for names of users and groups, in certificates and in policies. What
// it lets through can be shown on a terminal and compared by eye. U+FFFD is what decoders put
// where bytes were not UTF-8: two names that differ must not become one.
func checkName(name string) error {
	unfit := func(r rune) bool { return r == utf8.RuneError || !unicode.IsPrint(r) }
	switch {
	case name == "":
		return errors.New(`"": must not be empty`)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unfit):
		return fmt.Errorf("%+q: must be printable UTF-8", clip(name))
	case utf8.RuneCountInString(name) > maxName:
		return fmt.Errorf("%q: must not be longer than %d characters", clip(name), maxName)
	case strings.TrimSpace(name) != name:
		return fmt.Errorf("%q: must not begin or end with a space", name)
	}
	return nil
}

// maxShown is how many bytes of a foreign string are put into an error or an audit line.
const maxShown = 256

// clip cuts s to maxShown bytes, between characters, and marks the cut.
func clip(s string) string {
	if len(s) <= maxShown {
		return s
	}
	cut := maxShown
	for cut > maxShown-utf8.UTFMax && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
