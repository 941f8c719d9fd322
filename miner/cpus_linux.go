package miner

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// cpuGroup is a folder with the files of a cpu controller.
type cpuGroup struct {
	folder  string
	version int // of control groups, 1 or 2
}

func (g cpuGroup) quota() float64 {
	if g.version == 1 {
		return quotaV1(g.folder)
	}
	return quotaV2(g.folder)
}

// cgroupQuota returns the least cpu quota, in cpus, of the control groups that this
// process is in, or 0 if there is none. root is "/" except in tests.
//
// The formats are in the kernel's Documentation/admin-guide/cgroup-v2.rst (cpu.max)
// and Documentation/scheduler/sched-bwc.rst (cpu.cfs_quota_us).
func cgroupQuota(root string) float64 {
	least := 0.0
	for _, group := range cpuGroups(root) {
		if q := group.quota(); q > 0 && (least == 0 || q < least) {
			least = q
		}
	}
	return least
}

// cpuGroups lists where the control groups of this process may be, with those around
// them, the innermost first; not all of the folders exist.
func cpuGroups(root string) (groups []cpuGroup) {
	list, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return nil
	}
	for _, g := range parseGroups(string(list)) {
		groups = append(groups, cpuGroup{filepath.Join(root, "sys/fs/cgroup", g.folder), g.version})
	}
	return groups
}

// parseGroups reads /proc/self/cgroup; folders are below the mount of control groups.
func parseGroups(list string) (groups []cpuGroup) {
	for line := range strings.Lines(list) {
		// hierarchy:controllers:path
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		controllers, path := fields[1], fields[2]
		var mounts []string
		version := 1
		switch {
		case controllers == "":
			mounts = []string{"", "unified"}
			version = 2
		case hasField(controllers, "cpu"):
			mounts = []string{filepath.Clean("/" + controllers), "cpu"}
		default:
			continue
		}
		for _, mount := range mounts {
			// Inside a container the path may be that of the host, and the group's
			// files are at the mount itself; walking up covers this too.
			for p := filepath.Clean("/" + path); ; p = filepath.Dir(p) {
				groups = append(groups, cpuGroup{filepath.Join(mount, p), version})
				if p == "/" {
					break
				}
			}
		}
	}
	return groups
}

func hasField(list, field string) bool {
	for f := range strings.SplitSeq(list, ",") {
		if f == field {
			return true
		}
	}
	return false
}

func quotaV2(folder string) float64 {
	text, err := os.ReadFile(filepath.Join(folder, "cpu.max"))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text)) // "max 100000" or "150000 100000"
	if len(fields) != 2 {
		return 0
	}
	return quotient(fields[0], fields[1])
}

func quotaV1(folder string) float64 {
	quota, err := os.ReadFile(filepath.Join(folder, "cpu.cfs_quota_us"))
	if err != nil {
		return 0
	}
	period, err := os.ReadFile(filepath.Join(folder, "cpu.cfs_period_us"))
	if err != nil {
		return 0
	}
	return quotient(strings.TrimSpace(string(quota)), strings.TrimSpace(string(period)))
}

// quotient is 0 for what is no quota: "max", -1.
func quotient(quota, period string) float64 {
	q, err := strconv.ParseFloat(quota, 64)
	if err != nil {
		return 0
	}
	p, err := strconv.ParseFloat(period, 64)
	if err != nil || p <= 0 || q <= 0 {
		return 0
	}
	return q / p
}

// cgroupThrottling reads how often a control group that this process is in, and that
// has a quota, was due to be stopped and was. ok: there is such a group.
func cgroupThrottling(root string) (periods, throttled uint64, ok bool) {
	for _, group := range cpuGroups(root) {
		if group.quota() == 0 {
			continue
		}
		text, err := os.ReadFile(filepath.Join(group.folder, "cpu.stat"))
		if err != nil {
			continue
		}
		p, t := field(text, "nr_periods"), field(text, "nr_throttled")
		if !ok || t > throttled {
			periods, throttled, ok = p, t, true
		}
	}
	return periods, throttled, ok
}

// cpuPressure reads for how long some task of the machine, and some task of the innermost
// control group that tells, waited for a cpu since they began. ok: both are known. That is so
// with version 2 only; see the kernel's Documentation/accounting/psi.rst.
func cpuPressure(root string) (machine, own time.Duration, ok bool) {
	read := func(path string) (time.Duration, bool) {
		text, err := os.ReadFile(path) // which fails where the kernel was started with psi=0
		if err != nil {
			return 0, false
		}
		return parsePressure(string(text))
	}
	if machine, ok = read(filepath.Join(root, "proc/pressure/cpu")); !ok {
		return 0, 0, false
	}
	for _, group := range cpuGroups(root) {
		if own, ok = read(filepath.Join(group.folder, "cpu.pressure")); ok && group.version == 2 {
			return machine, own, true
		}
	}
	return 0, 0, false
}

// parsePressure returns the total of the line "some avg10=… avg60=… avg300=… total=…", which
// is in microseconds.
func parsePressure(text string) (total time.Duration, ok bool) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "some" {
			continue
		}
		for _, f := range fields[1:] {
			if number, found := strings.CutPrefix(f, "total="); found {
				us, err := strconv.ParseInt(number, 10, 64)
				if err != nil || us < 0 || us > math.MaxInt64/int64(time.Microsecond) {
					return 0, false
				}
				return time.Duration(us) * time.Microsecond, true
			}
		}
	}
	return 0, false
}

// field is the number after a name at the start of a line.
func field(text []byte, name string) uint64 {
	for line := range strings.Lines(string(text)) {
		if rest, found := strings.CutPrefix(line, name+" "); found {
			n, _ := strconv.ParseUint(strings.TrimSpace(rest), 10, 64)
			return n
		}
	}
	return 0
}

// describeGroup reads the control groups' part of a Host.
func describeGroup(root string) (h Host) {
	h.Quota = cgroupQuota(root)
	for _, group := range cpuGroups(root) {
		file := "cpu.weight"
		if group.version == 1 {
			file = "cpu.shares"
		}
		// The root group has no weight, and what is not mounted has no files.
		weight, err := os.ReadFile(filepath.Join(group.folder, file))
		if err != nil {
			continue
		}
		h.Cgroup = group.version
		h.Weight, _ = strconv.ParseUint(strings.TrimSpace(string(weight)), 10, 64)
		idle, err := os.ReadFile(filepath.Join(group.folder, "cpu.idle"))
		h.IdleGroup = err == nil && strings.TrimSpace(string(idle)) == "1"
		return h
	}
	return h
}
