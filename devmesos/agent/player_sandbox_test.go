package agent

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// environment compares what an executor found about itself.
func (p *player) environment(e entry) bool {
	p.files.release()
	x := p.executors[e.Executor]
	if x == nil { // of the agent's token
		return true
	}
	x.dir = ""
	p.locate(x, e.Executor)
	var got selfReport
	path := x.dir + ".report"
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		b, err := os.ReadFile(path)
		if err == nil {
			if err := json.Unmarshal(b, &got); err != nil {
				p.Fatal(err)
			}
			break
		}
		if time.Now().After(end) {
			stderr, _ := os.ReadFile(filepath.Join(x.dir, "stderr"))
			p.Errorf("executor %s does not start: %s", e.Executor, stderr)
			return false
		}
	}
	var want struct {
		Environ map[string]string
		Cwd     string
		Umask   string
		FDs     map[string]string
		UID     int
		GID     int
	}
	if err := json.Unmarshal(e.Body, &want); err != nil {
		p.Fatal(err)
	}
	if want.Environ == nil {
		return true
	}
	p.compareEnvironment(got, want.Environ)
	if cwd := p.restore.Replace(got.Dir); cwd != want.Cwd {
		p.Errorf("working directory is %s, want %s", cwd, want.Cwd)
	}
	if umask := fmt.Sprintf("0o%o", got.Umask); umask != want.Umask {
		p.Errorf("umask is %s, want %s", umask, want.Umask)
	}
	for fd, target := range got.FDs {
		if n, _ := strconv.Atoi(fd); n <= 2 {
			if target = p.restore.Replace(target); target != want.FDs[fd] {
				p.Errorf("file descriptor %s is %s, want %s", fd, target, want.FDs[fd])
			}
		} else if !strings.HasPrefix(target, "anon_inode:") && !strings.HasPrefix(target, "/proc/") && !strings.HasPrefix(target, "/sys/") { // Go's own
			p.Errorf("file descriptor %s is %s, which was inherited", fd, target)
		}
	}
	if got.PGID != got.PPID || got.SID != got.PPID {
		p.Errorf("pid %d parent %d group %d session %d: the parent should lead both", got.PID, got.PPID, got.PGID, got.SID)
	}
	if !strings.HasPrefix(got.Ancestor, "mesos-containerizer launch") {
		p.Errorf("parent is %q", got.Ancestor)
	}
	return true
}

func (p *player) compareEnvironment(got selfReport, want map[string]string) {
	delete(want, "LC_CTYPE") // set by the recorder's executor itself
	for _, v := range got.Env {
		name, value, _ := strings.Cut(v, "=")
		value = p.restore.Replace(value)
		if name == "MESOS_EXECUTOR_AUTHENTICATION_TOKEN" {
			value = "JWT(" + value[:strings.LastIndexByte(value, '.')] + ".SIGNATURE_REDACTED)"
		}
		if w, there := want[name]; !there || w != value {
			p.Errorf("environment has %s=%s, want %q", name, value, w)
		}
		delete(want, name)
	}
	for name, value := range want {
		p.Errorf("environment lacks %s=%s", name, value)
	}
}

// The parts of a log line that differ from run to run.
var logPrefix = regexp.MustCompile(`(?m)^([IWEF])\d{8} \d\d:\d\d:\d\d\.\d{6} +\d+ `)

func (p *player) file(e entry) bool {
	path := p.replace.Replace(e.Path)
	var text string
	var list []string
	switch {
	case json.Unmarshal(e.Body, &text) == nil && (strings.HasSuffix(path, "stderr") || strings.HasSuffix(path, "stdout")):
		got, err := os.ReadFile(path)
		if err != nil {
			p.Error(err)
		}
		if p.lastNote == "fetch 500" { // the launcher was killed before it could say so
			text += "Failed to synchronize with agent (it's probably exited)\n"
		}
		p.same(e.Note, logPrefix.ReplaceAll(got, []byte("$1 ")), logPrefix.ReplaceAll([]byte(text), []byte("$1 ")))
	case json.Unmarshal(e.Body, &list) == nil && strings.Contains(e.Note, "sandbox"):
		p.listing(path, list)
	case json.Unmarshal(e.Body, &list) == nil && strings.HasSuffix(path, "/runs"):
		latest := list[len(list)-1]
		target, err := os.Readlink(filepath.Join(path, "latest"))
		if err != nil || p.restore.Replace(target) != latest[strings.Index(latest, "-> ")+3:] {
			p.Errorf("latest → %s, %v, want %s", target, err, latest)
		}
	case json.Unmarshal(e.Body, &list) == nil && e.Note == "fetcher cache directory":
		for _, line := range list {
			if _, err := os.Stat(filepath.Join(path, line[strings.LastIndexByte(line, ' ')+1:])); err != nil {
				p.Error(err)
			}
		}
	}
	return true
}

// listing compares names and modes in a directory.
func (p *player) listing(dir string, want []string) {
	for _, line := range want {
		mode, name := line[:10], line[strings.LastIndexByte(line, ' ')+1:]
		stat, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			p.Error(err)
			continue
		}
		got := stat.Mode().Perm().String()
		if stat.IsDir() {
			got = fs.FileMode(stat.Mode().Perm() | fs.ModeDir).String()
		}
		if got != mode {
			p.Errorf("%s has mode %s, want %s", name, got, mode)
		}
	}
}
