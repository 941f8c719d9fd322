package artifact

import (
	"archive/tar"
	"compress/gzip"
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

// Mesos' fetcher unpacks the archive with tar, which keeps what may be executed.
func TestArchive(t *testing.T) {
	b, url, fetched := serve(t)
	if want := strings.TrimSuffix(b.Path(), Name) + "lode-executor.tar.gz"; b.ArchivePath() != want || b.ArchiveURL("h:1") != "http://h:1"+want {
		t.Fatalf("%s, %s", b.ArchivePath(), b.ArchiveURL("h:1"))
	}
	head, _ := do(t, http.MethodHead, url+b.ArchivePath(), "")
	resp, body := do(t, http.MethodGet, url+b.ArchivePath(), "")
	if resp.StatusCode != 200 || resp.ContentLength != int64(len(body)) || head.ContentLength != resp.ContentLength || len(*fetched) != 1 {
		t.Errorf("%s, HEAD %d bytes, GET %d of %d, %d fetches", resp.Status, head.ContentLength, len(body), resp.ContentLength, len(*fetched))
	}
	if other := resp.Header.Get("Etag"); other == `"`+b.Digest()+`"` || other == "" || other != head.Header.Get("Etag") {
		t.Errorf("ETag %s", other)
	}
	if part, rest := do(t, http.MethodGet, url+b.ArchivePath(), "bytes=10-"); part.StatusCode != 206 || rest != body[10:] {
		t.Errorf("range: %s, %d bytes", part.Status, len(rest))
	}
	if again := string(New([]byte(content)).packed()); again != body {
		t.Error("the same executor has another archive")
	}
	z, err := gzip.NewReader(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	archive := tar.NewReader(z)
	file, err := archive.Next()
	if err != nil {
		t.Fatal(err)
	}
	inside, err := io.ReadAll(archive)
	if err != nil || file.Name != Name || file.Mode != 0o755 || string(inside) != content {
		t.Errorf("%s, mode %o, %q, %v", file.Name, file.Mode, inside, err)
	}
	if _, err := archive.Next(); err != io.EOF {
		t.Errorf("there is more in it: %v", err)
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
