// Package memory tells when a process is about to need more memory than it may have, so
// that it can refuse new load instead of being killed.
package memory

import (
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
)

// reserve is the part of a container's memory that is left for what Go does not count:
// stacks of threads, the file itself, buffers of the kernel.
const reserve = 10

// Limit is how many bytes the process may use: the limit of Go's runtime (GOMEMLIMIT, or
// what the program has set), or what its control group leaves; 0: none is known.
func Limit() int64 { return limitBelow("/") }

func limitBelow(root string) int64 {
	limit := debug.SetMemoryLimit(-1) // only tells
	if group := groupLimit(root); group > 0 {
		limit = min(limit, group-group/reserve)
	}
	if limit == math.MaxInt64 {
		return 0
	}
	return limit
}

// Obey has Go's runtime collect garbage before the control group's limit is reached, if
// nobody has set a limit.
func Obey() { obey("/") }

func obey(root string) {
	if limit := limitBelow(root); limit > 0 && debug.SetMemoryLimit(-1) == math.MaxInt64 {
		debug.SetMemoryLimit(limit)
	}
}

// groupLimit is the memory limit in bytes of the control group of this process, of either
// version; 0: none. root is "/".
func groupLimit(root string) int64 {
	text, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return 0
	}
	least := int64(0)
	for line := range strings.Lines(string(text)) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, path, _ := strings.Cut(rest, ":")
		base, file := "sys/fs/cgroup", "memory.max"
		if controllers != "" {
			if !strings.Contains(","+controllers+",", ",memory,") {
				continue
			}
			base, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		}
		// In a container the group may be the root of what can be seen; and the limit
		// may be that of a group above.
		for dir := filepath.Join("/", path); ; dir = filepath.Dir(dir) {
			if limit := readLimit(filepath.Join(root, base, dir, file)); limit > 0 && (least == 0 || limit < least) {
				least = limit
			}
			if dir == "/" {
				break
			}
		}
	}
	return least
}

func readLimit(path string) int64 {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	// "max", or in version 1 a number near 2^63, says that there is none.
	limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil || limit <= 0 || limit > 1<<60 {
		return 0
	}
	return limit
}

// Needed is how many bytes the process cannot do without: what garbage collection leaves
// of the heap, stacks, and what the runtime has of its own.
func Needed() int64 {
	samples := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"},
		{Name: "/memory/classes/heap/stacks:bytes"},
		{Name: "/memory/classes/os-stacks:bytes"},
		{Name: "/memory/classes/metadata/mcache/inuse:bytes"},
		{Name: "/memory/classes/metadata/mspan/inuse:bytes"},
		{Name: "/memory/classes/metadata/other:bytes"},
		{Name: "/memory/classes/other:bytes"},
		{Name: "/memory/classes/profiling/buckets:bytes"},
	}
	metrics.Read(samples)
	sum := int64(0)
	for _, s := range samples {
		if s.Value.Kind() == metrics.KindUint64 {
			sum += int64(s.Value.Uint64())
		}
	}
	return sum
}

// A process is full from fullAt percent of its limit on, and not any more below freeAt:
// between the two garbage collection has its room.
const fullAt, freeAt = 85, 75

// Guard remembers whether the process is full. It is for one goroutine.
type Guard struct{ full bool }

// Look says whether a process that needs so many bytes is full, and whether that has
// changed; limit 0: it never is.
func (g *Guard) Look(needed, limit int64) (full, changed bool) {
	before := g.full
	switch percent := float64(needed) / float64(max(limit, 1)) * 100; {
	case limit <= 0 || percent < freeAt:
		g.full = false
	case percent >= fullAt:
		g.full = true
	}
	return g.full, g.full != before
}
