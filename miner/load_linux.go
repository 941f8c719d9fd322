package miner

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// readCounters reads /proc/stat, this process' own use and, where root lets it be read,
// the energy of the packages (RAPL; Documentation/power/powercap). root is "/" except
// in tests.
func readCounters(root string) (c counters) {
	text, _ := os.ReadFile(filepath.Join(root, "proc/stat"))
	line, _, _ := strings.Cut(string(text), "\n")
	var name string
	var user, nice, system, idle, wait, irq, soft, steal uint64
	if n, _ := fmt.Sscan(line, &name, &user, &nice, &system, &idle, &wait, &irq, &soft, &steal); n == 9 && name == "cpu" {
		const userHz = 100 // on every architecture that Go runs on
		c.busy = time.Duration(user+system+irq+soft+steal) * time.Second / userHz
	}
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) == nil {
		c.ours = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	number := func(folder, name string) (uint64, bool) {
		text, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			return 0, false
		}
		n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
		return n, err == nil
	}
	// intel-rapl:0 is a package, intel-rapl:0:0 a part of it; AMD's have the same names.
	folders, _ := filepath.Glob(filepath.Join(root, "sys/class/powercap/intel-rapl:*"))
	for _, folder := range folders {
		if strings.Count(filepath.Base(folder), ":") != 1 {
			continue
		}
		name, _ := os.ReadFile(filepath.Join(folder, "name"))
		if !strings.HasPrefix(string(name), "package") { // psys would count twice
			continue
		}
		used, ok := number(folder, "energy_uj")
		wrap, also := number(folder, "max_energy_range_uj")
		if ok && also {
			if c.energy == nil {
				c.energy = make(map[string]zone)
			}
			c.energy[filepath.Base(folder)] = zone{used, wrap}
		}
	}
	return c
}
