// Package httpapi is the HTTP API of a worker: its server, its client, and, in
// this comment, its reference.
//
// The server speaks HTTP/2, or HTTP/1.1 to clients that ask for it, over TLS 1.3,
// and wants a client certificate. What the certificate allows is decided by
// package authz for each request; the jobs are those of package job; the output
// of a job is sent as package stream has written it.
//
//	POST   /v1/jobs              start a job                          201, or 200
//	GET    /v1/jobs              list jobs, newest first              200
//	GET    /v1/jobs/{id}         a job as it is now                   200
//	DELETE /v1/jobs/{id}         forget a job that is over            204
//	POST   /v1/jobs/{id}/stop    end a job, wait until it is over     200
//	POST   /v1/jobs/{id}/signal  send a signal to its main process    204
//	PUT    /v1/jobs/{id}/stdin   write to its standard input          200
//	GET    /v1/jobs/{id}/output  its output, from any point           200
//	POST   /v1/calculate         start a calculate                    201, or 200
//	POST   /v1/ping              the worker's time                    200
//	GET    /v1/events            what happens, as it happens          200
//	GET    /v1/worker            the worker as it is now              200
//	POST   /v1/worker/start      have it take jobs                    200
//	POST   /v1/worker/stop       have it take none                    200
//	POST   /v1/worker/terminate  have it end                          200
//	GET    /v1/whoami            who the client is, what it may do    200
//	GET    /livez, /readyz       whether the worker serves            200
//
// # Requests
//
// A body, but for that of PUT, is one JSON document in UTF-8, of media type application/json and at
// most MaxBody bytes (-max-body of jobworker lowers that), sent within BodyTimeout. Names are snake_case and exact; an
// unknown field, a field twice, null, a number 0 (but for a calculate's) and
// anything after the document are refused. A size is a number of bytes, a duration a string as in Go ("1h30m"),
// a time as in RFC 3339.
//
// Query parameters are named below. An unknown one, one given twice (but for
// label) and one without a value are refused.
//
// Every answer has a header Request-Id, which is in the worker's log too.
//
// # Start: POST /v1/jobs
//
// The body is a Spec; only argv is needed. The answer is the Job, with its path
// in the header Location, once its program has been executed. What goes wrong
// until then is the answer, and leaves nothing behind.
//
//	follow=true           answers 200 with the job's output instead, as from
//	                      /v1/jobs/{id}/output?follow=true: the first line names the
//	                      job. When the client goes away the job goes on.
//	Idempotency-Key: KEY  (header, 1 to 255 visible ASCII characters) makes it safe
//	                      to ask again: the same user, key and body give the same
//	                      job, with status 200; another body is key-reused. The key
//	                      lives as long as the job's files.
//
// # List: GET /v1/jobs
//
// The answer is a JobList of the jobs that the client may see.
//
//	state=STATE       starting, running, stopping or ended
//	owner=USER        only this user's
//	label=NAME=VALUE  only with this label; may be repeated, then with all of them
//	limit=N           at most N on a page, 1 to MaxPage; without it DefaultPage
//	page_token=TOKEN  the page after the one that came with this next_page_token
//
// # Status: GET /v1/jobs/{id}
//
// Of a job that runs the answer has its protections, a Protections, and its limits as
// the kernel has them at the moment. Both are read back from it, from the job's main
// process, its mounts and its cgroup.
//
//	wait=DURATION     holds the answer until the job is over, at most so long, at
//	                  most MaxWait; then the job is answered as it is
//
// # Stop: POST /v1/jobs/{id}/stop
//
// The body, which may be absent, is a StopRequest. The job is sent the signal,
// and what is left of it after the grace period is killed. The answer is the job
// when it is over; a client that does not wait for it has stopped the job all the
// same. Stopping a job that is over answers it as it is.
//
// # Signal: POST /v1/jobs/{id}/signal
//
// The body is a SignalRequest: {"signal":"HUP"}.
//
// # Input: PUT /v1/jobs/{id}/stdin
//
// The body is the job's standard input, as it is: of any length, which need not be
// known, and as slow as it wants. Its media type is application/octet-stream, or not
// given. The job must have been started with "stdin":true; another's is /dev/null.
// The answer is a StdinAnswer, once the job's pipe has taken all of the body.
//
//	offset=N     the body begins with byte N of the whole input, which must be where
//	             the input goes on: the number of bytes accepted so far. Without it 0.
//	close=false  leaves the input open for another request. Without it the end of the
//	             body is the end of the input.
//
// Only the true end of a body ends the input. A body that breaks off leaves it open,
// so that no job takes half of its input for all of it, and another request goes on.
// Where, is stdin_bytes of the job, or accepted of a Problem. A byte is accepted when
// the kernel has it for the job, which may end without having read it. That and the
// count hold when the worker is killed: a client that was cut off asks the next one.
//
// The worker reads no more of a body than the job does: flow control holds the
// client when some 3 MiB are on the way. The answer comes before the end of the body,
// with accepted, when it is no use to go on: the job is over (job-ended), no process
// of it can read the input any more (stdin-closed, seen at the next byte), the worker
// goes down, or the client loses its right. The rest of the body is then not read.
//
// One request at a time writes to a job; another is stdin-busy. A client that is gone
// without a word is noticed by ping on HTTP/2. On HTTP/1.1 it is noticed by TCP's
// keep-alive, in minutes, and not as long as the job does not read.
//
// # Output: GET /v1/jobs/{id}/output
//
// The answer is of media type application/jsonl, or application/x-ndjson if that
// is asked for with Accept: JSON lines, the frames of package stream. A client
// ignores none of them.
//
//	{"type":"start","v":1,"job":"ID","time":"TIME","argv":["ls"]}
//	{"type":"output","stream":"stdout","offset":0,"time":"TIME","text":"a b\n"}   or "data", base64
//	{"type":"gap","offset":4,"bytes":7,"reason":"no_space"}                       bytes that are not there
//	{"type":"exit","offset":11,"time":"TIME","reason":"exited","code":0, …}       the verdict
//	{"type":"ping"}                                                               no output, but alive
//	{"type":"end","next":11,"reason":"complete"}                                  the last line
//
// The reason of a gap is no_space (the disk, or what is to be left free of it),
// write_error, output_limit (the job wrote more than its limits.output_bytes) or missing
// (the log has lost it: to newer output, where limits.output_full is keep-newest, or to a
// power cut).
//
// The reason of the end is complete (the job is over, and is so in every later
// answer), snapshot (it goes on, and follow was not asked for), limit, or shutdown
// (of the worker; the job may go on). A response without an end line was cut off
// and is never complete, whatever HTTP says; offset=NEXT asks for the rest, where
// NEXT is the offset after the last frame.
//
//	follow=true          goes on until the job is over. A line comes at least every
//	                     DefaultHeartbeat, so three of these in silence mean that
//	                     the worker or the network is gone.
//	offset=N             starts with byte N, counted over both streams from 0. One
//	                     beyond the end is offset-out-of-range.
//	tail_lines=N         starts with the last N lines there are
//	since=TIME           starts with the first output at TIME or later
//	                     (of several such parameters the latest start counts)
//	stream=stdout|stderr only this one; offsets still count both
//	limit=N              ends after N bytes of output
//	format=raw           answers application/octet-stream: the bytes alone, without
//	                     pings or marks where bytes are missing. The trailers
//	                     Job-State and, once the job has one, Job-Exit-Code tell the
//	                     rest; a response without Job-State was cut off.
//
// # The worker's state: /v1/worker
//
//	                         start
//	[*] ─▶ -initial-state:  unready ⇄ ready
//	                         stop
//	either, by terminate or a signal ─▶ terminating ─▶ gone
//
// A worker that is unready refuses the data commands, with the problem unready:
// POST /v1/jobs, /v1/calculate and /v1/ping. Everything else is served, and jobs that
// run go on. The answer to GET is a Worker. That to start and stop is a WorkerChange,
// {"state":"unready","changed":true}; both may be repeated, and then change nothing.
//
// terminate is answered first. Then the worker takes no more jobs, for good, stops
// those that run, each within its grace period, ends all streams and exits; until
// then it answers everything but data commands, start and stop, which are
// shutting-down. To terminate twice changes nothing. A worker that is part of
// another program, as that of jobcli run -local, refuses it as forbidden.
//
// # Ping: POST /v1/ping
//
// The answer is {"time":1795552408}: the worker's clock in Unix seconds, always an
// integer.
//
// # Calculate: POST /v1/calculate
//
// The body is a CalculateRequest, {"seconds":1.5,"message":"done"}, both fields needed:
// a number from 0 to the worker's -max-calculate, and up to MaxMessage bytes without
// NUL. The answer is a Job, as to a start: a calculate is one, is listed, followed,
// stopped and owned like one, and takes an Idempotency-Key. Its program is built into
// the worker, which POST /v1/jobs can ask for as well:
//
//	{"builtin":true,"argv":["calculate","1.5","done"]}
//
// After its time its output is the message and a newline, the worker prints the
// message, escaped, on its own standard output, and the event job.ended carries it. More
// than -max-calculates at once are busy.
//
// # Events: GET /v1/events
//
// The answer is JSON lines, as for output, of what happens to the jobs that the client
// may see and to the worker, until the client goes away:
//
//	{"type":"ping","next":1795552408000007}
//	{"seq":1795552408000007,"time":"TIME","type":"job.created","job":"ID","owner":"alice","name":"build"}
//	{"seq":1795552408000008,"time":"TIME","type":"job.started","job":"ID","owner":"alice","name":"build"}
//	{"seq":1795552408000009,"time":"TIME","type":"job.signalled","job":"ID",…,"by":"bob","signal":"SIGHUP"}
//	{"seq":1795552408000012,"time":"TIME","type":"job.ended","job":"ID",…,"verdict":{"reason":"exited","code":0},"message":"done"}
//	{"seq":1795552408000013,"time":"TIME","type":"worker.unready","by":"carol"}
//	{"type":"end","next":1795552408000014,"reason":"shutdown"}
//
//	since=N  after event number N, without a gap; without it from now on
//
// An event is an Event; its types are the Job and Worker constants:
//
//	job.created        the job has an id; only for one whose program could be executed
//	job.started        and it has been
//	job.signalled      by whom, and which signal; a stop too, with its stop signal
//	job.oom            processes were killed at the job's memory limit; before job.ended
//	job.ended          the verdict, and the message of a calculate that came to its end
//	job.removed        by whom; "(retention)" is the worker, see below
//	worker.ready       by whom, if somebody
//	worker.unready     by whom, if somebody
//	worker.terminating by whom, if somebody
//
// The events of one job come in this order, and each is told when it is so for all to
// see: who has read job.ended finds the job ended, and may remove it. A job that a
// worker finds ended when it is started, because the one before died, has its job.ended
// then.
//
// Numbers rise by one from event to event, hidden ones included, and begin with the
// time at which the worker was started, in microseconds since 1970: they stay below 2^53
// and rise over restarts, as long as the clock is not set back that far. A ping comes
// first, and at least every DefaultHeartbeat; its next is the number of the next event,
// so that a client which sees little can keep up: it goes on with since=NEXT-1. A number
// that is older than the newest 4096 events, or that this worker has not given, is
// events-gone: some events are lost to the client, who looks at GET /v1/worker and
// /v1/jobs and goes on from there. As for output, an answer without an end line was cut
// off. A client that is too slow is cut, when it does not accept within WriteTimeout or
// when what it needs next is no longer kept.
//
// # What is kept
//
// A job that is over is kept until it is deleted, or until the worker removes it: after
// -keep-age, or beyond -keep-jobs and -keep-bytes, where the user whose jobs take most
// loses the one that ended first, and none in the first minute after its end. Its output
// is sent to the end to whoever reads it then. A worker whose disk has less than
// -reserve-bytes left, or whose jobs take -max-state-bytes, refuses to start another as
// no-space; what its running jobs write is lost, with a gap frame, where it would take
// from the reserve.
//
// # Rights
//
//	role      may
//	admin     everything; worker.start, worker.stop and worker.terminate nobody else
//	operator  worker.ping; job.start, which is what a calculate takes too; with their own
//	          jobs everything
//	viewer    read everything about all jobs
//	all       worker.read; events.read, of the jobs that they see
//
// # Grants
//
// A job that asks for more of the host than the sandbox has needs a grant of the
// policy; see package authz. What is not granted is forbidden, with field and value.
//
//	"profile":"host"           the host's file systems and network, as user
//	"net":"host"               the host's network
//	"user":"www-data"          another user than the job's own; a name or a number, never root
//	"rootfs":"/srv/roots/a"    its content in place of the host's
//	"binds":[{"source":"/srv/data","target":"/data","write":true}]
//	"userns":true              a user namespace
//
// # Quotas
//
// The policy bounds what each user has: jobs that have not ended, the sums of their
// limits, jobs that are kept and their output, starts in a minute; see package authz. A start or calculate
// beyond is quota-exceeded, whose member quota has the bound, its limit, what is used of
// it and what was asked for, and starts nothing. Retry-After says when to ask again: the
// second after, where jobs have to end, a minute where they have to be removed; it is
// absent where more is asked for than the whole quota. Starts at the same moment are
// counted one after the other. To find a job again by its Idempotency-Key is no start.
//
// Where CPUs are bounded, a job without a limit on them gets one: 1, or the bound if that
// is less. A bound on what the worker cannot limit is limit-unavailable, for every start.
//
// # Whoami, livez, readyz
//
// WhoAmI is what the worker makes of the client's certificate: its rights, its grants, its quota and
// how much of that it has. /livez answers
// {"status":"ok"} to anyone with a certificate, and /readyz if the worker is ready; else
// that is the problem of a data command. When the streams have been ended every request
// is shutting-down, these too.
//
// # Errors
//
// Every answer from 400 on is a Problem, of media type application/problem+json
// (RFC 9457). Its type is one of the Type constants, which name the status and the
// cause, and is what programs compare. Only what net/http refuses before there is
// a request, such as a malformed header, is plain text.
//
// A job that does not exist, one that the client may not see, and an id that is
// none get the same answer, byte for byte but for the request's id.
//
// # Limits and deadlines
//
//	TLS handshake, request header   HeaderTimeout each; the header 64 KiB
//	request body                    MaxBody, within BodyTimeout; input has neither bound
//	one piece of an answer          WriteTimeout to be accepted: some 256 KiB of
//	                                output, 8 events, or a whole answer of any
//	                                other kind
//	requests at once                250 on an HTTP/2 connection, each with up to 512 KiB
//	                                of a body that is not read yet, 32 MiB in all
//	connections, requests, inputs   of an address, a user, and all: see ClientLimits
//	idle connection                 2 minutes; on HTTP/2 pinged after 15 s, and cut
//	                                when the ping is not answered in 15 s
//
// What a client has too much of is answered too-many, or closed before it is known whose it
// is. The worker's log tells of connections that it closes, and of handshakes that fail, each
// in 20 lines in 10 seconds at most.
//
// A reader that is too slow loses its own stream and delays nobody: every stream
// reads the job's log, or the worker's events, by itself, at its own pace.
//
// The certificate, its CA, that CA's revocation list and the policy are looked at for each
// request, and again when one of them is replaced or runs out: by SIGHUP, or by the clock.
// What is no longer allowed ends then, silent or not, and is logged as a decision: a stream
// is cut without an end line, also one that its client does not read; who waits for a job,
// for a stop or writes input is answered certificate-rejected or forbidden. The jobs go on.
//
// # Shutdown
//
// Server.Shutdown refuses new requests with shutting-down, ends every stream of
// lines with the reason shutdown, answers who waits for a job with the job as it
// is, and who waits for a stop with shutting-down (the job is still being
// stopped), as well as who writes input (it stays open). A raw stream is cut. The
// output of a job that is over is sent to its end instead. The worker of
// cmd/jobworker ends its jobs before that: clients see how.
//
// # Who owns what
//
// One goroutine of net/http serves a request and nothing else works for it, but for
// input, where another waits for the end of the job; a client that goes away frees
// it at once, also when the job is silent. The client
// side starts no goroutine of its own. The server runs on Linux, as the jobs do;
// the client anywhere.
package httpapi
