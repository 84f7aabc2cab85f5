package job_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"jobworker/job"
	"jobworker/nsinit"
)

// TestOlderWorkers has a worker take over what the first version of all files says, of a
// job that is over and of one that ended while there was no worker. The files stay as
// they are: whatever the formats come to be, a newer worker reads these.
func TestOlderWorkers(t *testing.T) {
	dir := t.TempDir()
	ids := make(map[string]string)
	for _, name := range []string{"over", "left"} {
		ids[name] = takeIn(t, filepath.Join("testdata", "version1", name), filepath.Join(dir, "state", "jobs"))
	}
	w := openWorker(t, dir)
	for name, id := range ids {
		j := status(t, w, id)
		if verdict(j) != "exited 3" || j.State != job.Ended || j.Name != "nightly" || j.Labels["k"] != "v" || j.StartedAt == nil || j.EndedAt == nil {
			t.Errorf("%s: %+v, verdict %q, want exited 3", name, j, verdict(j))
		}
		if out := output(t, w, id, "stdout"); out != "one\n" {
			t.Errorf("%s wrote %q", name, out)
		}
		checkLog(t, dir, j)
	}
}

// takeIn copies the directory of a job to that of all jobs, and returns the job's id.
func takeIn(t *testing.T, from, jobs string) (id string) {
	t.Helper()
	files := readFiles(t, from, "record.json", "exit.json", "output.jsonl")
	object, err := nsinit.Unseal(files["record.json"])
	if err != nil {
		t.Fatal(err)
	}
	var r struct{ ID string }
	if err := json.Unmarshal(object, &r); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(jobs, r.ID)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return r.ID
}
