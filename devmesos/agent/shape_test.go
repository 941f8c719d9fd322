package agent

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
)

// varying are the keys whose values differ from run to run, or tell of a build that there is not.
var varying = regexp.MustCompile(`(^|_)(time|timestamp|secs|pid|offset|size|mtime|nanoseconds|bytes|sha|branch|date|user|uuid|data|executor_pid|log_dir)$`)

// optional are parts of a real agent that this one does not show.
var optional = []string{"log_dir", "master_hostname", "git_sha", "git_branch", "/slave/log"}

// shape compares two JSON values: keys, kinds, order in lists, and all values that are the same in every run.
func (p *player) shape(path string, got, want []byte) {
	p.Helper()
	var g, w any
	if err := json.Unmarshal([]byte(p.restore.Replace(string(got))), &g); err != nil {
		p.Errorf("%s: %v: %.200s", path, err, got)
		return
	}
	if err := json.Unmarshal(want, &w); err != nil {
		p.Fatal(err)
	}
	if strings.HasPrefix(path, "/metrics") { // the trace has the names only
		for name := range g.(map[string]any) {
			if !slices.Contains(w.([]any), any(name)) {
				p.Errorf("%s: %s is no metric of a real agent", path, name)
			}
		}
		return
	}
	if path == "/state" && !strings.Contains(string(want), `"flags"`) { // only a part was kept
		for key := range g.(map[string]any) {
			if _, kept := w.(map[string]any)[key]; !kept {
				delete(g.(map[string]any), key)
			}
		}
	}
	p.sameShape(path, g, w)
}

func (p *player) sameShape(at string, got, want any) {
	p.Helper()
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			p.Errorf("%s is %v, want an object", at, got)
			return
		}
		for key, value := range w {
			switch own, there := g[key]; {
			case there:
				if !varying.MatchString(key) && key != "/slave/log" {
					p.sameShape(at+"."+key, own, value)
				}
			case !strings.HasSuffix(at, "flags") && !slices.Contains(optional, key):
				p.Errorf("%s.%s is missing", at, key)
			}
		}
		for key := range g {
			if _, there := w[key]; !there {
				p.Errorf("%s.%s is nothing that a real agent shows", at, key)
			}
		}
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) && !strings.Contains(at, "get_flags") {
			p.Errorf("%s is %v, want %v", at, got, want)
			return
		}
		if strings.Contains(at, "get_flags") {
			return
		}
		for i := range w {
			p.sameShape(at+"[]", g[i], w[i])
		}
	default:
		if got != want && !strings.HasSuffix(at, "flags") && !strings.Contains(at, ".flags.") {
			p.Errorf("%s is %v, want %v", at, got, want)
		}
	}
}
