package sandbox

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Usage is what the living processes of a container have used.
type Usage struct {
	User, System time.Duration
	RSS          uint64 // bytes
}

// clockTick is the unit of times in /proc/PID/stat: a hundredth of a second on every Linux.
const clockTick = 10 * time.Millisecond

// Usage measures the container.
func (c *Container) Usage() (u Usage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || c.cmd == nil {
		return u
	}
	for _, p := range membersOf(c.cmd.Process.Pid, c.dir, list()) {
		stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(p.pid), "stat"))
		if err != nil {
			continue
		}
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(fields) < 22 {
			continue
		}
		u.User += ticks(fields[11])
		u.System += ticks(fields[12])
		if pages, err := strconv.ParseUint(fields[21], 10, 64); err == nil {
			u.RSS += pages * uint64(os.Getpagesize()) //nolint:gosec // positive
		}
	}
	return u
}

func ticks(text string) time.Duration {
	n, _ := strconv.ParseInt(text, 10, 64)
	return time.Duration(n) * clockTick
}
