package driver

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// View is what a look at the masters gave.
type View struct {
	// Masters that the list, or ZooKeeper, names, in its order.
	Masters []MasterView
	// Leader is the URL of the one that leads; "": nobody knows.
	Leader  string
	Version string // of Mesos
	Agents  int    // that are active; -1: the leader does not tell
	// Roles may alone subscribe; nil: all may, or the leader does not tell.
	Roles []string
	// NoRoot says that tasks may not run as root.
	NoRoot bool
}

// MasterView is what one master answers.
type MasterView struct {
	URL    string
	Leader string // as it says
	Err    error
}

// Look asks masters who leads, and the leader whether it takes principal and secret.
// It subscribes nothing and changes nothing. With an error the View holds what was
// found before.
func Look(ctx context.Context, config Config) (View, error) {
	v := View{Agents: -1}
	config.Logger = slog.New(slog.DiscardHandler)
	d, err := New(config)
	if err != nil {
		return v, err
	}
	defer d.find.Close()
	urls, _, err := d.find.Find(ctx)
	if err != nil {
		return v, err
	}
	v.Masters = make([]MasterView, len(urls))
	var wg sync.WaitGroup
	for i, url := range urls {
		wg.Go(func() {
			v.Masters[i].URL = url
			v.Masters[i].Leader, v.Masters[i].Err = d.askLeader(ctx, url)
		})
	}
	wg.Wait()
	votes := make(map[string]int)
	for _, m := range v.Masters {
		if m.Err == nil && m.Leader != "" {
			votes[m.Leader]++
		}
	}
	for leader, n := range votes {
		if v.Leader == "" || n > votes[v.Leader] || n == votes[v.Leader] && leader < v.Leader {
			v.Leader = leader
		}
	}
	if v.Leader == "" {
		return v, fmt.Errorf("no master leads, or none says so")
	}
	return v, d.lookAt(ctx, &v)
}

// lookAt asks the leader. A call of no content type is refused by a master in any
// case, after it has looked at who asks.
func (d *Driver) lookAt(ctx context.Context, v *View) error {
	r := d.reader(v.Leader)
	defer r.close()
	ask := func(method, path string, into any) (int, error) { return r.ask(ctx, method, path, into) }
	code, err := ask(http.MethodPost, "/api/v1/scheduler", nil)
	switch {
	case err != nil:
		return fmt.Errorf("leading master %s: %w", v.Leader, err)
	case code == http.StatusUnauthorized && d.config.Principal == "":
		return fmt.Errorf("leading master %s: %w: it wants a principal and a secret", v.Leader, ErrUnauthorized)
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return fmt.Errorf("leading master %s: %w: principal %q", v.Leader, ErrUnauthorized, d.config.Principal)
	case code == http.StatusServiceUnavailable:
		return fmt.Errorf("leading master %s is not ready (503): it recovers, or does not know the leader", v.Leader)
	case code != http.StatusBadRequest:
		return fmt.Errorf("leading master %s answers a call with %d, where Mesos' scheduler API says 400", v.Leader, code)
	}
	// What follows may be kept from frameworks, and is of use without.
	var version struct {
		Version string `json:"version"`
	}
	if _, err := ask(http.MethodGet, "/version", &version); err == nil {
		v.Version = version.Version
	}
	var flags struct {
		Flags map[string]string `json:"flags"`
	}
	if _, err := ask(http.MethodGet, "/flags", &flags); err == nil {
		if roles := flags.Flags["roles"]; roles != "" {
			v.Roles = strings.Split(roles, ",")
		}
		v.NoRoot = flags.Flags["root_submissions"] == "false"
	}
	var metrics map[string]float64
	if code, err := ask(http.MethodGet, "/metrics/snapshot", &metrics); err == nil && code == http.StatusOK {
		v.Agents = int(metrics["master/slaves_active"])
	}
	slices.Sort(v.Roles)
	return nil
}

// reader asks a master what it tells besides the scheduler API.
type reader struct {
	d         *Driver
	master    string // URL
	client    http.Client
	transport *http.Transport
}

func (d *Driver) reader(master string) *reader {
	transport := &http.Transport{TLSClientConfig: d.tls(), Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: d.config.AskTimeout}).DialContext}
	return &reader{d, master, http.Client{
		Transport: transport, Timeout: 2 * d.config.AskTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, transport}
}

// ask returns the status, and decodes the body of a 200 into what is not nil.
func (r *reader) ask(ctx context.Context, method, path string, into any) (int, error) {
	q, err := http.NewRequestWithContext(ctx, method, r.master+path, nil)
	if err != nil {
		return 0, err
	}
	if c := r.d.config; c.Principal != "" {
		q.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(c.Principal+":"+c.Secret)))
	}
	resp, err := r.client.Do(q)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if into == nil || resp.StatusCode != http.StatusOK {
		return resp.StatusCode, nil
	}
	const most = 4 << 20
	return resp.StatusCode, json.NewDecoder(io.LimitReader(resp.Body, most)).Decode(into)
}

func (r *reader) close() { r.transport.CloseIdleConnections() }
