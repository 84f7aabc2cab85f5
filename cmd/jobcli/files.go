package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"jobworker/httpapi"
)

// files are the -id-file and -status-file of run. They are opened before the job is
// started, so that a wrong path costs nothing; nil are those not asked for.
type files struct {
	id, status *os.File
	named      bool // the id is in its file
}

func openFiles(idPath, statusPath string) (*files, error) {
	f := new(files)
	var err error
	if idPath != "" {
		// One that is there may be that of another job, which would be lost.
		if f.id, err = os.OpenFile(idPath, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644); err != nil {
			return nil, fmt.Errorf("-id-file: %w", err)
		}
	}
	if statusPath != "" {
		if f.status, err = os.OpenFile(statusPath, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644); err != nil {
			return nil, errors.Join(fmt.Errorf("-status-file: %w", err), f.close())
		}
	}
	return f, nil
}

func (f *files) writeID(id string) error {
	if f.id == nil {
		return nil
	}
	f.named = true
	if _, err := f.id.WriteString(id + "\n"); err != nil {
		return fmt.Errorf("-id-file: %w", err)
	}
	return nil
}

func (f *files) writeStatus(j httpapi.Job) error {
	if f.status == nil {
		return nil
	}
	b, err := json.Marshal(j)
	if err != nil {
		return err
	}
	if _, err := f.status.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("-status-file: %w", err)
	}
	return nil
}

// close closes the files and removes an id file without an id.
func (f *files) close() error {
	var errs []error
	for _, file := range []*os.File{f.id, f.status} {
		if file != nil {
			errs = append(errs, file.Close())
		}
	}
	if f.id != nil && !f.named {
		errs = append(errs, os.Remove(f.id.Name()))
	}
	return errors.Join(errs...)
}
