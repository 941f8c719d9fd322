package driver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
)

// ErrNoFramework says that the leading master knows no such framework, or not any more.
var ErrNoFramework = errors.New("the master knows no such framework")

// Teardown ends a framework, and all of its tasks, as an operator of the cluster: it
// needs no subscription, so that it can end a framework whose scheduler is gone for
// good. Of the Config it takes masters, certificates and credentials.
func Teardown(ctx context.Context, config Config, framework string) error {
	if config.AskTimeout <= 0 {
		config.AskTimeout = defaultAskTimeout
	}
	find, err := newFinder(config, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer find.Close()
	masters, _, err := find.Find(ctx)
	if err != nil {
		return err
	}
	d := &Driver{config: config}
	client := &http.Client{
		Transport:     &http.Transport{TLSClientConfig: d.tls(), Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       config.AskTimeout,
	}
	failed := []error{errors.New("no master ended the framework")}
	for _, m := range masters {
		if m, err = MasterURL(m); err != nil {
			return err
		}
		err := d.tearDown(ctx, client, m, framework)
		if err == nil || errors.Is(err, ErrNoFramework) || errors.Is(err, ErrUnauthorized) || ctx.Err() != nil {
			return err
		}
		failed = append(failed, err)
	}
	return joinLines(failed)
}

// tearDown asks one master, or whom that names as the leader.
func (d *Driver) tearDown(ctx context.Context, client *http.Client, master, framework string) error {
	for range mostRedirects {
		form := url.Values{"frameworkId": {framework}}.Encode()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, master+"/teardown", strings.NewReader(form))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if d.config.Principal != "" {
			req.SetBasicAuth(d.config.Principal, d.config.Secret)
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
		resp.Body.Close()
		switch code := resp.StatusCode; {
		case code == http.StatusOK:
			return nil
		case code >= 300 && code < 400:
			if master, err = redirectTarget(master, resp.Header.Get("Location")); err != nil {
				return err
			}
			continue
		case code == http.StatusBadRequest && strings.Contains(string(text), "No framework found"):
			return fmt.Errorf("%w: %s at %s", ErrNoFramework, framework, master)
		case code == http.StatusUnauthorized, code == http.StatusForbidden:
			return fmt.Errorf("%w (--principal, --secret-file): master %s: %s", ErrUnauthorized, master, resp.Status)
		default:
			return fmt.Errorf("master %s: %s: %s", master, resp.Status, strings.TrimSpace(string(text)))
		}
	}
	return fmt.Errorf("masters send us from one to another, last to %s", master)
}

func joinLines(errs []error) error {
	lines := make([]string, len(errs))
	for i, err := range errs {
		lines[i] = err.Error()
	}
	return errors.New(strings.Join(lines, "; "))
}
