package driver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// mostRedirects is how many masters in a row may send us to another one before that
// counts as a loop.
const mostRedirects = 5

// redirect is a master's word that another one leads.
type redirect struct{ to string }

func (r *redirect) Error() string { return "master says that the leader is " + r.to }

// connect subscribes at the leading master. It tries hint, the leader of before,
// then every master of the list; each may point to another one.
func (d *Driver) connect(ctx context.Context, hint string) (*session, error) {
	var errs []error
	candidates := slices.Clone(d.config.Masters)
	if hint != "" && !slices.Contains(candidates, hint) {
		candidates = append(candidates, hint)
	}
	if i := slices.Index(candidates, hint); i > 0 {
		candidates = append([]string{hint}, slices.Delete(candidates, i, i+1)...)
	}
	for _, master := range candidates {
		s, err := d.follow(ctx, master)
		if err == nil {
			return s, nil
		}
		if ctx.Err() != nil || errors.Is(err, ErrUnauthorized) || errors.Is(err, ErrRejected) {
			return nil, err
		}
		errs = append(errs, err)
	}
	if len(errs) == 1 {
		return nil, errs[0]
	}
	lines := make([]string, len(errs))
	for i, err := range errs {
		lines[i] = err.Error()
	}
	return nil, errors.New(strings.Join(lines, "; "))
}

// follow subscribes at master or at whom it names as the leader.
//
// A client that is redirected in mid-subscription would send its later calls to the
// wrong master, so the leader is asked for first (GET /redirect), and each hop is a
// client of its own.
func (d *Driver) follow(ctx context.Context, master string) (*session, error) {
	at := master
	if leader, err := d.askLeader(ctx, master); err != nil {
		return nil, err
	} else if leader != "" {
		at = leader
	}
	for range mostRedirects {
		s, err := d.subscribe(ctx, at)
		var to *redirect
		switch {
		case err == nil:
			return s, nil
		case errors.As(err, &to):
			at = to.to
		case at != master && ctx.Err() == nil && !errors.Is(err, ErrUnauthorized) && !errors.Is(err, ErrRejected):
			// The leader may be named by a name that is unknown here, while the URL
			// that we were given is another way to the very same master.
			s, direct := d.subscribe(ctx, master)
			if direct == nil {
				return s, nil
			}
			if errors.As(direct, &to) {
				return nil, err
			}
			return nil, errors.Join(err, direct)
		default:
			return nil, err
		}
	}
	return nil, fmt.Errorf("master %s: redirected %d times, at last to %s: the masters do not agree who leads", master, mostRedirects, at)
}

// askLeader asks a master who leads; "": it does not say.
func (d *Driver) askLeader(ctx context.Context, master string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, d.config.CallTimeout)
	defer cancel()
	client := newHTTPClient(d.config.RootCAs, d.config.CallTimeout)
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, master+"/redirect", nil)
	if err != nil {
		return "", fmt.Errorf("ask master %s for the leader: %w", master, err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask master %s for the leader: %w", master, trimURL(err))
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	switch {
	case resp.StatusCode == http.StatusServiceUnavailable:
		return "", fmt.Errorf("master %s knows no leader yet (503)", master)
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		return redirectTarget(master, resp.Header.Get("Location"))
	}
	return "", nil // too old for it, or a stand-in: the subscription itself will tell
}

// redirectTarget reads a Location, which Mesos sends without a scheme
// ("//host:port/…"): it is that of the request, so https stays https.
func redirectTarget(from, location string) (string, error) {
	base, err := url.Parse(from)
	if err != nil {
		return "", fmt.Errorf("master %q is not a URL: %w", from, err)
	}
	u, err := base.Parse(location)
	if err != nil || location == "" || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return "", fmt.Errorf("master %s redirects to %q, which is no URL", from, location)
	}
	if base.Scheme == "https" && u.Scheme == "http" {
		// Mesos never asks for that, and credentials would go out in clear text.
		return "", fmt.Errorf("master %s redirects to %s, without TLS: that is not followed", from, location)
	}
	return u.Scheme + "://" + u.Host, nil
}

// trimURL takes method and URL off an error of net/http: they are said already.
func trimURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}
