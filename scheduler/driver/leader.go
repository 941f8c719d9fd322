package driver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"lode/mesoswire"
)

const (
	// mostRedirects is how many masters in a row may send us to another one before
	// that counts as a loop.
	mostRedirects = 5
	// askGrace is how long the answers of other masters are waited for once one has
	// named a leader.
	askGrace = 250 * time.Millisecond
)

// redirect is a master's word that another one leads.
type redirect struct{ to string }

func (r *redirect) Error() string { return "master says that the leader is " + r.to }

// answer is what a master says about who leads; leader "": nothing.
type answer struct {
	master, leader string
	err            error
}

// ask asks masters at the same time who leads. The channel is closed after the last
// answer; ctx ends the questions.
func (d *Driver) ask(ctx context.Context, masters []string) <-chan answer {
	answers := make(chan answer, len(masters))
	var wg sync.WaitGroup
	for _, m := range masters {
		wg.Go(func() {
			leader, err := d.askLeader(ctx, m)
			answers <- answer{m, leader, err}
		})
	}
	go func() {
		wg.Wait()
		close(answers)
	}()
	return answers
}

// candidate is a master that may lead.
type candidate struct {
	url   string
	named []string // masters that name it
	order int
}

// candidates are ordered by how many masters name them. A single one that lies, or
// is confused, is believed last.
type candidates struct {
	d       *Driver
	masters []string
	all     []*candidate
	tried   map[string]bool
}

func (c *candidates) add(a answer) {
	to := a.leader
	if to == "" {
		to = a.master // too old for the question, or a stand-in: the subscription itself will tell
	}
	for _, known := range c.all {
		if known.url == to {
			known.named = append(known.named, a.master)
			return
		}
	}
	c.all = append(c.all, &candidate{url: to, named: []string{a.master}, order: slices.Index(c.masters, to)})
}

// next is the best one that was not tried; nil: there is none.
func (c *candidates) next() *candidate {
	var left []*candidate
	for _, k := range c.all {
		if !c.tried[k.url] {
			left = append(left, k)
		}
	}
	if len(left) == 0 {
		return nil
	}
	failed := func(k *candidate) int {
		if c.d.failed[k.url] {
			return 1
		}
		return 0
	}
	return slices.MinFunc(left, func(a, b *candidate) int {
		return cmp.Or(cmp.Compare(len(b.named), len(a.named)), cmp.Compare(failed(a), failed(b)), cmp.Compare(a.order, b.order))
	})
}

// connect subscribes at the leading master. All masters of the list are asked at the
// same time, so that a silent one costs nothing while another one answers.
func (d *Driver) connect(ctx context.Context) (*session, error) {
	if d.config.May != nil {
		if err := d.config.May(ctx); err != nil {
			return nil, err
		}
	}
	masters, changed, err := d.find.Find(ctx)
	if err != nil {
		return nil, err
	}
	if len(masters) == 0 {
		return nil, errors.New("no master leads, as ZooKeeper knows")
	}
	s, err := d.connectTo(ctx, masters)
	if err != nil {
		return nil, err
	}
	s.masters, s.changed = masters, changed
	return s, nil
}

func (d *Driver) connectTo(ctx context.Context, masters []string) (*session, error) {
	askCtx, stop := context.WithCancel(ctx)
	answers := d.ask(askCtx, masters)
	defer func() {
		stop()
		for range answers { // they end at once
		}
	}()
	c := &candidates{d: d, masters: masters, tried: make(map[string]bool)}
	var errs []error
	var fatal error
	open := answers
	var settled <-chan time.Time
	ready := false
	for {
		if k := c.next(); k != nil && (ready || open == nil) {
			s, err := d.follow(ctx, k, c)
			if err == nil {
				return s, nil
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if fatal == nil && (errors.Is(err, ErrUnauthorized) || errors.Is(err, ErrRejected)) {
				fatal = err // but only if no other one takes us
			}
			errs = append(errs, err)
			continue
		} else if k != nil && settled == nil {
			settled = time.After(askGrace)
		}
		if open == nil {
			return nil, d.noLeader(errs, fatal)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-settled:
			ready = true
		case a, ok := <-open:
			switch {
			case !ok:
				open = nil
			case a.err != nil:
				errs = append(errs, a.err)
			default:
				c.add(a)
			}
		}
	}
}

// noLeader makes one line of what went wrong, and gives masters that are just slow
// more time at the next attempt.
func (d *Driver) noLeader(errs []error, fatal error) error {
	if fatal != nil {
		return fatal
	}
	lines := make([]string, len(errs))
	for i, err := range errs {
		lines[i] = err.Error()
		if errors.Is(err, mesoswire.ErrSilent) {
			d.patience = min(2*d.patience, 6*d.config.SubscribeTimeout)
		}
	}
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.New(strings.Join(lines, "; "))
}

// follow subscribes at a candidate or at whom that names as the leader.
func (d *Driver) follow(ctx context.Context, k *candidate, c *candidates) (*session, error) {
	at := k.url
	for range mostRedirects {
		c.tried[at] = true
		s, err := d.subscribe(ctx, at, c.masters)
		var to *redirect
		switch {
		case err == nil:
			clear(d.failed)
			d.patience = d.config.SubscribeTimeout
			return s, nil
		case ctx.Err() != nil:
			return nil, err
		case errors.As(err, &to):
			at = to.to
			continue
		}
		d.failed[at] = true
		if errors.Is(err, ErrUnauthorized) || errors.Is(err, ErrRejected) || errors.Is(err, mesoswire.ErrSilent) {
			return nil, err
		}
		// The leader may be named by a name that is unknown here, while the URL that
		// we were given is another way to the very same master.
		for _, master := range k.named {
			if c.tried[master] {
				continue
			}
			c.tried[master] = true
			s, direct := d.subscribe(ctx, master, nil)
			if direct == nil {
				return s, nil
			}
			if !errors.As(direct, &to) {
				err = errors.Join(err, direct)
			}
		}
		return nil, oneLine(err)
	}
	d.failed[k.url] = true
	return nil, fmt.Errorf("master %s: redirected %d times, at last to %s: the masters do not agree who leads", k.url, mostRedirects, at)
}

// oneLine keeps what Join made from being several lines.
func oneLine(err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok && len(joined.Unwrap()) > 1 {
		var texts []string
		for _, e := range joined.Unwrap() {
			texts = append(texts, e.Error())
		}
		return errors.New(strings.Join(texts, "; "))
	}
	return err
}

// askLeader asks a master who leads; "": it does not say.
func (d *Driver) askLeader(ctx context.Context, master string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, d.config.AskTimeout)
	defer cancel()
	client, err := mesoswire.NewClient(mesoswire.Config{
		URL: master + "/redirect", TLS: d.tls(), Proxy: http.ProxyFromEnvironment, Timeout: d.config.AskTimeout,
	})
	if err != nil {
		return "", err
	}
	defer client.Close()
	code, location, err := client.Ask(ctx)
	switch {
	case err != nil:
		return "", fmt.Errorf("ask master %s for the leader: %w", master, err)
	case code == http.StatusServiceUnavailable:
		return "", fmt.Errorf("master %s knows no leader yet (503)", master)
	case code >= 300 && code < 400:
		return redirectTarget(master, location)
	}
	return "", nil
}

// elsewhere looks whether another master leads than the one at whose URL we are. It
// returns the other one's URL, or "".
//
// While events come (settled) ours is left only if it does not answer and the other
// one confirms that it leads. Before that, most masters have to name the other one.
func (d *Driver) elsewhere(ctx context.Context, masters []string, at string, settled bool) string {
	most := len(masters) / 2
	if !slices.Contains(masters, at) {
		masters = append(slices.Clone(masters), at)
	}
	votes := make(map[string]int)
	confirmed := make(map[string]bool)
	answered := false
	for a := range d.ask(ctx, masters) {
		if a.err != nil {
			continue
		}
		answered = answered || a.master == at
		votes[a.leader]++
		confirmed[a.leader] = confirmed[a.leader] || a.master == a.leader
	}
	if ctx.Err() != nil || settled && answered {
		return ""
	}
	for leader, n := range votes {
		switch {
		case leader == "" || leader == at:
		case !settled && n > votes[at] && n > most:
			return leader
		case settled && !confirmed[leader]:
			if says, err := d.askLeader(ctx, leader); err == nil && says == leader {
				return leader
			}
		case settled:
			return leader
		}
	}
	return ""
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
