package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"jobworker/authz"
)

// tlsFlags are what the tls commands have in common.
type tlsFlags struct {
	*output
	dir  string
	life time.Duration // 0: authz's default
}

func declareTLS(fs *flag.FlagSet, what string) *tlsFlags {
	t := &tlsFlags{output: outputFlags(fs, "text", "do not show the names of the files")}
	fs.StringVar(&t.dir, "dir", "", "`DIR` of the CA; needed")
	fs.Func("valid", "how long "+what+", a `TIME` as in 720h", func(v string) error {
		d, err := parseTime(v)
		t.life = time.Duration(d)
		return err
	})
	return t
}

func setupTLSInit(fs *flag.FlagSet) action {
	t := declareTLS(fs, "the server's and the administrator's certificate are valid (default 8760h, a year)")
	var hosts []string
	fs.Func("host", "name or address that clients reach the worker at, a `HOST`; repeatable, one is needed", appendTo(&hosts))
	admin := fs.String("admin", "", "`NAME` of the administrator; needed")
	ifMissing := fs.Bool("if-missing", false, "make nothing and succeed if all of it is there, for these hosts and valid")
	return func(_ context.Context, e *env, _ []string) error {
		if err := needed("-dir", t.dir, "-host", strings.Join(hosts, ""), "-admin", *admin); err != nil {
			return err
		}
		o := authz.InitOptions{Dir: t.dir, Hosts: hosts, Admin: *admin, Life: t.life}
		made, err := initPKI(o, *ifMissing)
		return t.show(e, made, err)
	}
}

func initPKI(o authz.InitOptions, ifMissing bool) (made []string, err error) {
	if ifMissing {
		if err := authz.CheckPKI(o); !errors.Is(err, fs.ErrNotExist) {
			return []string{}, err
		}
	}
	return authz.InitPKI(o)
}

func setupTLSCA(fs *flag.FlagSet) action {
	t := declareTLS(fs, "the CA is valid (default 87600h, ten years)")
	return func(_ context.Context, e *env, _ []string) error {
		if err := needed("-dir", t.dir); err != nil {
			return err
		}
		made, err := authz.InitCA(t.dir, t.life)
		return t.show(e, made, err)
	}
}

func setupTLSCert(fs *flag.FlagSet) action {
	t := declareTLS(fs, "the certificate is valid (default 8760h, a year)")
	var groups, hosts []string
	name := fs.String("name", "", "`NAME` of the user, or of the directory for a worker's certificate; needed")
	fs.Func("group", "`GROUP` of the user, as in jobworker:operator; repeatable", appendTo(&groups))
	fs.Func("host", "make a worker's certificate, for this name or address, a `HOST`; repeatable", appendTo(&hosts))
	return func(_ context.Context, e *env, _ []string) error {
		if err := needed("-dir", t.dir, "-name", *name); err != nil {
			return err
		}
		if len(hosts) > 0 && len(groups) > 0 {
			return usage("", "-group: a worker's certificate, as -host makes one, has no groups")
		}
		if len(hosts) > 0 {
			made, err := authz.AddServer(t.dir, *name, hosts, t.life)
			return t.show(e, made, err)
		}
		made, err := authz.AddClient(t.dir, *name, groups, t.life)
		return t.show(e, made, err)
	}
}

func setupTLSRevoke(fs *flag.FlagSet) action {
	t := declareTLS(fs, "the list is in force; after that a worker lets nobody in until it has the next (default: as long as the CA)")
	name := fs.String("name", "", "`NAME` of the user whose certificates are revoked, all there are")
	cert := fs.String("cert", "", "`FILE` with a certificate to revoke")
	return func(_ context.Context, e *env, _ []string) error {
		if err := needed("-dir", t.dir); err != nil {
			return err
		}
		list, added, err := authz.Revoke(authz.RevokeOptions{Dir: t.dir, User: *name, Cert: *cert, Life: t.life})
		if err != nil {
			return hintExist(err, "another revoke is at it: if there is none, remove that file")
		}
		if !t.quiet {
			e.say("certificates revoked: %d; SIGHUP has a worker with -client-crl read the list", added)
		}
		return t.show(e, []string{list}, nil)
	}
}

func appendTo(list *[]string) func(string) error {
	return func(v string) error {
		if v == "" {
			return errors.New("must not be empty")
		}
		*list = append(*list, v)
		return nil
	}
}

// needed takes pairs of a flag and its value and refuses the first that is empty.
func needed(pairs ...string) error {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			return usage("", "%s: is missing", pairs[i])
		}
	}
	return nil
}

// show writes the names of the files that were made.
func (t *tlsFlags) show(e *env, made []string, err error) error {
	switch {
	case err != nil:
		return hintExist(err, "nothing is ever overwritten: choose another directory or name")
	case t.quiet:
		return nil
	case t.json:
		return writeJSON(e.stdout, map[string][]string{"files": made})
	case len(made) == 0:
		return nil
	}
	_, err = fmt.Fprintln(e.stdout, strings.Join(made, "\n"))
	return written(err)
}

// hintExist adds to err what to do about a file that is there, if it is one.
func hintExist(err error, hint string) error {
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	return fmt.Errorf("%w; %s", err, hint)
}
