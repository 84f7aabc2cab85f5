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
//	 },
//	 "grants": [
//	  {"groups": ["build"], "binds": [{"path": "/srv/cache", "write": true}, {"path": "/srv/src"}]},
//	  {"users": ["alice"], "profiles": ["host"], "net": ["host"], "run_as": ["www-data"], "userns": true,
//	   "rootfs": [{"path": "/srv/roots"}]}
//	 ],
//	 "quotas": {
//	  "default": {"jobs": 20, "cpus": 4, "memory_bytes": 8589934592, "kept_jobs": 1000},
//	  "groups":  {"build": {"jobs": 100}},
//	  "users":   {"bob": {"cpus": 16, "starts_per_minute": 600}}
//	 }}
//
// The file replaces the built-in policy: it is the whole truth, but for quotas that it does not
// speak of. Names are compared byte by byte. Unknown and repeated fields, unknown roles, empty names,
// roles without anybody and quotas that bound nothing are refused, as are grants to nobody or of
// nothing.
//
// # Grants
//
// Grants are what of the host the jobs of a user may be given beyond the sandbox; a user has those
// of all entries that name them or one of their groups. A role is needed to start a job at all.
//
//	profiles  ["host"]: the host's file systems and network, as one of run_as
//	net       ["host"]: the host's network in a sandbox
//	run_as    users of the host to run as, each in the one notation in which jobs may ask for it,
//	          a name or a number; "*" is every user but root, as whom no job runs
//	rootfs    directories that may be, or have in them, the root of a job; with "write" it is writable
//	binds     files and directories that a job may be shown, with "write" to be written to
//	userns    a user namespace
//
// A path has no link in it, and is granted with what lies below it, also by way of links that do not
// lead out. Writing is as far as the job's user may. Whoever can write below a path that others are
// granted decides what these see there. Without "grants" there are none, in the built-in policy
// neither. Package job opens what is granted, and refuses the worker's own files in any case.
//
// # Quotas
//
// A Quota is the most that one user may have of the worker, whatever their role. Each of its bounds
// is the one given to the user by name, else the largest of those given to the user's groups, else
// the default; what is nowhere given is not bounded.
//
//	jobs               jobs that have not ended
//	cpus               sum of the CPU limits of these
//	memory_bytes       sum of their memory limits
//	pids               sum of their limits on processes
//	kept_jobs          jobs until they are removed, ended ones too
//	spec_bytes         what they were asked to run: arguments, environment, labels
//	output_bytes       what their output takes on the disk; until they end, their limits on it
//	starts_per_minute  starts, those that fail too
//
// Without "quotas" in the file the built-in ones hold: 128 jobs, 16384 kept, 64 MiB of what they
// were asked to run. They keep one user from taking all calculates, user ids and memory of the daemon.
// "quotas": {} lifts them. Package job enforces quotas, where it admits a job.
//
// # The audit log
//
// Audit writes one JSON line for each decision, allow and deny, and one for each event:
//
//	{"time":T,"level":"INFO","msg":"audit","user":"bob","groups":["ci"],"fingerprint":F,"request_id":R,
//	 "action":"job.stop","job":ID,"owner":"bob","remote":"192.0.2.1:5","decision":"allow","reason":"role operator, own job"}
//	{"time":T,"level":"INFO","msg":"event","seq":N,"event":"job.ended","job":ID,"owner":"bob","by":"bob","signal":"SIGTERM","verdict":"stopped"}
//
// A decision is logged before anything is done. A start has a second line, of the same request,
// with the job that came of it, or why none did: what the policy does not allow of this one is a
// deny. So has a request that loses its right while it is answered: deny, "no longer: " and why.
// Events tell how jobs begin and end, and by is who caused it: who started the job, sent the signal,
// stopped or removed it, "(shutdown)" and "(retention)" for the worker itself, absent for an end that
// came by itself or by the job's own timeout. The request id is also in the answer's header
// Request-Id. LogHandler leaves nothing in a line that a terminal would obey.
//
// # What is not visible does not exist
//
// Policy.Sees is the one rule behind the list of jobs and the look at one of them. A job that a
// user does not see is answered exactly like one that does not exist.
//
// # Certificates
//
// TLS 1.3 only, a post-quantum key exchange with every client that offers one and, if that is asked
// for, with no others, a verified client certificate always, no session tickets: resumption would skip
// the verification after the CAs changed (CVE-2025-68121). Extended key usage is checked both
// ways by crypto/tls; in addition Identify wants clientAuth spelled out, where crypto/x509 takes
// a certificate that names no usage at all for any use. The serial number is no identity, because
// renewal changes it; a renewed certificate with the same subject is the same user. The
// fingerprint is for the audit log.
//
// A connection may outlive its certificate and its CA. ServerTLS.Identify is therefore asked at
// every request, and again, for one whose answer takes time, after each Reload and when the
// identity's NotAfter has come.
//
// # Revocation
//
// A certificate is taken back before its time by a revocation list (RFC 5280 section 5) of its CA, in
// ServerFiles.ClientCRL. Revoke makes the lists; those of any other CA do as well. In the file are
// lists in PEM, at most one of each of the client CAs, or one list in DER. It is read with the other
// files, and a Reload keeps what is in force, all of it, when something is wrong:
//
//	a list of none of the client CAs, or forged      refused: it is not the file that was meant
//	one that has run out (nextUpdate), or not begun  refused
//	one with a critical extension, as a delta list   refused: it means something else
//	an older one (cRLNumber) than before, or none    refused by Reload: it would let somebody in again
//	one that runs out while it is in force           every client of its CA is refused until the next
//	                                                 is loaded: nobody knows what it would say
//	a CA without one                                 has revoked nothing
//
// A list is that of the CA's key: it holds for every certificate of that key, so that a client cannot
// get around it by sending a chain of another CA. Where a client has several chains, one that is good
// is enough. Servers are not revoked: clients keep no lists.
package authz
