package miner

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
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
	for line := range strings.Lines(string(list)) {
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
			mounts = []string{"sys/fs/cgroup", "sys/fs/cgroup/unified"}
			version = 2
		case hasField(controllers, "cpu"):
			mounts = []string{"sys/fs/cgroup/" + controllers, "sys/fs/cgroup/cpu"}
		default:
			continue
		}
		for _, mount := range mounts {
			// Inside a container the path may be that of the host, and the group's
			// files are at the mount itself; walking up covers this too.
			for p := filepath.Clean("/" + path); ; p = filepath.Dir(p) {
				groups = append(groups, cpuGroup{filepath.Join(root, mount, p), version})
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
