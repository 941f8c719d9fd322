package agent

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// logName is the agent's own log below the work directory; it is read as /slave/log.
const logName = "log/mesos-slave.INFO"

// openLog begins the agent's log file, and gives a logger that writes there and where the given one does.
func openLog(workDir string, also *slog.Logger) (*slog.Logger, *os.File, error) {
	path := filepath.Join(workDir, logName)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, nil, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, nil, err
	}
	host, _ := os.Hostname()
	fmt.Fprintf(f, "Log file created at: %s\nRunning on machine: %s\nRunning duration (h:mm:ss): 0:00:00\n",
		time.Now().Format("2006/01/02 15:04:05"), host)
	file := slog.NewTextHandler(f, nil)
	return slog.New(slog.NewMultiHandler(file, also.Handler())), f, nil
}
