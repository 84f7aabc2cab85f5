package httpapi

import "cmp"

// ClientLimits are how much clients may hold at the same time. A user is one by name,
// whatever certificate and address it uses. Zero asks for the default, in brackets.
//
//	beyond                     the client sees
//	Connections                the oldest that has not made a request is closed for the new one;
//	                           where there is none the new one is
//	ConnectionsPerAddress      the oldest of these is closed for the new one
//	ConnectionsPerUser         too-many, and the end of the connection
//	Requests, RequestsPerUser  too-many
//	InputsPerUser              too-many
//	InputsPerConnection        too-many
type ClientLimits struct {
	// Connections are all that are open. [4096]
	Connections int

	// ConnectionsPerAddress are those from one IPv4 address, or one IPv6 network of 64 bits,
	// that have not made their first request: in the TLS handshake most of all. The others
	// count for their user alone, because many users may share an address, and all of a
	// machine's own do. [512: an eighth of all, and half a second's work of one processor]
	ConnectionsPerAddress int

	// ConnectionsPerUser are those on which a user has made a request. [1024]
	ConnectionsPerUser int

	// Requests are those that are being answered, streams among them. [8192]
	Requests int

	// RequestsPerUser are those of one user. [2048]
	RequestsPerUser int

	// InputsPerUser are those that write to the input of jobs. Each may hold 768 KiB that its
	// job has not read. [256]
	InputsPerUser int

	// InputsPerConnection are those over one HTTP/2 connection, which has room for the bodies of
	// twice as many, so that inputs which no job reads do not hold up its other requests. [32]
	InputsPerConnection int
}

// Files is the number of file descriptors that clients can take within the limits: one for each
// connection, and one for each request, for a job's log or input.
func (l ClientLimits) Files() int {
	l = l.withDefaults()
	return l.Connections + l.Requests
}

// DefaultLimits returns the limits of a Config without any.
func DefaultLimits() ClientLimits { return ClientLimits{}.withDefaults() }

func (l ClientLimits) withDefaults() ClientLimits {
	return ClientLimits{
		Connections:           cmp.Or(l.Connections, 4096),
		ConnectionsPerAddress: cmp.Or(l.ConnectionsPerAddress, 512),
		ConnectionsPerUser:    cmp.Or(l.ConnectionsPerUser, 1024),
		Requests:              cmp.Or(l.Requests, 8192),
		RequestsPerUser:       cmp.Or(l.RequestsPerUser, 2048),
		InputsPerUser:         cmp.Or(l.InputsPerUser, 256),
		InputsPerConnection:   cmp.Or(l.InputsPerConnection, 32),
	}
}
