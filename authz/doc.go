// Package authz decides who a TLS certificate is and what a policy lets them do, builds the
// mutual-TLS configurations of both sides, and makes the certificates.
//
// A client proves who it is in the TLS handshake. Identify reads the verified certificate: the
// subject's common name (CN) is the user, its organizations (O) are groups. Rights are not in the
// certificate: a Policy binds users and groups to roles, and a role is a column of one table of
// actions. Every decision is written to the Audit log.
//
//	client                                   server
//	ClientTLS: own pair, CA ──TLS 1.3──▶     ServerTLS: own pair, client CAs
//	                                         ServerTLS.Identify   who is it, and still?
//	                                         Policy.Sees          else 404, as for no such job
//	                                         Policy.Allow         else 403
//	                                         Audit.Log            in every case
//
// # Roles
//
// An admin does everything, and alone starts, stops and terminates the worker itself. An operator
// starts jobs and does everything with their own. A viewer reads all jobs and starts nothing. All
// three see the worker's state. Who has several roles has the union of them; who has none is
// refused everything. Without a policy file (Builtin) the roles belong to the groups
// jobworker:admin, jobworker:operator and jobworker:viewer.
//
// # The policy file
//
//	{"roles": {
//	  "admin":    {"users": ["alice"]},
//	  "operator": {"users": ["bob"], "groups": ["build", "jobworker:operator"]},
//	  "viewer":   {"groups": ["audit"]}
//	}}
//
// The file replaces the built-in policy: it is the whole truth. Names are compared byte by byte.
// Unknown and repeated fields, unknown roles, empty names and roles without anybody are refused.
// "quotas" is refused too, as not supported: a quota that nothing enforces must not look as if it
// were in force.
//
// # What is not visible does not exist
//
// Policy.Sees is the one rule behind the list of jobs and the look at one of them. A job that a
// user does not see is answered exactly like one that does not exist.
//
// # Certificates
//
// TLS 1.3 only, a verified client certificate always, no session tickets: resumption would skip
// the verification after the CAs changed (CVE-2025-68121). Extended key usage is checked both
// ways by crypto/tls; in addition Identify wants clientAuth spelled out, where crypto/x509 takes
// a certificate that names no usage at all for any use. The serial number is no identity, because
// renewal changes it; a renewed certificate with the same subject is the same user. The
// fingerprint is for the audit log.
//
// A connection may outlive its certificate and its CA. ServerTLS.Identify is therefore asked at
// every request, and again while a response streams. There are no revocation lists: a stolen
// certificate is shut out by taking its user or groups out of the policy, or by a new CA.
package authz
