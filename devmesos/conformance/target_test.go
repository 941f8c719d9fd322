package conformance

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCommandFaults(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "faults")
	script := "#!/bin/sh\necho \"$@\" >> " + filepath.Join(dir, "log") + "\ncase $1 in hold-agent) exit 75;; kill-master) echo no such thing; exit 1;; esac\n"
	if err := os.WriteFile(program, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	f, ctx := CommandFaults(program), t.Context()
	for what, err := range map[string]error{
		"kill": f.KillAgent(ctx, "S0"), "start": f.StartAgent(ctx, "S0"), "unregister": f.UnregisterAgent(ctx, "S0"),
		"release": f.HoldAgent(ctx, "S0", false), "master": f.StartMaster(ctx, false), "amnesia": f.StartMaster(ctx, true),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := f.HoldAgent(ctx, "S0", true); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("exit status 75: %v, expected ErrUnsupported", err)
	}
	if err := f.KillMaster(ctx); err == nil || !strings.Contains(err.Error(), "no such thing") {
		t.Errorf("exit status 1: %v, expected its output", err)
	}
	log, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"kill-agent S0", "start-agent S0", "unregister-agent S0", "release-agent S0", "start-master", "start-master-amnesia", "hold-agent S0", "kill-master",
	} {
		if !strings.Contains("\n"+string(log), "\n"+line+"\n") {
			t.Errorf("%q was not called:\n%s", line, log)
		}
	}
}
