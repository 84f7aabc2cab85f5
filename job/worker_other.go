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

// The methods of a Worker that nobody can have.

func (*Worker) Start(context.Context, StartOptions) (Job, bool, error) { panic("job: no worker") }
func (*Worker) Status(string) (Job, error)                             { panic("job: no worker") }
func (*Worker) Wait(context.Context, string) (Job, error)              { panic("job: no worker") }
func (*Worker) List(Filter) ([]Job, string, error)                     { panic("job: no worker") }
func (*Worker) Stop(context.Context, string, StopOptions) (Job, error) { panic("job: no worker") }
func (*Worker) Signal(string, string) error                            { panic("job: no worker") }
func (*Worker) Output(string, stream.Query) (*stream.Reader, error)    { panic("job: no worker") }
func (*Worker) Remove(context.Context, string) error                   { panic("job: no worker") }
func (*Worker) Missing() []cgroupv2.Missing                            { panic("job: no worker") }
func (*Worker) Shutdown(context.Context) error                         { panic("job: no worker") }
