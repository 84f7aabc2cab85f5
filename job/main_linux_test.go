package job_test

import (
	"os"
	"testing"

	"jobworker/nsinit"
)

func TestMain(m *testing.M) {
	nsinit.MaybeRun()
	os.Exit(m.Run())
}
