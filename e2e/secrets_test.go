package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

// Credentials of the node must be in nothing that others can read: state endpoints,
// sandboxes, the Mesos work directory, the process table, logs.
func TestSecretsAreNowhere(t *testing.T) {
	w := newWorld(t, options{})
	w.mining(2)
	w.moreBlocks(1)

	password := w.node.Password
	needles := map[string][]byte{
		"password":        []byte(password),
		"password in b64": []byte(base64.RawStdEncoding.EncodeToString([]byte(password))),
		"password in hex": []byte(hex.EncodeToString([]byte(password))),
		"basic auth":      []byte(base64.RawStdEncoding.EncodeToString([]byte(w.node.User + ":" + password))),
	}
	search := func(where string, content []byte) {
		t.Helper()
		for name, needle := range needles {
			if bytes.Contains(content, needle) {
				t.Errorf("%s of the node found in %s", name, where)
			}
		}
	}

	urls := []string{w.url + "/api/v1/status", w.url + "/metrics"}
	for _, path := range []string{"/state", "/frameworks", "/tasks", "/slaves", "/state-summary"} {
		urls = append(urls, w.mesos.MasterURL()+path)
	}
	for _, agent := range w.mesos.Agents() {
		urls = append(urls, "http://"+agent.Endpoint()+"/state", "http://"+agent.Endpoint()+"/containers")
	}
	for _, url := range urls {
		response, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != http.StatusOK || len(body) == 0 {
			t.Errorf("%s: %s with %d bytes: nothing to search in", url, response.Status, len(body))
		}
		search(url, body)
	}

	files := 0
	filepath.WalkDir(w.workDir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			content, _ := os.ReadFile(path)
			search(path, content)
			files++
		}
		return nil
	})
	if files == 0 {
		t.Error("no file in any sandbox: nothing to search in")
	}
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range processes {
		cmdline, _ := os.ReadFile(filepath.Join(p, "cmdline"))
		search(p+"/cmdline", cmdline)
		environ, _ := os.ReadFile(filepath.Join(p, "environ"))
		search(p+"/environ", environ)
	}
	search("the scheduler's log", []byte(w.scheduler.output()))

	if len(tasks(w.status(), "proxy")) != 1 {
		t.Error("the proxy is gone: the search was of a cluster without secrets")
	}
}
