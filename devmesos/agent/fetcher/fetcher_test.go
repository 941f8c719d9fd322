package fetcher

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ptr[T any](v T) *T { return &v }

type bench struct {
	*testing.T
	*Fetcher
	sandbox string
	log     bytes.Buffer

	mu   sync.Mutex
	seen []string
}

func newBench(t *testing.T, config Config) *bench {
	t.Helper()
	config.CacheDir = filepath.Join(t.TempDir(), "fetch")
	f, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return &bench{T: t, Fetcher: f, sandbox: t.TempDir()}
}

// serve starts a server that notes what it is asked.
func (b *bench) serve(h http.HandlerFunc) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		b.seen = append(b.seen, r.Method+" "+r.URL.RequestURI())
		b.mu.Unlock()
		h(w, r)
	}))
	b.Cleanup(s.Close)
	return s.URL
}

func (b *bench) asked() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.seen)
}

func (b *bench) fetch(uris ...mesos.CommandInfo_URI) error {
	return b.Fetch(b.Context(), Request{ContainerID: "c", URIs: uris, Sandbox: b.sandbox, User: "u", Log: &b.log})
}

func (b *bench) want(name, content string) {
	b.Helper()
	got, err := os.ReadFile(filepath.Join(b.sandbox, name))
	if err != nil || string(got) != content {
		b.Errorf("%s is %q, %v, want %q", name, got, err, content)
	}
}

func TestRedirects(t *testing.T) {
	b := newBench(t, Config{})
	url := b.serve(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusTemporaryRedirect)
		case "/a":
			http.Redirect(w, r, "/b", http.StatusFound)
		default:
			if r.Header.Get("Referer") != "" || r.Header.Get("User-Agent") != "" {
				t.Errorf("headers are %v", r.Header)
			}
			io.WriteString(w, "found") //nolint:errcheck // a test
		}
	})
	if err := b.fetch(mesos.CommandInfo_URI{Value: url + "/a", Extract: ptr(false)}); err != nil {
		t.Error(err)
	}
	b.want("a", "found")
	err := b.fetch(mesos.CommandInfo_URI{Value: url + "/loop"})
	if err == nil || err.Error() != "Failed to fetch all URIs for container 'c': exited with status 1" {
		t.Errorf("a loop gives %v", err)
	}
	if !strings.Contains(b.log.String(), "Error downloading resource: Number of redirects hit maximum amount") {
		t.Errorf("log: %s", &b.log)
	}
}

func TestOnly200IsGood(t *testing.T) {
	for _, status := range []int{201, 204, 206, 301, 403, 404, 503} {
		b := newBench(t, Config{})
		url := b.serve(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		if err := b.fetch(mesos.CommandInfo_URI{Value: url + "/x"}); err == nil {
			t.Errorf("%d was taken", status)
		} else if want := fmt.Sprintf("Error downloading resource, received HTTP return code %d\n", status); !strings.Contains(b.log.String(), want) {
			t.Errorf("%d: log: %s", status, &b.log)
		}
	}
}

func TestStall(t *testing.T) {
	b := newBench(t, Config{StallTimeout: 50 * time.Millisecond})
	url := b.serve(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "begin") //nolint:errcheck // a test
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	if err := b.fetch(mesos.CommandInfo_URI{Value: url + "/x"}); err == nil || Killed(err) {
		t.Errorf("a stalled download gives %v", err)
	}
	if !strings.Contains(b.log.String(), "Error downloading resource: Timeout was reached") {
		t.Errorf("log: %s", &b.log)
	}
}

func TestKill(t *testing.T) {
	b := newBench(t, Config{})
	ctx, kill := context.WithCancel(t.Context())
	url := b.serve(func(_ http.ResponseWriter, r *http.Request) {
		kill()
		<-r.Context().Done()
	})
	err := b.Fetch(ctx, Request{ContainerID: "c", URIs: []mesos.CommandInfo_URI{{Value: url + "/x"}}, Sandbox: b.sandbox, Log: &b.log})
	if !Killed(err) {
		t.Errorf("a killed fetch gives %v", err)
	}
}

func TestBadURIs(t *testing.T) {
	for uri, want := range map[mesos.CommandInfo_URI]string{
		{Value: "http://host"}:       "Could not fetch: Malformed URI (missing path): http://host",
		{Value: "http://host/"}:      "Could not fetch: Malformed URI (missing path): http://host/",
		{Value: "http://host/it's"}:  "Could not fetch: Illegal characters in URI",
		{Value: `http://host/a\b`}:   "Could not fetch: Illegal characters in URI",
		{Value: "relative/executor"}: "A relative path was passed for the resource but the Mesos framework home was not specified",
		{Value: "hdfs://host/x"}:     "Failed to create HDFS client",
		{Value: "ftp://host/x"}:      "Unsupported protocol",
		{Value: "file://x/y"}:        "File URI only supports absolute paths",
		{Value: "/no/such/file"}:     "no such file or directory",
		{Value: "/"}:                 "is a directory",
	} {
		b := newBench(t, Config{})
		err := b.fetch(uri)
		if err == nil || !strings.Contains(err.Error()+b.log.String(), want) {
			t.Errorf("%s gives %v: %s", uri.Value, err, &b.log)
		}
	}
	for name, want := range map[string]string{
		"":   "Could not fetch: URI output file path is empty",
		"/x": "Could not fetch: URI output file must be within the sandbox directory",
	} {
		if err := newBench(t, Config{}).fetch(mesos.CommandInfo_URI{Value: "http://host/x", OutputFile: &name}); err == nil || err.Error() != want {
			t.Errorf("output file %q gives %v", name, err)
		}
	}
}

func TestLocalFiles(t *testing.T) {
	home := t.TempDir()
	b := newBench(t, Config{FrameworksHome: home})
	if err := os.WriteFile(filepath.Join(home, "tool"), []byte("tool"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := b.fetch(
		mesos.CommandInfo_URI{Value: filepath.Join(home, "tool"), Executable: ptr(true), OutputFile: ptr("a/b/one")},
		mesos.CommandInfo_URI{Value: "file://" + filepath.Join(home, "tool"), OutputFile: ptr("two")},
		mesos.CommandInfo_URI{Value: "file://localhost" + filepath.Join(home, "tool"), OutputFile: ptr("three")},
		mesos.CommandInfo_URI{Value: "tool"},
	)
	if err != nil {
		t.Fatalf("%v: %s", err, &b.log)
	}
	for name, mode := range map[string]os.FileMode{"a/b/one": 0o755, "two": 0o600, "three": 0o600, "tool": 0o600} {
		b.want(name, "tool")
		if stat, err := os.Stat(filepath.Join(b.sandbox, name)); err != nil || stat.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, stat.Mode(), err)
		}
	}
}

func tarOf(t *testing.T, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range names {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(name)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, name); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.WriteHeader(&tar.Header{Name: "link", Linkname: names[0], Typeflag: tar.TypeSymlink}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t *testing.T, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(content)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zipOf(t *testing.T, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, name := range names {
		f, err := w.Create(name)
		if err == nil && !strings.HasSuffix(name, "/") {
			_, err = io.WriteString(f, name)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestExtract(t *testing.T) {
	archives := map[string][]byte{
		"x.tar":    tarOf(t, "dir/file"),
		"x.tgz":    gzipped(t, tarOf(t, "dir/file")),
		"x.tar.gz": gzipped(t, tarOf(t, "dir/file")),
		"x.zip":    zipOf(t, "dir/", "dir/file"),
	}
	if xz, err := exec.LookPath("xz"); err == nil {
		cmd := exec.Command(xz, "-c")
		cmd.Stdin = bytes.NewReader(archives["x.tar"])
		if archives["x.txz"], err = cmd.Output(); err != nil {
			t.Fatal(err)
		}
	} else {
		t.Log("there is no xz on this machine, xz archives are not tried")
	}
	for _, cached := range []bool{false, true} {
		for name, content := range archives {
			b := newBench(t, Config{})
			url := b.serve(func(w http.ResponseWriter, r *http.Request) {
				http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
			})
			if err := b.fetch(mesos.CommandInfo_URI{Value: url + "/" + name, Cache: &cached}); err != nil {
				t.Errorf("%s: %v: %s", name, err, &b.log)
				continue
			}
			b.want("dir/file", "dir/file")
			if _, err := os.Stat(filepath.Join(b.sandbox, name)); (err == nil) == cached {
				t.Errorf("%s, cached %v: archive in the sandbox: %v", name, cached, err)
			}
			if name != "x.zip" {
				b.want("link", "dir/file")
			}
		}
	}
}

func TestGunzip(t *testing.T) {
	b := newBench(t, Config{})
	url := b.serve(func(w http.ResponseWriter, _ *http.Request) { w.Write(gzipped(t, []byte("plain"))) }) //nolint:errcheck // a test
	if err := b.fetch(mesos.CommandInfo_URI{Value: url + "/data.gz"}); err != nil {
		t.Fatal(err)
	}
	b.want("data", "plain")
}

// TestExecutableIsNotExtracted: what is executable is no archive, whatever its name.
func TestExecutableIsNotExtracted(t *testing.T) {
	b := newBench(t, Config{})
	url := b.serve(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "#!/bin/sh") }) //nolint:errcheck // a test
	if err := b.fetch(mesos.CommandInfo_URI{Value: url + "/tool.tar.gz", Executable: ptr(true)}); err != nil {
		t.Fatalf("%v: %s", err, &b.log)
	}
	b.want("tool.tar.gz", "#!/bin/sh")
}

// TestArchivesStayInside: nothing of an archive lands outside of the sandbox.
func TestArchivesStayInside(t *testing.T) {
	for name, content := range map[string][]byte{
		"x.tar": tarOf(t, "../escaped"),
		"x.zip": zipOf(t, "../escaped"),
	} {
		b := newBench(t, Config{})
		url := b.serve(func(w http.ResponseWriter, _ *http.Request) { w.Write(content) }) //nolint:errcheck // a test
		if err := b.fetch(mesos.CommandInfo_URI{Value: url + "/" + name}); err == nil {
			t.Errorf("%s was extracted", name)
		}
		if _, err := os.Stat(filepath.Join(filepath.Dir(b.sandbox), "escaped")); err == nil {
			t.Errorf("%s escaped", name)
		}
	}
}

// TestCache: one HEAD and one GET for a user and URI, whoever asks, however many at once.
func TestCache(t *testing.T) {
	b := newBench(t, Config{})
	url := b.serve(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader("content"))
	})
	uri := mesos.CommandInfo_URI{Value: url + "/x?q=1", Cache: ptr(true), Extract: ptr(false)}
	var all sync.WaitGroup
	for range 8 {
		sandbox := t.TempDir()
		all.Go(func() {
			err := b.Fetch(t.Context(), Request{ContainerID: "c", URIs: []mesos.CommandInfo_URI{uri, uri}, Sandbox: sandbox, User: "u", Log: io.Discard})
			if got, _ := os.ReadFile(filepath.Join(sandbox, "x?q=1")); err != nil || string(got) != "content" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	all.Wait()
	if seen := b.asked(); !slices.Equal(seen, []string{"HEAD /x?q=1", "GET /x?q=1"}) {
		t.Errorf("asked %q", seen)
	}
	err := b.Fetch(t.Context(), Request{ContainerID: "c", URIs: []mesos.CommandInfo_URI{uri}, Sandbox: b.sandbox, User: "other", Log: &b.log})
	if seen := b.asked(); err != nil || len(seen) != 4 {
		t.Errorf("another user: %v, asked %q", err, seen)
	}
}

// TestCacheNeedsSize: without a length the cache is not used.
func TestCacheNeedsSize(t *testing.T) {
	b := newBench(t, Config{})
	url := b.serve(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			io.WriteString(w, "content") //nolint:errcheck // a test
		}
	})
	for range 2 {
		if err := b.fetch(mesos.CommandInfo_URI{Value: url + "/x", Cache: ptr(true)}); err != nil {
			t.Fatal(err)
		}
	}
	if seen := b.asked(); !slices.Equal(seen, []string{"HEAD /x", "GET /x", "HEAD /x", "GET /x"}) {
		t.Errorf("asked %q", seen)
	}
	if !strings.Contains(b.log.String(), "BYPASS_CACHE") {
		t.Errorf("log: %s", &b.log)
	}
}

// TestCacheEviction throws out what was not used for longest, and bypasses what can never fit.
func TestCacheEviction(t *testing.T) {
	b := newBench(t, Config{CacheSize: 10})
	url := b.serve(func(w http.ResponseWriter, r *http.Request) {
		size := 4
		if r.URL.Path == "/big" {
			size = 11
		}
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(strings.Repeat("x", size)))
	})
	for _, name := range []string{"a", "b", "a", "c", "a", "b", "big"} {
		if err := b.fetch(mesos.CommandInfo_URI{Value: url + "/" + name, Cache: ptr(true)}); err != nil {
			t.Fatal(err)
		}
	}
	var gets []string
	for _, s := range b.asked() {
		if strings.HasPrefix(s, "GET ") {
			gets = append(gets, s[5:])
		}
	}
	if want := []string{"a", "b", "c", "b", "big"}; !slices.Equal(gets, want) {
		t.Errorf("fetched %q, want %q", gets, want)
	}
}

// TestFailedDownloadIsNotCached: the next one tries again.
func TestFailedDownloadIsNotCached(t *testing.T) {
	b := newBench(t, Config{})
	status := http.StatusNotFound
	url := b.serve(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "2")
		w.WriteHeader(status)
		io.WriteString(w, "ok") //nolint:errcheck // HEAD has no body
	})
	uri := mesos.CommandInfo_URI{Value: url + "/x", Cache: ptr(true)}
	if err := b.fetch(uri); err == nil {
		t.Error("404 was taken")
	}
	status = http.StatusOK
	if err := b.fetch(uri); err != nil {
		t.Error(err)
	}
	b.want("x", "ok")
}

func FuzzBasename(f *testing.F) {
	for _, s := range []string{"http://h/a/b?c=d/e", "http://h", "/a/b", "a", "", "://x", "x://", `a\b`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		name, err := basename(uri)
		if err == nil && strings.Contains(strings.Trim(name, "/"), "/") {
			t.Errorf("%q is called %q", uri, name)
		}
	})
}
