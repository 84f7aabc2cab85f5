// Package httpapi is the HTTP API of a worker: its server and its client.
package httpapi
