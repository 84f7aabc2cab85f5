package job_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"testing"
	"time"

	"jobworker/internal/kerneltest"
	"jobworker/job"
	"jobworker/nsinit"
	"jobworker/stream"
)

// A program that runs one job and prints what it writes while it does. It needs
// no server, but root.
func Example() {
	// The first process of a job is this program again.
	nsinit.MaybeRun()

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "jobs-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	w, err := job.Open(job.Config{
		StateDir:                dir,
		CgroupRoot:              fmt.Sprintf("jobworker-%d", os.Getpid()),
		AllowMissingControllers: true, // this job sets no limits
	})
	if err != nil {
		log.Fatal(err)
	}
	j, _, err := w.Start(ctx, job.StartOptions{
		Owner: "alice",
		Spec:  job.Spec{Argv: []string{"sh", "-c", `echo "hello from $PWD"; exit 3`}, Timeout: job.Duration(10 * time.Second)},
	})
	if err != nil {
		log.Fatal(err)
	}

	out, err := w.Output(j.ID, stream.Query{Follow: true})
	if err != nil {
		log.Fatal(err)
	}
	for {
		lines, err := out.Next(ctx) // as in the job's log: JSON
		if err == io.EOF {
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		payload, err := stream.AppendPayload(nil, lines)
		if err != nil {
			log.Fatal(err)
		}
		os.Stdout.Write(payload)
	}
	out.Close()

	if j, err = w.Wait(ctx, j.ID); err != nil {
		log.Fatal(err)
	}
	fmt.Println(j.State, j.Verdict.Reason, *j.Verdict.Code)
	if err := w.Shutdown(ctx); err != nil {
		log.Fatal(err)
	}
}

// TestExample checks what Example prints; an Output comment would have it run
// where there is no root as well.
func TestExample(t *testing.T) {
	kerneltest.Root(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	stdout := os.Stdout
	os.Stdout = w
	Example() // prints less than a pipe holds
	os.Stdout = stdout
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if want := "hello from /scratch\nended exited 3\n"; err != nil || string(got) != want {
		t.Errorf("printed %q, %v, want %q", got, err, want)
	}
}
