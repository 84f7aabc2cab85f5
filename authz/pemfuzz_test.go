package authz_test

import (
	"bytes"
	"encoding/pem"
	"os"
	"testing"

	"jobworker/authz"
)

// FuzzServerFiles: the CAs and revocation lists of a file that is accepted are
// accepted when they are written again, each in a block of its own and nothing
// between.
func FuzzServerFiles(f *testing.F) {
	dir := initPKI(f)
	read := func(name string) []byte {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	files := pkiFiles(dir)
	pair := authz.KeyPair{Cert: read(files.Cert), Key: read(files.Key)}
	cas, crl := read(files.ClientCA), read(files.ClientCRL)
	der, _ := pem.Decode(crl)
	f.Add(cas, crl)
	f.Add(append(bytes.Clone(cas), "\n# of last year\n"...), der.Bytes)
	f.Add(append(bytes.Clone(cas), cas...), []byte(nil))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n"), crl)
	f.Fuzz(func(t *testing.T, cas, crl []byte) {
		accepted := authz.ServerPEM{KeyPair: pair, ClientCA: cas, ClientCRL: crl}
		if _, err := authz.NewServerTLSFromPEM(accepted); err != nil {
			return
		}
		again := accepted
		again.ClientCA = rewrite(cas)
		if !bytes.HasPrefix(crl, []byte{0x30}) { // it is not DER
			again.ClientCRL = rewrite(crl)
		}
		if _, err := authz.NewServerTLSFromPEM(again); err != nil {
			t.Errorf("%q and %q are accepted, but not\n%s%s: %v", cas, crl, again.ClientCA, again.ClientCRL, err)
		}
	})
}

// rewrite writes the blocks of a PEM file; nil if there are none.
func rewrite(data []byte) (out []byte) {
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return out
		}
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes})...)
	}
}
