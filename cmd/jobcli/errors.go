package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"syscall"

	"jobworker/authz"
	"jobworker/httpapi"
)

// A diagnosis is what an error means to the user.
type diagnosis struct {
	status int    // 0: that of the command
	hint   string // what to do next; may be empty
	typed  string // the same in a console, where it is something else
}

// inConsole is the hint for those who are in a console.
func (d diagnosis) inConsole() string { return cmp.Or(d.typed, d.hint) }

// problems is the diagnosis of what the worker answers. The rest is refused or
// failed, and the answer says why.
var problems = map[string]diagnosis{
	httpapi.TypeNotFound:         {noSuchJob, "jobcli ps -a lists the jobs that you may see", "jobs all lists those that you may see"},
	httpapi.TypeForbidden:        {notAllowed, "jobcli whoami shows your roles and grants; the worker's administrator gives others", ""},
	httpapi.TypeIdentity:         {notAllowed, renewHint, ""},
	httpapi.TypeJobRunning:       {failed, "jobcli stop ends it, or rm -f", ""},
	httpapi.TypeUnready:          {failed, "echo start | jobcli console makes it ready", "start makes it ready"},
	httpapi.TypeLimitUnavailable: {failed, "start it without that limit, or on a worker that can enforce it", ""},
	httpapi.TypeStartFailed:      {failed, startHint, ""},
	httpapi.TypeTooMany:          {failed, "try again when some have ended; the worker's -max- flags say how many there may be", ""},
	httpapi.TypeBusy:             {failed, "try again when one of them has ended; jobcli stop ends a job", "try again when one of them has ended; cancel ID ends a job"},
	httpapi.TypeQuota:            {failed, "jobcli whoami shows your quota; jobcli stop ends a job, rm and prune forget what is over", "cancel ID ends a job; jobcli rm and prune forget what is over"},
	httpapi.TypeShuttingDown:     {unreachable, "try again when it is back", ""},
	httpapi.TypeNoCapacity:       {failed, pruneHint, ""},
	httpapi.TypeNoSpace:          {failed, pruneHint, ""},
	httpapi.TypeOffset:           {failed, "jobcli status shows how many bytes of output there are", ""},
}

const (
	renewHint = "jobcli tls cert -dir PKI -name NAME -group GROUP makes a new certificate, where the CA is"
	pruneHint = "jobcli prune forgets your ended jobs"
	startHint = "a job sees the programs of the worker's machine: give the full path of one, or one in its /usr/bin or /bin"
)

// errNoCertificate means that nothing says which certificate to use, or that it is
// not there.
var errNoCertificate = errors.New("no client certificate")

// errOutage means that a worker has not come back in time.
type errOutage struct{ cause error }

func (o *errOutage) Error() string { return "the worker does not come back: " + o.cause.Error() }
func (o *errOutage) Unwrap() error { return o.cause }

// outputError is a failed write of our own output.
type outputError struct{ err error }

func (o *outputError) Error() string { return "write output: " + o.err.Error() }
func (o *outputError) Unwrap() error { return o.err }

// written marks err, if it is one, as that of a write to standard output.
func written(err error) error {
	if err == nil {
		return nil
	}
	return &outputError{err}
}

// pipeClosed reports whether the reader of our output went away.
func pipeClosed(err error) bool {
	_, ok := errors.AsType[*outputError](err)
	return ok && (errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe))
}

// fail tells an error and returns the exit status for it: its own, or failure.
func (e *env) fail(err error, failure int) int {
	if err == nil {
		return 0
	}
	if x, ok := errors.AsType[exit](err); ok {
		return int(x)
	}
	if i, ok := errors.AsType[interrupted](err); ok {
		return i.code()
	}
	if pipeClosed(err) {
		return brokenPipe
	}
	d := diagnose(err)
	e.say("%v", err)
	if d.hint != "" {
		e.say("hint: %s", d.hint)
	}
	switch {
	case failure == unknown && d.status != misused:
		return startStatus(err)
	case d.status != 0:
		return d.status
	}
	return failure
}

// enoent is ENOENT of the worker, which runs on Linux wherever we do.
const enoent = 2

// startStatus is the exit status of run for a start that failed.
func startStatus(err error) int {
	p, ok := errors.AsType[*httpapi.Problem](err)
	switch {
	case !ok || p.Type != httpapi.TypeStartFailed || p.Stage != "exec":
		return unknown
	case p.Errno == enoent:
		return notFound
	}
	return notExecutable
}

func diagnose(err error) diagnosis {
	if _, ok := errors.AsType[*usageError](err); ok {
		return diagnosis{status: misused}
	}
	if p, ok := errors.AsType[*httpapi.Problem](err); ok {
		return problems[p.Type]
	}
	if errors.Is(err, errNoCertificate) {
		return diagnosis{status: failed, hint: "-cert-dir DIR or JOBCLI_CERT_DIR names a directory with ca.pem, cert.pem and key.pem; jobcli tls init makes them; run -local needs none"}
	}
	if errors.Is(err, authz.ErrExpired) {
		return diagnosis{status: failed, hint: renewHint}
	}
	if hint, ok := refusalHint(err); ok {
		return diagnosis{status: unreachable, hint: hint}
	}
	if neverThere(err) {
		return diagnosis{status: unreachable, hint: "is jobworker running there? -addr URL or JOBCLI_ADDR names another"}
	}
	if lost(err) {
		return diagnosis{status: unreachable}
	}
	return diagnosis{}
}

// refusalHint reports whether err is one side's refusal to speak TLS with the other,
// and what to do about it. Trying again would not help.
func refusalHint(err error) (hint string, ok bool) {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "the worker's certificate is signed by another CA than ca.pem: -ca FILE names the right one", true
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "-server-name gives a name that is in the worker's certificate; jobcli tls cert -host NAME makes the worker one with another", true
	}
	if _, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		return "the worker needs another certificate: jobcli tls cert -host NAME makes one, where the CA is", true
	}
	if errors.Is(err, http.ErrSchemeMismatch) {
		return "what listens there does not speak TLS: it is no worker", true
	}
	// crypto/tls reports the peer's alert as an OpError of this name, and the alert as that of a type
	// of its own.
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
		for _, a := range alerts {
			if op.Err.Error() == a.alert.Error() {
				return a.hint, true
			}
		}
		return notTrusted, true
	}
	return "", false
}

const notTrusted = "the worker does not accept your certificate: it has to be signed by a CA that the worker trusts (-client-ca)"

// alerts are what a worker's refusals to speak TLS mean, by their number (RFC 8446 section 6.2). To
// the rest notTrusted applies.
var alerts = []struct {
	alert tls.AlertError
	hint  string
}{
	{40, "the worker wants a post-quantum key exchange (-tls-pq=require), which this program does not offer: GODEBUG=tlsmlkem=0 turns it off"}, // handshake_failure
	{42, "the worker does not accept your certificate: it has been revoked (-client-crl), or is not one for a client"},                         // bad_certificate
}

// neverThere reports whether err is that of a connection that was not made at all.
func neverThere(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// lost reports whether err is that of a connection.
func lost(err error) bool {
	u, request := errors.AsType[*url.Error](err) // every request that got no answer
	_, outage := errors.AsType[*errOutage](err)
	return request && u.Op != "parse" || outage || errors.Is(err, io.ErrUnexpectedEOF)
}

// transient reports whether trying again may help against err.
func transient(err error) bool {
	if p, ok := errors.AsType[*httpapi.Problem](err); ok {
		return slices.Contains([]string{httpapi.TypeShuttingDown, httpapi.TypeTooMany, httpapi.TypeStdinBusy, httpapi.TypeStdinOffset}, p.Type)
	}
	if _, ok := refusalHint(err); ok || errors.Is(err, context.Canceled) {
		return false
	}
	if _, ok := errors.AsType[*outputError](err); ok {
		return false
	}
	return lost(err)
}
