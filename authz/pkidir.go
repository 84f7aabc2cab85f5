package authz

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The files of a PKI directory. A set for one client or one server is a directory of its own:
// dir/alice/ca.pem, cert.pem and key.pem, to be copied as a whole.
const (
	caCertFile     = "ca.pem"
	caKeyFile      = "ca-key.pem"
	serverCertFile = "server.pem"
	serverKeyFile  = "server-key.pem"
	setCertFile    = "cert.pem"
	setKeyFile     = "key.pem"
)

// InitOptions is what InitPKI makes.
type InitOptions struct {
	Dir    string        // where; made with mode 0700 if it is not there
	Hosts  []string      // DNS names and IP addresses of the server, at least one
	Admin  string        // user to be made a member of jobworker:admin
	CALife time.Duration // how long the CA is valid; 0 is DefaultCALife
	Life   time.Duration // how long the others are; 0 is DefaultLeafLife
}

// InitPKI makes all that a first worker and its administrator need: a CA, a certificate for the
// server and one for the admin.
//
//	dir/ca.pem dir/ca-key.pem dir/server.pem dir/server-key.pem dir/ADMIN/{ca,cert,key}.pem
//	dir/crl.pem dir/issued/SERIAL.pem
//
// The last two are a revocation list without entries and a copy of the admin's certificate, see
// Revoke.
//
// It returns the paths of the files. It never overwrites one, and on an error takes back those it
// has made. Keys have mode 0600.
func InitPKI(o InitOptions) ([]string, error) {
	return undoable("init PKI", func(m *made) error {
		ca, err := NewCA(o.CALife)
		if err != nil {
			return err
		}
		server, err := ca.IssueServer(o.Hosts, o.Life)
		if err != nil {
			return err
		}
		admin, err := ca.IssueClient(o.Admin, []string{BuiltinGroup(Admin)}, o.Life)
		if err != nil {
			return err
		}
		if err := m.ca(o.Dir, ca); err != nil {
			return err
		}
		if err := m.pair(o.Dir, serverCertFile, serverKeyFile, server); err != nil {
			return err
		}
		if err := m.record(o.Dir, admin); err != nil {
			return err
		}
		return m.set(o.Dir, o.Admin, ca, admin)
	})
}

// CheckPKI returns nil if what InitPKI would make is there and of use now: the keys belong to
// their certificates, the CA in dir has signed both, they are valid, and the server's holds for
// every host. The error is fs.ErrNotExist where a file is missing.
func CheckPKI(o InitOptions) error {
	if err := checkPKI(o); err != nil {
		return fmt.Errorf("check PKI: %w", err)
	}
	return nil
}

func checkPKI(o InitOptions) error {
	if err := checkDirName(o.Admin); err != nil {
		return fmt.Errorf("name: %w", err)
	}
	ca, err := loadCA(o.Dir)
	if err != nil {
		return err
	}
	if err := checkTime(ca.cert, time.Now()); err != nil {
		return err
	}
	server, err := ca.checkPair(filepath.Join(o.Dir, serverCertFile), filepath.Join(o.Dir, serverKeyFile), x509.ExtKeyUsageServerAuth)
	if err != nil {
		return err
	}
	for _, h := range o.Hosts {
		if err := server.VerifyHostname(h); err != nil {
			return fmt.Errorf("%s: %v", filepath.Join(o.Dir, serverCertFile), err) // not %w: it is no peer's
		}
	}
	set := filepath.Join(o.Dir, o.Admin)
	if _, err := readPEM(filepath.Join(set, caCertFile)); err != nil {
		return err
	}
	_, err = ca.checkPair(filepath.Join(set, setCertFile), filepath.Join(set, setKeyFile), x509.ExtKeyUsageClientAuth)
	return err
}

// checkPair reads a certificate and its key, and checks both and that the CA signed it.
func (ca *CA) checkPair(cert, key string, usage x509.ExtKeyUsage) (*x509.Certificate, error) {
	var pair KeyPair
	var err error
	if pair.Cert, err = readPEM(cert); err != nil {
		return nil, err
	}
	if pair.Key, err = readKey(key); err != nil {
		return nil, err
	}
	parsed, err := parsePair(pair, usage, time.Now())
	if err == nil {
		err = parsed.Leaf.CheckSignatureFrom(ca.cert)
	}
	if err != nil {
		return nil, fmt.Errorf("%s with %s: %w", cert, key, err)
	}
	return parsed.Leaf, nil
}

// InitCA makes a CA alone: dir/ca.pem, dir/ca-key.pem and dir/crl.pem. It returns and undoes as
// InitPKI does.
func InitCA(dir string, life time.Duration) ([]string, error) {
	return undoable("init CA", func(m *made) error {
		ca, err := NewCA(life)
		if err != nil {
			return err
		}
		return m.ca(dir, ca)
	})
}

// AddClient makes dir/USER/{ca,cert,key}.pem for a user in groups, signed by the CA in dir, and a
// copy of the certificate in dir/issued. It returns and undoes as InitPKI does.
func AddClient(dir, user string, groups []string, life time.Duration) ([]string, error) {
	return undoable("add client", func(m *made) error {
		ca, err := loadCA(dir)
		if err != nil {
			return err
		}
		pair, err := ca.IssueClient(user, groups, life)
		if err != nil {
			return err
		}
		if err := m.record(dir, pair); err != nil {
			return err
		}
		return m.set(dir, user, ca, pair)
	})
}

// AddServer makes dir/NAME/{ca,cert,key}.pem for a server at hosts, signed by the CA in dir. The
// name is that of the directory only. It returns and undoes as InitPKI does.
func AddServer(dir, name string, hosts []string, life time.Duration) ([]string, error) {
	return undoable("add server", func(m *made) error {
		ca, err := loadCA(dir)
		if err != nil {
			return err
		}
		pair, err := ca.IssueServer(hosts, life)
		if err != nil {
			return err
		}
		return m.set(dir, name, ca, pair)
	})
}

func loadCA(dir string) (*CA, error) {
	cert, err := readPEM(filepath.Join(dir, caCertFile))
	if err != nil {
		return nil, err
	}
	key, err := readKey(filepath.Join(dir, caKeyFile))
	if err != nil {
		return nil, err
	}
	ca, err := parseCAPair(KeyPair{Cert: cert, Key: key})
	if err != nil {
		return nil, fmt.Errorf("CA in %s: %w", dir, err)
	}
	return ca, nil
}

// checkDirName is checkName for a name that becomes a directory, on any system the client runs on.
func checkDirName(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if strings.HasPrefix(name, ".") || strings.ContainsAny(name, `/\:`) || !filepath.IsLocal(name) {
		return fmt.Errorf("%q: must not begin with a dot nor contain a slash, backslash or colon", name)
	}
	if strings.EqualFold(name, issuedDir) {
		return fmt.Errorf("%q: is where the copies of certificates are", name)
	}
	return nil
}

// made is what one call has made so far, in order.
type made struct {
	dirs, files []string
}

// undoable runs fill and returns the files it made; on an error they are removed again.
func undoable(what string, fill func(*made) error) ([]string, error) {
	m := &made{}
	if err := fill(m); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", what, err), m.undo())
	}
	return m.files, nil
}

// undo removes the files, and then the directories from the innermost, unless another call
// has put something there by now.
func (m *made) undo() (err error) {
	for _, path := range m.files {
		err = errors.Join(err, os.Remove(path))
	}
	for _, dir := range slices.Backward(m.dirs) {
		if e := os.Remove(dir); !errors.Is(e, fs.ErrExist) { // ENOTEMPTY is one
			err = errors.Join(err, e)
		}
	}
	return err
}

// ca writes dir/ca.pem, dir/ca-key.pem and the first dir/crl.pem. The directory may be there already.
func (m *made) ca(dir string, ca *CA) error {
	list, err := ca.signList(big.NewInt(1), nil, 0)
	if err != nil {
		return err
	}
	if err := m.mkdir(dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := m.pair(dir, caCertFile, caKeyFile, ca.pair); err != nil {
		return err
	}
	return m.write(filepath.Join(dir, crlFile), list, 0o644)
}

// set writes dir/name/{ca,cert,key}.pem. The directory may be there already, such as one that is
// mounted. Of two who make the same set at once one gets it, whole: who makes ca.pem.
func (m *made) set(dir, name string, ca *CA, pair KeyPair) error {
	if err := checkDirName(name); err != nil {
		return fmt.Errorf("name: %w", err)
	}
	sub := filepath.Join(dir, name)
	if err := m.mkdir(sub); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := m.write(filepath.Join(sub, caCertFile), ca.CertPEM(), 0o644); err != nil {
		return err
	}
	return m.pair(sub, setCertFile, setKeyFile, pair)
}

func (m *made) pair(dir, cert, key string, pair KeyPair) error {
	if err := m.write(filepath.Join(dir, cert), pair.Cert, 0o644); err != nil {
		return err
	}
	return m.write(filepath.Join(dir, key), pair.Key, 0o600)
}

// mkdir makes a directory for its owner alone.
func (m *made) mkdir(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	m.dirs = append(m.dirs, dir)
	return nil
}

// write makes a file that is not there yet: O_EXCL, so a key is never overwritten nor a link
// followed. A file half written counts as made.
func (m *made) write(path string, data []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	m.files = append(m.files, path)
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}
