package authz

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"
)

const (
	pemCRL = "X509 CRL" // RFC 7468 section 6

	// maxCRL is the size of a file of revocation lists in bytes: enough for some hundred thousand
	// certificates.
	maxCRL = 8 << 20
)

// revocations are the lists in force, by the public key that has signed them. Not by certificate of
// the CA: one key may have several (renewed, or signed by another CA too), and it is the client who
// chooses which of them it sends.
type revocations map[string]*revocationList

type revocationList struct {
	issuer  string
	number  *big.Int        // nil where the list has none
	until   time.Time       // its nextUpdate
	serials map[string]bool // hexadecimal
}

// parseRevocations reads lists, one in DER or any number in PEM. Each must be signed by one of cas,
// which has no other among them, and be in force now.
func parseRevocations(data []byte, cas []*x509.Certificate, now time.Time) (revocations, error) {
	lists := [][]byte{data}
	if !bytes.HasPrefix(data, []byte{0x30}) { // the SEQUENCE that a list is in DER
		var err error
		if lists, err = pemBlocks(data, pemCRL); err != nil {
			return nil, err
		}
	}
	if len(lists) == 0 {
		return nil, errors.New("no revocation list in it")
	}
	r := make(revocations)
	for i, der := range lists {
		if err := r.add(der, cas, now); err != nil {
			return nil, fmt.Errorf("list %d: %w", i+1, err)
		}
	}
	return r, nil
}

func (r revocations) add(der []byte, cas []*x509.Certificate, now time.Time) error {
	parsed, err := x509.ParseRevocationList(der)
	if err != nil {
		return err
	}
	issuer := clip(parsed.Issuer.String())
	if len(parsed.Raw) != len(der) {
		return fmt.Errorf("of %q: bytes after its end", issuer)
	}
	if err := checkList(parsed, now); err != nil {
		return fmt.Errorf("of %q: %w", issuer, err)
	}
	ca, err := signerOf(parsed, cas)
	if err != nil {
		return fmt.Errorf("of %q: %w", issuer, err)
	}
	key := string(ca.RawSubjectPublicKeyInfo)
	if r[key] != nil {
		return fmt.Errorf("of %q: is the second of this CA", issuer)
	}
	list := &revocationList{issuer: issuer, number: parsed.Number, until: parsed.NextUpdate, serials: make(map[string]bool)}
	for _, e := range parsed.RevokedCertificateEntries {
		list.serials[e.SerialNumber.Text(16)] = true
	}
	r[key] = list
	return nil
}

// checkList refuses a list that is not in force, and one that means something else than "these of
// my certificates": what a critical extension says must be understood (RFC 5280 section 5.2), and
// it may say that this is only the difference to another list, or is about other CAs.
func checkList(list *x509.RevocationList, now time.Time) error {
	switch {
	case list.NextUpdate.IsZero():
		return errors.New("does not say when the next one comes")
	case now.After(list.NextUpdate):
		return fmt.Errorf("ran out on %s", list.NextUpdate.Format(time.RFC3339))
	case now.Before(list.ThisUpdate):
		return fmt.Errorf("not in force before %s", list.ThisUpdate.Format(time.RFC3339))
	}
	extensions := slices.Clone(list.Extensions)
	for _, e := range list.RevokedCertificateEntries {
		extensions = append(extensions, e.Extensions...)
	}
	if i := slices.IndexFunc(extensions, func(x pkix.Extension) bool { return x.Critical }); i >= 0 {
		return fmt.Errorf("critical extension %s: not supported", extensions[i].Id)
	}
	return nil
}

// signerOf returns the CA that has signed a list.
func signerOf(list *x509.RevocationList, cas []*x509.Certificate) (*x509.Certificate, error) {
	err := errors.New("is of none of the CAs")
	for _, ca := range cas {
		if !bytes.Equal(ca.RawSubject, list.RawIssuer) {
			continue
		}
		if err = list.CheckSignatureFrom(ca); err == nil {
			return ca, nil
		}
	}
	return nil, err
}

// follow returns an error when one of cas had a list in prev, and has an older one now, or none:
// whom it has revoked would be let in again.
func (r revocations) follow(prev revocations, cas []*x509.Certificate) error {
	for _, ca := range cas {
		key := string(ca.RawSubjectPublicKeyInfo)
		old, now := prev[key], r[key]
		switch {
		case old == nil:
		case now == nil:
			return fmt.Errorf("the list of %q is not there any more", old.issuer)
		case old.number != nil && now.number != nil && now.number.Cmp(old.number) < 0:
			return fmt.Errorf("list number %d of %q: older than number %d, which is in force", now.number, old.issuer, old.number)
		}
	}
	return nil
}

// check returns until when the lists that chain depends on are in force, which is the zero time
// where there are none, and an error when one of its certificates is revoked or a list has run out:
// what it would say today nobody knows.
func (r revocations) check(chain []*x509.Certificate, now time.Time) (until time.Time, err error) {
	for i, c := range chain[:len(chain)-1] {
		list := r[string(chain[i+1].RawSubjectPublicKeyInfo)]
		if list == nil {
			continue
		}
		if list.serials[c.SerialNumber.Text(16)] {
			return until, fmt.Errorf("certificate of %q: revoked", clip(c.Subject.CommonName))
		}
		if now.After(list.until) {
			return until, fmt.Errorf("revocation list of %q: ran out on %s", list.issuer, list.until.Format(time.RFC3339))
		}
		if until.IsZero() || list.until.Before(until) {
			until = list.until
		}
	}
	return until, nil
}
