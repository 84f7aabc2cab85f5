//go:build !linux

package job

import (
	"context"
	"errors"

	"jobworker/cgroupv2"
	"jobworker/stream"
)

// A Worker runs jobs, on Linux. Here there is none.
type Worker struct{}

// Open returns an error.
func Open(Config) (*Worker, error) { return nil, errors.ErrUnsupported }

// Start is there on Linux only.
func (*Worker) Start(context.Context, StartOptions) (Job, bool, error) { panic("job: no worker") }

// Status is there on Linux only.
func (*Worker) Status(string) (Job, error) { panic("job: no worker") }

// Wait is there on Linux only.
func (*Worker) Wait(context.Context, string) (Job, error) { panic("job: no worker") }

// List is there on Linux only.
func (*Worker) List(Filter) ([]Job, string, error) { panic("job: no worker") }

// Stop is there on Linux only.
func (*Worker) Stop(context.Context, string, StopOptions) (Job, error) { panic("job: no worker") }

// Signal is there on Linux only.
func (*Worker) Signal(string, string) error { panic("job: no worker") }

// Output is there on Linux only.
func (*Worker) Output(string, stream.Query) (*stream.Reader, error) { panic("job: no worker") }

// Remove is there on Linux only.
func (*Worker) Remove(context.Context, string) error { panic("job: no worker") }

// Missing is there on Linux only.
func (*Worker) Missing() []cgroupv2.Missing { panic("job: no worker") }

// Shutdown is there on Linux only.
func (*Worker) Shutdown(context.Context) error { panic("job: no worker") }
