package sandbox

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// process is what /proc says about one.
type process struct {
	pid, parent, group, session int
	zombie                      bool
}

// killAll kills every living process of the container that leader leads (leader itself if it is no
// zombie) and says how many it found: those in its session or process group, all their
// descendants, and those that slipped out of both but still carry the sandbox in their environment.
func killAll(leader int, sandbox string) (killed int) {
	return kill(leader, sandbox, os.Getpid())
}

// killBelow does the same, but spares the leader.
func killBelow(leader int, sandbox string) (killed int) {
	return kill(leader, sandbox, leader)
}

func kill(leader int, sandbox string, spared int) (killed int) {
	for _, p := range membersOf(leader, sandbox, list()) {
		if p.zombie || p.pid == spared {
			continue
		}
		if syscall.Kill(p.pid, syscall.SIGKILL) == nil {
			killed++
		}
	}
	return killed
}

func membersOf(leader int, sandbox string, all []process) []process {
	members := make(map[int]process)
	for _, p := range all {
		if p.pid == leader || p.group == leader || p.session == leader || carries(p.pid, sandbox) {
			members[p.pid] = p
		}
	}
	for grown := true; grown; {
		grown = false
		for _, p := range all {
			if _, in := members[p.pid]; in {
				continue
			}
			if _, in := members[p.parent]; in {
				members[p.pid], grown = p, true
			}
		}
	}
	found := make([]process, 0, len(members))
	for _, p := range members {
		found = append(found, p)
	}
	return found
}

// childOf is a living child of a process, or 0.
func childOf(parent int) int {
	for _, p := range list() {
		if p.parent == parent && !p.zombie {
			return p.pid
		}
	}
	return 0
}

// list reads all processes. Where there is no /proc it is empty.
func list() []process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var all []process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue // it has just ended
		}
		if p, ok := parseStat(pid, string(stat)); ok {
			all = append(all, p)
		}
	}
	return all
}

// parseStat reads the fields behind the command, which is in parentheses and may hold any byte.
func parseStat(pid int, stat string) (process, bool) {
	end := strings.LastIndexByte(stat, ')')
	if end < 0 {
		return process{}, false
	}
	fields := strings.Fields(stat[end+1:])
	if len(fields) < 4 {
		return process{}, false
	}
	p := process{pid: pid, zombie: fields[0] == "Z" || fields[0] == "X"}
	for i, to := range []*int{&p.parent, &p.group, &p.session} {
		n, err := strconv.Atoi(fields[i+1])
		if err != nil {
			return process{}, false
		}
		*to = n
	}
	return p, true
}

func carries(pid int, sandbox string) bool {
	if sandbox == "" {
		return false
	}
	environ, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
	if err != nil {
		return false
	}
	want := []byte("MESOS_SANDBOX=" + sandbox)
	for v := range bytes.SplitSeq(environ, []byte{0}) {
		if bytes.Equal(v, want) {
			return true
		}
	}
	return false
}
