package load

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// Memory is what a process that was watched had resident, in bytes.
type Memory struct {
	Start    int64         `json:"start"`
	Greatest int64         `json:"greatest"`
	End      int64         `json:"end"`
	Curve    []MemoryPoint `json:"-"` // it is in the series, too
}

// MemoryPoint is one point of the curve.
type MemoryPoint struct {
	At       time.Duration // since the measuring began
	Resident int64
}

// resident is the memory of a process, in bytes.
func resident(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("memory of process %d: %w (it is known on Linux only)", pid, err)
	}
	return parseResident(string(status))
}

func parseResident(status string) (int64, error) {
	for line := range strings.Lines(status) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			fields := strings.Fields(rest)
			if len(fields) == 2 && fields[1] == "kB" {
				if n, err := strconv.ParseInt(fields[0], 10, 64); err == nil {
					return n << 10, nil
				}
			}
		}
	}
	return 0, errors.New("it has ended")
}

// cpuTime is what a process has used; 0: it is unknown.
func cpuTime(pid int) time.Duration {
	if pid == 0 {
		return 0
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	return parseCPU(string(stat))
}

// parseCPU reads the times of a process in its own mode and in the kernel's, in hundredths
// of a second. The name, which may hold anything, ends with the last parenthesis.
func parseCPU(stat string) time.Duration {
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	system, systemErr := strconv.ParseInt(fields[12], 10, 64)
	if err != nil || systemErr != nil {
		return 0
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}

// watch notes the memory of the process that is watched; 0: none is, or it is unknown.
func (r *run) watch(since time.Duration) int64 {
	if r.opts.Watch == 0 {
		return 0
	}
	n, err := resident(r.opts.Watch)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		if !r.watchFailed {
			r.watchFailed = true
			r.notes = append(r.notes, fmt.Sprintf("process %d is not watched any more after %v: %v", r.opts.Watch, round(since), err))
		}
		return 0
	}
	if r.memory == nil {
		r.memory = &Memory{Start: n}
	}
	m := r.memory
	m.Greatest, m.End = max(m.Greatest, n), n
	if len(m.Curve) < maxSeries {
		m.Curve = append(m.Curve, MemoryPoint{since, n})
	}
	return n
}

// curveLines is how many lines a curve has in a table.
const curveLines = 20

// writeCurve draws the curve: the greatest of the points that a line stands for.
func (m *Memory) writeCurve(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\nmemory of the process\tMB\t")
	lines := min(curveLines, len(m.Curve))
	for i := range lines {
		part := m.Curve[i*len(m.Curve)/lines : (i+1)*len(m.Curve)/lines]
		greatest := int64(0)
		for _, p := range part {
			greatest = max(greatest, p.Resident)
		}
		bar := strings.Repeat("#", int(40*greatest/max(m.Greatest, 1)))
		fmt.Fprintf(t, "%v\t%.1f\t%s\n", round(part[len(part)-1].At), float64(greatest)/1e6, bar)
	}
	return t.Flush()
}
