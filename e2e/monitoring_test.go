package e2e

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"lode/scheduler/api"
)

// Alerts and dashboard ask for metrics that the processes really have, and the
// metrics are what Prometheus takes for good ones.
func TestMonitoring(t *testing.T) {
	w := newWorld(t, options{})
	w.mining(2)
	s := w.until("the proxy tells its address", func(s api.Status) bool {
		p := tasks(s, "proxy")
		return len(p) == 1 && p[0].Proxy != nil && p[0].Proxy.HTTP != ""
	})
	victim := tasks(s, "miner")[0].ID
	kill(t, w.executorOf(victim)) // so that there is an end to count
	w.until("its end is known", func(s api.Status) bool { return !slices.Contains(ids(s.Tasks), victim) })
	w.mining(2)
	scheduler := metrics(t, w.url+"/metrics")
	proxy := metrics(t, "http://"+tasks(s, "proxy")[0].Proxy.HTTP+"/metrics")

	known := map[string]bool{"up": true} // Prometheus' own
	for line := range strings.Lines(scheduler + proxy) {
		if name := regexp.MustCompile(`^[a-z_0-9]+`).FindString(line); name != "" {
			known[name] = true
		}
	}
	asked := regexp.MustCompile(`\b(lode|process|go)_[a-z_0-9]+|\bup\b`)
	for _, file := range []string{"../deploy/alerts.yml", "../deploy/grafana/lode.json"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for line := range strings.Lines(string(text)) {
			if !strings.Contains(line, "expr") {
				continue
			}
			for _, name := range asked.FindAllString(line, -1) {
				n++
				if !known[name] {
					t.Errorf("%s asks for %s, which neither scheduler nor proxy has", file, name)
				}
			}
		}
		if n < 10 {
			t.Errorf("%s: only %d metrics found in it: is it read right?", file, n)
		}
	}

	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed (Debian: apt-get install prometheus): rules and metrics are not checked by it")
	}
	if out, err := exec.Command(promtool, "check", "rules", "../deploy/alerts.yml").CombinedOutput(); err != nil {
		t.Errorf("promtool check rules: %v\n%s", err, out)
	}
	for name, text := range map[string]string{"scheduler": scheduler, "proxy": proxy} {
		cmd := exec.Command(promtool, "check", "metrics")
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool check metrics of the %s: %v\n%s", name, err, out)
		}
	}
}

func metrics(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %v", url, resp.Status, err)
	}
	return string(b)
}
