package miner

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// cgroupQuota returns the least cpu quota, in cpus, of the control groups that this
// process is in, or 0 if there is none. root is "/" except in tests.
//
// The formats are in the kernel's Documentation/admin-guide/cgroup-v2.rst (cpu.max)
// and Documentation/scheduler/sched-bwc.rst (cpu.cfs_quota_us).
func cgroupQuota(root string) float64 {
	list, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return 0
	}
	least := 0.0
	for line := range strings.Lines(string(list)) {
		// hierarchy:controllers:path
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		controllers, path := fields[1], fields[2]
		var mounts []string
		read := quotaV1
		switch {
		case controllers == "":
			mounts = []string{"sys/fs/cgroup", "sys/fs/cgroup/unified"}
			read = quotaV2
		case hasField(controllers, "cpu"):
			mounts = []string{"sys/fs/cgroup/" + controllers, "sys/fs/cgroup/cpu"}
		default:
			continue
		}
		for _, mount := range mounts {
			// Inside a container the path may be that of the host, and the group's
			// files are at the mount itself; walking up covers this too.
			for p := filepath.Clean("/" + path); ; p = filepath.Dir(p) {
				if q := read(filepath.Join(root, mount, p)); q > 0 && (least == 0 || q < least) {
					least = q
				}
				if p == "/" {
					break
				}
			}
		}
	}
	return least
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
