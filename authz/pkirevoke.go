package authz

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// The files by which certificates are revoked.
const (
	crlFile     = "crl.pem"
	crlNextFile = "crl.pem.new" // while it is being made
	issuedDir   = "issued"      // every client certificate of the CA, SERIAL.pem
)

// RevokeOptions is what Revoke does.
type RevokeOptions struct {
	Dir  string        // of the CA
	User string        // whose certificates, all of them; "" is nobody's
	Cert string        // file of one more; "" is none
	Life time.Duration // how long the list is in force; 0 is as long as the CA is valid
}

// Revoke makes the next revocation list of the CA in a directory, dir/crl.pem: what the one before
// holds, and the certificates in question. It returns the list's path and how many certificates are
// new in it; when neither a user nor a file is given, or all of them are in it already, it is made
// anew all the same. A user who has no certificate of the CA is an error. A worker reads the list
// when it is told to reload. There is no way back: a user needs a new certificate.
//
// Of two calls at once one fails with fs.ErrExist.
func Revoke(o RevokeOptions) (path string, added int, err error) {
	path = filepath.Join(o.Dir, crlFile)
	if added, err = revoke(o, path); err != nil {
		return "", 0, fmt.Errorf("revoke: %w", err)
	}
	return path, added, nil
}

func revoke(o RevokeOptions, path string) (added int, err error) {
	ca, err := loadCA(o.Dir)
	if err != nil {
		return 0, err
	}
	// The file is the lock as well: the list is read when nobody else can replace it.
	next := filepath.Join(o.Dir, crlNextFile)
	f, err := os.OpenFile(next, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return 0, err
	}
	list, added, err := ca.nextList(o, path)
	if err == nil {
		_, err = f.Write(list)
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(next, path)
	}
	if err != nil {
		return 0, errors.Join(err, os.Remove(next))
	}
	return added, nil
}

// nextList returns the list that follows the one at path, and how many certificates it adds.
func (ca *CA) nextList(o RevokeOptions, path string) (list []byte, added int, err error) {
	serials, err := ca.toRevoke(o)
	if err != nil {
		return nil, 0, err
	}
	number, entries, err := ca.readList(path)
	if err != nil {
		return nil, 0, err
	}
	for _, serial := range serials {
		listed := func(e x509.RevocationListEntry) bool { return e.SerialNumber.Cmp(serial) == 0 }
		if !slices.ContainsFunc(entries, listed) {
			entries = append(entries, x509.RevocationListEntry{SerialNumber: serial, RevocationTime: time.Now()})
			added++
		}
	}
	list, err = ca.signList(number.Add(number, big.NewInt(1)), entries, o.Life)
	return list, added, err
}

// toRevoke returns the serial numbers of the certificates that o names.
func (ca *CA) toRevoke(o RevokeOptions) (serials []*big.Int, err error) {
	if o.User != "" {
		if serials, err = ca.issuedTo(o.Dir, o.User); err != nil {
			return nil, err
		}
		if len(serials) == 0 {
			return nil, fmt.Errorf("user %q: has no certificate of the CA in %s", clip(o.User), o.Dir)
		}
	}
	if o.Cert != "" {
		cert, err := ca.readIssued(o.Cert)
		if err != nil {
			return nil, err
		}
		serials = append(serials, cert.SerialNumber)
	}
	return serials, nil
}

// issuedTo returns the serial numbers of the user's certificates. Earlier versions kept no copy:
// the one in the user's own set counts too, while it is there.
func (ca *CA) issuedTo(dir, user string) (serials []*big.Int, err error) {
	if err := checkName(user); err != nil {
		return nil, fmt.Errorf("user: %w", err)
	}
	copies, err := os.ReadDir(filepath.Join(dir, issuedDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var paths []string
	for _, c := range copies {
		paths = append(paths, filepath.Join(dir, issuedDir, c.Name()))
	}
	if checkDirName(user) == nil {
		paths = append(paths, filepath.Join(dir, user, setCertFile))
	}
	for _, path := range paths {
		cert, err := ca.readIssued(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		known := func(n *big.Int) bool { return n.Cmp(cert.SerialNumber) == 0 }
		if cert.Subject.CommonName == user && !slices.ContainsFunc(serials, known) {
			serials = append(serials, cert.SerialNumber)
		}
	}
	return serials, nil
}

// readIssued reads a certificate that the CA has signed.
func (ca *CA) readIssued(path string) (*x509.Certificate, error) {
	data, err := readPEM(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil || block.Type != pemCertificate {
		return nil, fmt.Errorf("%s: no certificate in it", path)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err == nil {
		err = cert.CheckSignatureFrom(ca.cert)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return cert, nil
}

// readList reads the CA's list at path, if there is one: its number and its entries.
func (ca *CA) readList(path string) (number *big.Int, entries []x509.RevocationListEntry, err error) {
	data, err := readCRL(path)
	if errors.Is(err, fs.ErrNotExist) {
		return new(big.Int), nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	blocks, err := pemBlocks(data, pemCRL)
	if err == nil && len(blocks) != 1 {
		err = fmt.Errorf("%d revocation lists in it, must be one", len(blocks))
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	list, err := x509.ParseRevocationList(blocks[0])
	if err == nil {
		err = list.CheckSignatureFrom(ca.cert)
	}
	if err == nil && list.Number == nil {
		err = errors.New("has no number")
	}
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return list.Number, list.RevokedCertificateEntries, nil
}

// signList makes a list. It does not outlive the CA.
func (ca *CA) signList(number *big.Int, entries []x509.RevocationListEntry, life time.Duration) ([]byte, error) {
	now := time.Now()
	until := ca.cert.NotAfter
	if life != 0 {
		until = now.Add(life)
	}
	if life < 0 || until.After(ca.cert.NotAfter) {
		return nil, fmt.Errorf("in force for %v: must end before the CA, valid until %s", life, ca.cert.NotAfter.Format(time.RFC3339))
	}
	signer, ok := ca.key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("key of the CA: a %T, which cannot sign", ca.key)
	}
	template := &x509.RevocationList{
		Number: number, RevokedCertificateEntries: entries,
		ThisUpdate: now.Add(-clockSkew), NextUpdate: until,
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, ca.cert, signer)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemCRL, Bytes: der}), nil
}

// record keeps a copy of a client's certificate, so that it can be revoked when the user's own is
// elsewhere, as it should be.
func (m *made) record(dir string, pair KeyPair) error {
	block, _ := pem.Decode(pair.Cert)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	sub := filepath.Join(dir, issuedDir)
	if err := m.mkdir(sub); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return m.write(filepath.Join(sub, cert.SerialNumber.Text(16)+".pem"), pair.Cert, 0o644)
}
