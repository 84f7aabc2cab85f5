//go:build !linux

package main

import (
	"errors"

	"jobworker/httpapi"
)

// maybeInit does nothing: there are jobs only on Linux.
func maybeInit() {}

// localWorker is the embedded worker of run -local, which does not exist here.
type localWorker struct{ client *httpapi.Client }

func openLocal(*env) (*localWorker, error) {
	return nil, errors.New("jobs run on Linux only: start jobworker on a Linux machine and name it with -addr")
}

func (w *localWorker) missing() string { return "" }
func (w *localWorker) close() error    { return nil }
