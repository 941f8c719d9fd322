package fetcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/internal/wire"
)

// The ways in which an item is fetched.
const (
	bypassCache       = "BYPASS_CACHE"
	downloadAndCache  = "DOWNLOAD_AND_CACHE"
	retrieveFromCache = "RETRIEVE_FROM_CACHE"
)

// item is one URI of a job; its JSON is that of Mesos' FetcherInfo.Item, keys sorted.
type item struct {
	Action        string  `json:"action"`
	CacheFilename string  `json:"cache_filename,omitempty"`
	URI           itemURI `json:"uri"`

	entry *entry
}

type itemURI struct {
	Cache      *bool   `json:"cache,omitempty"`
	Executable *bool   `json:"executable,omitempty"`
	Extract    bool    `json:"extract"`
	OutputFile *string `json:"output_file,omitempty"`
	Value      string  `json:"value"`
}

type info struct {
	CacheDirectory   string  `json:"cache_directory"`
	FrameworksHome   string  `json:"frameworks_home,omitempty"`
	Items            []*item `json:"items"`
	SandboxDirectory string  `json:"sandbox_directory"`
	StallTimeout     nanos   `json:"stall_timeout"`
	User             string  `json:"user,omitempty"`
}

type nanos struct {
	Nanoseconds int64 `json:"nanoseconds"`
}

// job is one run of the fetcher.
type job struct {
	*Fetcher
	Request

	cacheDir string
	items    []*item
	created  []*entry // entries that this job has to fill
	held     []*entry // entries that must not be evicted meanwhile
}

// prepare decides for each URI whether it goes through the cache, waiting for other containers that
// download the same one.
func (j *job) prepare(ctx context.Context) error {
	for _, uri := range j.URIs {
		it := &item{Action: bypassCache, URI: describe(uri)}
		j.items = append(j.items, it)
		if !uri.GetCache() {
			continue
		}
		if err := j.reserve(ctx, it); err != nil {
			return err
		}
	}
	return nil
}

// reserve finds or makes the cache entry of an item. Without a known size the cache is bypassed.
func (j *job) reserve(ctx context.Context, it *item) error {
	name, err := basename(it.URI.Value)
	if err != nil {
		return err
	}
	e, fresh := j.cache.get(j.User, it.URI.Value, j.cacheDir, name)
	switch {
	case fresh:
		j.held = append(j.held, e)
		size, err := j.size(ctx, it.URI.Value)
		if err == nil {
			err = j.cache.claim(e, size)
		}
		if err != nil {
			j.cache.fail(e)
			return ctx.Err() // otherwise straight into the sandbox
		}
		j.created = append(j.created, e)
		it.Action, it.CacheFilename, it.entry = downloadAndCache, e.filename, e
	case slices.Contains(j.created, e): // the same URI twice in one command
		j.cache.release(e)
		it.Action, it.CacheFilename, it.entry = downloadAndCache, e.filename, e
	default:
		j.held = append(j.held, e)
		select {
		case <-e.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if !e.failed { // as in Mesos, whoever waited for a failed download does without the cache
			it.Action, it.CacheFilename, it.entry = retrieveFromCache, e.filename, e
		}
	}
	return nil
}

func (j *job) release() {
	for _, e := range j.created {
		j.cache.fail(e) // does nothing to those that are complete
	}
	for _, e := range j.held {
		j.cache.release(e)
	}
}

// run is what the mesos-fetcher process does.
func (j *job) run(ctx context.Context) error {
	j.logf('I', 562, "Fetcher Info: %s", wire.AppendJSON(nil, info{
		CacheDirectory:   j.cacheDir,
		FrameworksHome:   j.config.FrameworksHome,
		Items:            j.items,
		SandboxDirectory: j.Sandbox,
		StallTimeout:     nanos{int64(j.config.StallTimeout)},
		User:             j.User,
	}))
	for _, it := range j.items {
		j.logf('I', 459, "Fetching URI '%s'", it.URI.Value)
		to, err := j.fetch(ctx, it)
		if err != nil {
			if ctx.Err() == nil {
				j.logf('E', 615, "EXIT with status 1: Failed to fetch '%s': %v", it.URI.Value, err)
			}
			return err
		}
		j.logf('I', 618, "Fetched '%s' to '%s'", it.URI.Value, to)
	}
	for _, e := range j.created {
		j.cache.complete(e)
	}
	j.logf('I', 623, "Successfully fetched all URIs into '%s'", j.Sandbox)
	return nil
}

func (j *job) fetch(ctx context.Context, it *item) (string, error) {
	if it.entry == nil {
		j.logf('I', 290, "Fetching '%s' directly into the sandbox directory", it.URI.Value)
		path, err := j.target(it)
		if err != nil {
			return "", err
		}
		if err := j.download(ctx, it.URI.Value, path); err != nil {
			return "", err
		}
		return path, j.finish(it, path, path)
	}
	cached := it.entry.path
	if it.Action == downloadAndCache {
		if _, err := os.Stat(cached); errors.Is(err, os.ErrNotExist) {
			if err := os.MkdirAll(j.cacheDir, 0o755); err != nil {
				return "", err
			}
			if err := j.own(j.cacheDir); err != nil {
				return "", err
			}
			if err := j.download(ctx, it.URI.Value, cached); err != nil {
				return "", err
			}
		}
	}
	j.logf('I', 349, "Fetching URI '%s' from cache", it.URI.Value)
	path, err := j.target(it)
	if err != nil {
		return "", err
	}
	if !it.executable() && it.URI.Extract && isArchive(cached) {
		return j.Sandbox, j.extract(cached)
	}
	if err := copyFile(cached, path); err != nil {
		return "", err
	}
	if err := j.own(path); err != nil {
		return "", err
	}
	return path, j.finish(it, path, "")
}

// finish makes a fetched file executable, or extracts it if it is the archive at that path.
func (j *job) finish(it *item, path, archive string) error {
	switch {
	case it.executable():
		if err := os.Chmod(path, 0o755); err != nil {
			return failf("Failed to chmod executable '%s': %v", path, err)
		}
	case it.URI.Extract && archive != "" && isArchive(archive):
		return j.extract(archive)
	case it.URI.Extract:
		j.logf('W', 328, "Copying instead of extracting resource from URI with 'extract' flag, because it does not seem to be an archive: %s", it.URI.Value)
	}
	return nil
}

func (j *job) extract(archive string) error {
	err := extract(archive, j.Sandbox, j.own)
	if err == nil {
		j.logf('I', 111, "Extracted '%s' into '%s'", archive, j.Sandbox)
	}
	return err
}

// target is the path in the sandbox; missing directories of an output file are made.
func (j *job) target(it *item) (string, error) {
	if it.URI.OutputFile == nil {
		name, err := basename(it.URI.Value)
		return filepath.Join(j.Sandbox, name), err
	}
	name := *it.URI.OutputFile
	if dir := filepath.Dir(name); dir != "." {
		if err := os.MkdirAll(filepath.Join(j.Sandbox, dir), 0o755); err != nil {
			return "", failf("Unable to create subdirectory %s in sandbox: %v", dir, err)
		}
		for d := dir; d != "." && d != "/"; d = filepath.Dir(d) {
			if err := j.own(filepath.Join(j.Sandbox, d)); err != nil {
				return "", err
			}
		}
	}
	return filepath.Join(j.Sandbox, name), nil
}

func (j *job) own(path string) error {
	if j.Owner == nil {
		return nil
	}
	return j.Owner(path)
}

// download brings one URI to a path.
func (j *job) download(ctx context.Context, uri, path string) error {
	uri = strings.TrimLeft(uri, " \t\r\n")
	local, isLocal, err := j.localPath(uri)
	switch {
	case err != nil:
		return err
	case isLocal:
		err = copyFile(local, path)
	case isNet(uri):
		j.logf('I', 175, "Downloading resource from '%s' to '%s'", uri, path)
		err = j.get(ctx, uri, path)
	default:
		err = failf("Failed to create HDFS client: Failed to execute 'hadoop version 2>&1'; the command was either not found or exited with a non-zero exit status: 127")
	}
	if err != nil {
		return err
	}
	return j.own(path)
}

// logf writes a line in the form of Mesos' log.
func (j *job) logf(level byte, line int, format string, args ...any) {
	fmt.Fprintf(j.Log, "%c%s %5d fetcher.cpp:%d] %s\n", level,
		time.Now().Format("20060102 15:04:05.000000"), os.Getpid(), line, fmt.Sprintf(format, args...))
}

func (it *item) executable() bool { return it.URI.Executable != nil && *it.URI.Executable }

func describe(uri mesos.CommandInfo_URI) itemURI {
	return itemURI{
		Cache:      uri.Cache,
		Executable: uri.Executable,
		Extract:    uri.GetExtract(),
		OutputFile: uri.OutputFile,
		Value:      uri.Value,
	}
}

// copyFile copies as cp does: a new file gets the mode of the old one.
func copyFile(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	stat, err := source.Stat()
	if err != nil {
		return err
	}
	if stat.IsDir() {
		return fmt.Errorf("'%s' is a directory", from)
	}
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, stat.Mode().Perm())
	if err != nil {
		return err
	}
	if _, err := io.Copy(target, source); err != nil {
		target.Close()
		return err
	}
	return target.Close()
}
