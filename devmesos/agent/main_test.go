package agent

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain lets the test's binary play the launcher and the executor, too.
func TestMain(m *testing.M) {
	LauncherMain()
	if len(os.Args) > 1 && os.Args[0] == executorName {
		os.Exit(testExecutor(os.Args[1:]))
	}
	if len(os.Args) > 1 && os.Args[0] == "executor" {
		os.Exit(playedExecutor())
	}
	goleak.VerifyTestMain(m)
}
