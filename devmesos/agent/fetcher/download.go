package fetcher

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"
)

// maxRedirects is curl's default bound.
const maxRedirects = 30

var (
	errStalled   = errors.New("download stalled")
	errRedirects = errors.New("too many redirects")
)

// newClient makes a client whose requests look like those of Mesos' fetcher: HTTP/1.1, Host and
// Accept only, redirects followed.
func newClient(transport http.RoundTripper) *http.Client {
	if transport == nil {
		transport = &http.Transport{
			Proxy:              http.ProxyFromEnvironment,
			DisableCompression: true,
			TLSNextProto:       map[string]func(string, *tls.Conn) http.RoundTripper{},
		}
	}
	return &http.Client{
		Transport: transport,
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return errRedirects
			}
			r.Header.Del("Referer")
			return nil
		},
	}
}

// request makes a request that bears only Host and Accept.
func request(ctx context.Context, method, uri string) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, method, uri, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "*/*")
	r.Header["User-Agent"] = []string{""}
	return r, nil
}

// size asks how big a URI is; the cache needs to know before it downloads.
func (f *Fetcher) size(ctx context.Context, uri string) (int64, error) {
	path, local, err := f.localPath(uri)
	if err != nil {
		return 0, err
	}
	if local {
		stat, err := os.Stat(path)
		if err != nil {
			return 0, err
		}
		return stat.Size(), nil
	}
	ctx, cancel := context.WithTimeout(ctx, f.config.StallTimeout)
	defer cancel()
	r, err := request(ctx, http.MethodHead, uri)
	if err != nil {
		return 0, err
	}
	answer, err := f.client.Do(r)
	if err != nil {
		return 0, err
	}
	answer.Body.Close()
	if answer.ContentLength <= 0 {
		return 0, fmt.Errorf("URI reported content-length %d: %s", answer.ContentLength, uri)
	}
	return answer.ContentLength, nil
}

// get downloads over HTTP. As with curl, the body is written whatever the status is; only 200 is good.
func (f *Fetcher) get(ctx context.Context, uri, path string) error {
	if strings.HasPrefix(uri, "ftp") {
		return failf("Error downloading resource: Unsupported protocol")
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	stall := time.AfterFunc(f.config.StallTimeout, func() { stop(errStalled) })
	defer stall.Stop()

	status, err := f.save(ctx, uri, path, func() { stall.Reset(f.config.StallTimeout) })
	switch {
	case errors.Is(context.Cause(ctx), errStalled):
		return failf("Error downloading resource: Timeout was reached")
	case err != nil:
		return failf("Error downloading resource: %s", curlWords(err))
	case status != http.StatusOK:
		return failf("Error downloading resource, received HTTP return code %d", status)
	}
	return nil
}

func (f *Fetcher) save(ctx context.Context, uri, path string, progress func()) (status int, err error) {
	r, err := request(ctx, http.MethodGet, uri)
	if err != nil {
		return 0, err
	}
	target, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return 0, err
	}
	defer target.Close()
	answer, err := f.client.Do(r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(target, &watched{Reader: answer.Body, progress: progress}); err != nil {
		return 0, err
	}
	return answer.StatusCode, target.Close()
}

// watched tells of progress.
type watched struct {
	io.Reader
	progress func()
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Reader.Read(p)
	if n > 0 {
		w.progress()
	}
	return n, err
}

// curlWords says what curl would say.
func curlWords(err error) string {
	var dns *net.DNSError
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "Transferred a partial file"
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "Couldn't connect to server"
	case errors.As(err, &dns):
		return "Couldn't resolve host name"
	case errors.Is(err, errRedirects):
		return "Number of redirects hit maximum amount"
	case errors.Is(err, io.EOF):
		return "Server returned nothing (no headers, no data)"
	case errors.Is(err, syscall.ECONNRESET):
		return "Failure when receiving data from the peer"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, os.ErrPermission), errors.Is(err, os.ErrNotExist):
		return "Failed writing received data to disk/application"
	default:
		return err.Error()
	}
}
