package conformance

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"lode/devmesos/conformance/internal/control"
)

func spawnCommand() control.Command { return control.Command{Op: control.OpSpawn} }

func contextWithTimeout(c *C, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(c.ctx, d)
}

// zombie tells whether a process of this machine has ended and only waits for its parent.
func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, ok := strings.Cut(string(stat), ") ")
	return ok && strings.HasPrefix(rest, "Z")
}

func readCommand(name string) control.Command {
	return control.Command{Op: control.OpRead, Path: name}
}

func writeCommand(s string) control.Command {
	return control.Command{Op: control.OpWrite, Text: s}
}

// listDoc wraps an answer whose body is a JSON list.
func listDoc(a answer) Doc {
	d := answer{Body: `{"list":` + a.Body + `}`}.doc()
	if _, ok := d["list"].([]any); !ok {
		return Doc{"list": []any{}}
	}
	return d
}
