// Package fetcher brings the URIs of a command into a sandbox as Mesos' fetcher does,
// with the agent's cache and with the log that it leaves in the sandbox's stderr
// (docs/fetcher.md of Mesos; recorded from version 1.11). Call [New] once per agent run, then
// [Fetcher.Fetch] for each container.
package fetcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// Config is what an agent's flags say about fetching.
type Config struct {
	// CacheDir is --fetcher_cache_dir; New empties it.
	CacheDir string
	// CacheSize is --fetcher_cache_size in bytes; 0 means 2 GB.
	CacheSize int64
	// StallTimeout is --fetcher_stall_timeout: a download that brings nothing for so long fails. 0 means a minute.
	StallTimeout time.Duration
	// FrameworksHome is --frameworks_home, where relative paths start.
	FrameworksHome string
	// Transport may replace how HTTP requests are made.
	Transport http.RoundTripper
}

// Fetcher fetches for one agent.
type Fetcher struct {
	config Config
	client *http.Client
	cache  *cache
}

// Request is what one container needs.
type Request struct {
	ContainerID string
	URIs        []mesos.CommandInfo_URI
	Sandbox     string
	// User names the task's user, for the cache and the log.
	User string
	// Owner gives files to the task's user; nil leaves them as they are.
	Owner func(path string) error
	// Log is the sandbox's stderr.
	Log io.Writer
}

// defaultCacheSize and defaultStallTimeout are the agent's defaults.
const (
	defaultCacheSize    = 2 << 30
	defaultStallTimeout = time.Minute
)

// New makes a fetcher with an empty cache.
func New(config Config) (*Fetcher, error) {
	if config.CacheSize == 0 {
		config.CacheSize = defaultCacheSize
	}
	if config.StallTimeout == 0 {
		config.StallTimeout = defaultStallTimeout
	}
	if err := os.RemoveAll(config.CacheDir); err != nil {
		return nil, fmt.Errorf("empty the fetcher cache: %w", err)
	}
	if err := os.MkdirAll(config.CacheDir, 0o755); err != nil {
		return nil, fmt.Errorf("make the fetcher cache: %w", err)
	}
	return &Fetcher{
		config: config,
		client: newClient(config.Transport),
		cache:  newCache(config.CacheSize),
	}, nil
}

// Close gives up idle connections.
func (f *Fetcher) Close() { f.client.CloseIdleConnections() }

// Fetch brings all URIs in their order. Its error is worded as the agent words it; the details
// are in the log.
func (f *Fetcher) Fetch(ctx context.Context, r Request) error {
	for _, uri := range r.URIs {
		if err := validate(uri); err != nil {
			return failf("Could not fetch: %v", err)
		}
	}
	if len(r.URIs) == 0 {
		return nil
	}
	j := &job{Fetcher: f, Request: r, cacheDir: filepath.Join(f.config.CacheDir, r.User)}
	defer j.release()
	defer f.client.CloseIdleConnections()
	err := j.prepare(ctx)
	if err == nil {
		err = j.run(ctx)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return failf("Failed to fetch all URIs for container '%s': terminated with signal Killed", r.ContainerID)
	default:
		return failf("Failed to fetch all URIs for container '%s': exited with status 1", r.ContainerID)
	}
}

// Killed says whether an error of Fetch came from its context's end.
func Killed(err error) bool {
	return err != nil && strings.HasSuffix(err.Error(), "terminated with signal Killed")
}

func validate(uri mesos.CommandInfo_URI) error {
	if _, err := basename(uri.Value); err != nil {
		return err
	}
	if uri.OutputFile == nil {
		return nil
	}
	switch name := *uri.OutputFile; {
	case name == "":
		return errors.New("URI output file path is empty")
	case strings.HasPrefix(name, "/"):
		return errors.New("URI output file must be within the sandbox directory")
	}
	return nil
}

// basename is the local name of a URI: the last part of its path, query included.
func basename(uri string) (string, error) {
	if strings.ContainsAny(uri, "\\'\x00") {
		return "", failf("Illegal characters in URI")
	}
	if i := strings.Index(uri, "://"); i > 1 {
		path := uri[i+len("://"):]
		slash := strings.Index(path, "/")
		if slash < 0 || slash == len(path)-1 {
			return "", failf("Malformed URI (missing path): %s", uri)
		}
		return path[strings.LastIndex(path, "/")+1:], nil
	}
	return filepath.Base(uri), nil
}

// localPath is where a URI lies on this machine; local is false for all that are fetched over a network.
func (f *Fetcher) localPath(uri string) (path string, local bool, err error) {
	path, isFile := strings.CutPrefix(uri, "file://")
	if !isFile && strings.Contains(uri, "://") {
		return "", false, nil
	}
	path = strings.TrimPrefix(path, "localhost")
	switch {
	case filepath.IsAbs(path):
		return path, true, nil
	case isFile:
		return "", false, failf("File URI only supports absolute paths")
	case f.config.FrameworksHome == "":
		return "", false, failf("A relative path was passed for the resource but the Mesos framework home was not specified. Please either provide this config option or avoid using a relative path")
	default:
		return filepath.Join(f.config.FrameworksHome, path), true, nil
	}
}

// failure is an error in the words of Mesos, which begin like sentences and are read by users of the real thing.
type failure string

func (f failure) Error() string { return string(f) }

func failf(format string, args ...any) error { return failure(fmt.Sprintf(format, args...)) }
