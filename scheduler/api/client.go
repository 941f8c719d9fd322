package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// StatusPath is where a scheduler serves its Status.
const StatusPath = "/api/v1/status"

// LeaderHeader is set by a standby that redirects: the leader's URL, scheme and host.
const LeaderHeader = "Lode-Leader"

// Bounds of what a Client reads.
const (
	maxStatus   = 256 << 20
	answerTime  = 10 * time.Second
	mostHops    = 5
	mostMessage = 64 << 10
)

// Client talks to a scheduler. A standby sends it on to the leader.
type Client struct {
	base  string
	token string
	http  *http.Client
}

// DefaultPort is where a scheduler listens unless it is told otherwise.
const DefaultPort = "8650"

// NewClient returns a client of the scheduler at base: a URL, host:port, or a host, where
// the port is DefaultPort. Token "": none; tls nil: the system's certificates are trusted.
func NewClient(base, token string, config *tls.Config) (*Client, error) {
	full := base
	if !strings.Contains(full, "://") {
		full = "http://" + full
	}
	u, err := url.Parse(full)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%q is not a URL such as http://host:%s", base, DefaultPort)
	}
	switch {
	case u.User != nil:
		return nil, fmt.Errorf("%s: no user belongs into the URL; a token is in a file (--token-file) or LODE_TOKEN", u.Redacted())
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, fmt.Errorf("%q: want a URL such as http://host:%s, with nothing behind it", base, DefaultPort)
	}
	if full != base && u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), DefaultPort)
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, fmt.Errorf("%q: want a port of 1 to 65535", base)
		}
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = config
	c := &Client{base: strings.TrimSuffix(u.String(), "/"), token: token}
	c.http = &http.Client{Transport: transport, CheckRedirect: c.redirect}
	return c, nil
}

// redirect takes the token along to the leader, but never from https to http. That
// it is the leader a standby has to say on purpose, by LeaderHeader: any other redirect
// – of a proxy, of a page that took the scheduler's address – gets no token.
func (c *Client) redirect(r *http.Request, via []*http.Request) error {
	switch {
	case len(via) >= mostHops:
		return errors.New("the schedulers send each other in circles")
	case via[0].URL.Scheme == "https" && r.URL.Scheme != "https":
		return errors.New("a standby sends us from https to http")
	}
	if c.token == "" {
		return nil
	}
	if to := r.URL.Scheme + "://" + r.URL.Host; r.Response == nil || r.Response.Header.Get(LeaderHeader) != to {
		return fmt.Errorf("%s sends us to %s, but not as a standby does: the token is not sent there; "+
			"if that is the scheduler, name it (--scheduler)", via[len(via)-1].URL.Host, to)
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	return nil
}

// Error is a scheduler's refusal.
type Error struct {
	Status int // of HTTP
	Text   string
}

func (e *Error) Error() string { return e.Text }

// Document is what a scheduler answers with. mark is a name in it that there always is: what else
// answers at an address has other documents, or a page, at the same paths.
type Document interface{ mark() string }

func (*Status) mark() string  { return "framework_id" }
func (*Task) mark() string    { return "id" }
func (*Page[T]) mark() string { return "items" }
func (*Why) mark() string     { return "answer" }
func (*Upgrade) mark() string { return "state" }
func (*Outcome) mark() string { return "done" }

// Get reads a document into v, and refuses one that is not a scheduler's.
func (c *Client) Get(ctx context.Context, path string, v Document) error {
	return c.call(ctx, http.MethodGet, path, nil, v)
}

// Post sends a command and returns what became of it.
func (c *Client) Post(ctx context.Context, path string, command Command) (Outcome, error) {
	var o Outcome
	command.Op = ""
	return o, c.call(ctx, http.MethodPost, path, command, &o)
}

func (c *Client) call(ctx context.Context, method, path string, body any, v Document) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	resp, err := c.do(ctx, method, path, body, "application/json")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxStatus))
	if err != nil {
		return fmt.Errorf("the answer of the scheduler at %s breaks off: %w", c.base, err)
	}
	var names map[string]json.RawMessage
	if err := json.Unmarshal(text, &names); err != nil {
		return c.strange(errors.New("it is no JSON object"))
	}
	if _, ok := names[v.mark()]; !ok {
		if _, ok := names["extranonces"]; ok {
			return fmt.Errorf("at %s is a pool-proxy, no scheduler: its page is %[1]s/, its document %[1]s%s", c.base, StatusPath)
		}
		return c.strange(fmt.Errorf("there is no %q in it", v.mark()))
	}
	if err := json.Unmarshal(text, v); err != nil {
		return c.strange(err)
	}
	return nil
}

// strange is the error of an answer that no scheduler gives.
func (c *Client) strange(err error) error {
	return fmt.Errorf("what is at %s is no lode scheduler, or one of another version: its answer is none of one, %w", c.base, err)
}

func (c *Client) do(ctx context.Context, method, path string, body any, accept string) (*http.Response, error) {
	var data []byte
	if body != nil {
		var err error
		if data, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("scheduler %s: %w", c.base, err)
	}
	r.Header.Set("Accept", accept)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(r)
	if err != nil {
		var inner *url.Error
		if errors.As(err, &inner) {
			err = inner.Err
		}
		return nil, fmt.Errorf("no answer from the scheduler at %s: %w", c.base, err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	var refusal struct {
		Error string `json:"error"`
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, mostMessage))
	if json.Unmarshal(text, &refusal) == nil && refusal.Error != "" {
		return nil, &Error{resp.StatusCode, refusal.Error}
	}
	return nil, &Error{resp.StatusCode, fmt.Sprintf("scheduler at %s: %s; is it a lode scheduler?", c.base, resp.Status)}
}

// Events calls on with each event behind the one with the id after, until ctx ends or
// the connection does.
func (c *Client) Events(ctx context.Context, after, types string, on func(Event) error) error {
	q := url.Values{}
	if after != "" {
		q.Set("after", after)
	}
	if types != "" {
		q.Set("type", types)
	}
	resp, err := c.do(ctx, http.MethodGet, EventsPath+"?"+q.Encode(), nil, "application/x-ndjson")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	d := json.NewDecoder(resp.Body)
	for {
		var e Event
		err := d.Decode(&e)
		wrong, kind := new(json.SyntaxError), new(json.UnmarshalTypeError)
		switch {
		case errors.As(err, &wrong), errors.As(err, &kind):
			return c.strange(errors.New("it is no JSON object"))
		case err != nil:
			return fmt.Errorf("the scheduler's events end: %w", err)
		case e.Type == "":
			return c.strange(errors.New(`there is no "type" in it`))
		}
		if err := on(e); err != nil {
			return err
		}
	}
}

// Status reads the status.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	s := new(Status)
	if err := c.Get(ctx, StatusPath, s); err != nil {
		return nil, err
	}
	return s, nil
}

// Fetch gets the status of the scheduler at base, a URL or host:port.
func Fetch(ctx context.Context, base string) (*Status, error) {
	c, err := NewClient(base, "", nil)
	if err != nil {
		return nil, err
	}
	return c.Status(ctx)
}
