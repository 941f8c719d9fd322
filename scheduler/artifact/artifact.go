// Package artifact serves the executor binary to the agents' fetchers.
//
//	b, err := artifact.Load(path)
//	mux.Handle(artifact.Prefix, b.Handler(onFetch))
//	uri := b.URL("10.0.0.1:8080")
//
// The path holds the SHA-256 of the file: Mesos' fetcher caches by URI and never
// looks again, so other content must have another URI. Only the one digest is
// served, as it is and in a .tar.gz of a third of the size, which the fetcher unpacks.
// HEAD is answered with Content-Length, without which the fetcher does not cache (Mesos
// docs/fetcher.md).
package artifact

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/renameio/v2"
)

// Prefix of the paths that Handler serves.
const Prefix = "/artifacts/"

// Name of the executor binary, and ArchiveName that of the archive with it alone.
const (
	Name        = "lode-executor"
	ArchiveName = Name + ".tar.gz"
)

// Binary is the executor as it was when it was loaded: in memory, so that a build
// that replaces the file while the scheduler runs cannot put other bytes under the
// same digest.
type Binary struct {
	digest string
	data   []byte
	packed func() []byte // the archive; made when it is first wanted, which takes a second
}

// Load reads the binary. Path "" is lode-executor beside the running program.
func Load(path string) (*Binary, error) {
	if path == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find the running program: %w", err)
		}
		if real, err := filepath.EvalSymlinks(self); err == nil {
			self = real
		}
		path = filepath.Join(filepath.Dir(self), Name)
	}
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no executor binary at %s: build it (make) or name it (--executor PATH)", path)
	case err != nil:
		return nil, fmt.Errorf("read executor binary: %w", err)
	case len(data) == 0:
		return nil, fmt.Errorf("executor binary %s is empty", path)
	}
	return New(data), nil
}

// New returns the binary with the content data, which it keeps.
func New(data []byte) *Binary {
	sum := sha256.Sum256(data)
	return &Binary{digest: hex.EncodeToString(sum[:]), data: data, packed: sync.OnceValue(func() []byte { return pack(data) })}
}

// pack makes an archive of the executor. The same executor gives the same archive, as the
// same release of Go makes it.
func pack(data []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	t := tar.NewWriter(z)
	header := &tar.Header{Typeflag: tar.TypeReg, Name: Name, Mode: 0o755, Size: int64(len(data)), Format: tar.FormatUSTAR}
	err := t.WriteHeader(header)
	if err == nil {
		_, err = t.Write(data)
	}
	if err = errors.Join(err, t.Close(), z.Close()); err != nil {
		panic(err) // a buffer takes everything
	}
	return b.Bytes()
}

// Digest is the SHA-256 of the binary, lower-case hex.
func (b *Binary) Digest() string { return b.digest }

// Size of the binary in bytes.
func (b *Binary) Size() int64 { return int64(len(b.data)) }

// Reader reads the binary.
func (b *Binary) Reader() *bytes.Reader { return bytes.NewReader(b.data) }

// Save writes the binary to a file, unless it is there already.
func (b *Binary) Save(path string) error {
	if info, err := os.Stat(path); err == nil && info.Size() == b.Size() {
		return nil
	}
	return renameio.WriteFile(path, b.data, 0o700, renameio.WithTempDir(filepath.Dir(path)))
}

// Path under which Handler serves the binary, ArchivePath under which it serves the
// archive.
func (b *Binary) Path() string        { return PathOf(b.digest) }
func (b *Binary) ArchivePath() string { return Prefix + b.digest + "/" + ArchiveName }

// Has says whether Handler serves something under a path.
func (b *Binary) Has(path string) bool { return path == b.Path() || path == b.ArchivePath() }

// PathOf is the path of the binary with a digest.
func PathOf(digest string) string { return Prefix + digest + "/" + Name }

// URL is where the binary is, on a server at host:port.
func (b *Binary) URL(hostport string) string { return "http://" + hostport + b.Path() }

// ArchiveURL is where the archive is.
func (b *Binary) ArchiveURL(hostport string) string { return "http://" + hostport + b.ArchivePath() }

// Handler serves the binary and the archive. onFetch is called after each complete GET with the
// address of the client.
func (b *Binary) Handler(onFetch func(remoteAddr string)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !b.Has(r.URL.Path) {
			http.Error(w, "there is no such artifact; this scheduler serves "+b.Path(), http.StatusNotFound)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET and HEAD", http.StatusMethodNotAllowed)
			return
		}
		data, name, kind, tag := b.data, Name, "application/octet-stream", b.digest
		if r.URL.Path == b.ArchivePath() {
			data, name, kind = b.packed(), ArchiveName, "application/gzip"
			sum := sha256.Sum256(data)
			tag = hex.EncodeToString(sum[:])
		}
		w.Header().Set("Content-Type", kind)
		w.Header().Set("ETag", `"`+tag+`"`)
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		counter := &countingWriter{ResponseWriter: w}
		http.ServeContent(counter, r, name, time.Time{}, bytes.NewReader(data))
		if r.Method == http.MethodGet && counter.n == int64(len(data)) && onFetch != nil {
			onFetch(r.RemoteAddr)
		}
	})
}

type countingWriter struct {
	http.ResponseWriter
	n int64
}

func (w *countingWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.n += int64(n)
	return n, err
}
