package artifact

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const content = "\x7fELF pretended executor"

func serve(t *testing.T) (b *Binary, url string, fetched *[]string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "executor")
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
	b, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	// What happens to the file later must not matter.
	if err := os.WriteFile(path, []byte("another build"), 0o755); err != nil {
		t.Fatal(err)
	}
	fetched = new([]string)
	server := httptest.NewServer(b.Handler(func(remote string) { *fetched = append(*fetched, remote) }))
	t.Cleanup(server.Close)
	return b, server.URL, fetched
}

func do(t *testing.T, method, url, ranges string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "*/*") // all that Mesos' fetcher sends beside Host
	if ranges != "" {
		req.Header.Set("Range", ranges)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestFetch(t *testing.T) {
	b, url, fetched := serve(t)
	sum := sha256.Sum256([]byte(content))
	want := "/artifacts/" + hex.EncodeToString(sum[:]) + "/lode-executor"
	if b.Path() != want || b.URL("h:1") != "http://h:1"+want || b.Size() != int64(len(content)) {
		t.Fatalf("%s, %s, %d bytes", b.Path(), b.URL("h:1"), b.Size())
	}

	resp, body := do(t, http.MethodHead, url+b.Path(), "")
	if resp.StatusCode != 200 || resp.ContentLength != int64(len(content)) || body != "" {
		t.Errorf("HEAD: %s, length %d, body %q", resp.Status, resp.ContentLength, body)
	}
	if len(*fetched) != 0 {
		t.Error("HEAD counts as a fetch")
	}
	resp, body = do(t, http.MethodGet, url+b.Path(), "")
	if resp.StatusCode != 200 || resp.ContentLength != int64(len(content)) || body != content {
		t.Errorf("GET: %s, length %d, body %q", resp.Status, resp.ContentLength, body)
	}
	if len(resp.TransferEncoding) > 0 {
		t.Errorf("transfer encoding %v", resp.TransferEncoding)
	}
	if len(*fetched) != 1 {
		t.Errorf("fetches %v", *fetched)
	}
	resp, body = do(t, http.MethodGet, url+b.Path(), "bytes=5-")
	if resp.StatusCode != 206 || body != content[5:] {
		t.Errorf("range: %s, body %q", resp.Status, body)
	}
	if len(*fetched) != 1 {
		t.Error("a part counts as a fetch")
	}
}

func TestNothingElseIsServed(t *testing.T) {
	b, url, _ := serve(t)
	for _, path := range []string{
		"/artifacts/", "/artifacts/" + strings.Repeat("0", 64) + "/lode-executor", b.Path() + "/", b.Path() + "x",
		"/artifacts/" + b.Digest(), "/artifacts/../artifact_test.go",
	} {
		if resp, body := do(t, http.MethodGet, url+path, ""); resp.StatusCode != 404 || strings.Contains(body, "ELF") {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
	resp, _ := do(t, http.MethodPost, url+b.Path(), "")
	if resp.StatusCode != 405 || resp.Header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: %s, Allow %q", resp.Status, resp.Header.Get("Allow"))
	}
}

func TestMissingBinary(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nothing")
	_, err := Load(path)
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "--executor") {
		t.Error(err)
	}
	if err := os.WriteFile(path, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil {
		t.Error("an empty file")
	}
	// The default is a file beside the program; the test's folder has none.
	if _, err := Load(""); err == nil || !strings.Contains(err.Error(), Name) {
		t.Error(err)
	}
}
