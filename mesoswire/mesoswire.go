// Package mesoswire is the wire to Mesos' v1 HTTP APIs, as a client sees it: calls are
// posted, events are followed. Schedulers and executors use it alike.
//
//	c := mesoswire.NewClient(mesoswire.Config{URL: "http://master:5050/api/v1/scheduler"})
//	stream, err := c.Subscribe(ctx, subscribe, 30*time.Second)
//	for err == nil {
//		event := new(scheduler.Event)
//		err = stream.Next(event)
//	}
//
// Other calls go by Client.Call, one at a time, or through a Pipe, which does not wait
// for one answer before it sends the next call.
//
// Nothing that a master or an agent sends is trusted: answers are bounded in length
// and time, and what is to be decoded is checked first (see Decoder), for the code
// that mesos-go's messages are decoded by panics on some wrong lengths.
//
// It speaks protobuf only. Sources: docs/scheduler-http-api.md,
// docs/executor-http-api.md and docs/recordio.md of Apache Mesos.
package mesoswire

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gogo/protobuf/proto"
)

// MediaType is that of calls and events. Masters and agents compare Content-Type with
// exactly this string.
const MediaType = "application/x-protobuf"

// StreamIDHeader names the subscription that a call to a master belongs to.
const StreamIDHeader = "Mesos-Stream-Id"

const (
	// maxHeader bounds the header of an answer, in bytes; those of Mesos have some
	// hundred.
	maxHeader = 64 << 10
	// maxText is how much of an error's text is read, in bytes.
	maxText = 4 << 10
	// maxRecord is the default of Config.MaxRecord.
	maxRecord = 16 << 20
)

// Config describes an API and the way to it.
type Config struct {
	// URL is that of the API, with its path.
	URL string
	// Authorization is the header of this name; "": none. It is secret.
	Authorization string
	UserAgent     string
	// TLS is for https; nil: the system's roots.
	TLS *tls.Config
	// Dial opens connections; nil: TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Proxy finds the HTTP proxy for a request; nil: there is none.
	Proxy func(*http.Request) (*url.URL, error)
	// Timeout bounds the making of a connection, TLS included, and the wait for the
	// header of an answer. 0: 10 s.
	Timeout time.Duration
	// MaxRecord bounds one record of a stream, in bytes. 0: 16 MiB.
	MaxRecord int
	// Transport carries requests out in place of all that, for tests. There are no
	// pipes with it.
	Transport http.RoundTripper
}

// Client speaks to one API. Its methods may be called from any goroutine.
type Client struct {
	config Config
	url    *url.URL
	http   *http.Client
	own    *http.Transport // nil: Config.Transport is used
}

// NewClient prepares a Client; nothing is sent.
func NewClient(config Config) (*Client, error) {
	u, err := url.Parse(config.URL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("%q is not the URL of an API, such as http://host:5050/api/v1/scheduler", config.URL)
	}
	if config.Timeout <= 0 {
		config.Timeout = 10 * time.Second
	}
	if config.MaxRecord <= 0 {
		config.MaxRecord = maxRecord
	}
	if config.Dial == nil {
		config.Dial = (&net.Dialer{Timeout: config.Timeout, KeepAlive: 15 * time.Second}).DialContext
	}
	c := &Client{config: config, url: u}
	transport := config.Transport
	if transport == nil {
		c.own = &http.Transport{
			Proxy:                  config.Proxy,
			DialContext:            config.Dial,
			TLSClientConfig:        config.TLS,
			TLSHandshakeTimeout:    config.Timeout,
			ResponseHeaderTimeout:  config.Timeout,
			MaxResponseHeaderBytes: maxHeader,
			IdleConnTimeout:        10 * time.Minute,
			MaxIdleConnsPerHost:    1,
			DisableCompression:     true,
			Protocols:              new(http.Protocols),
		}
		c.own.Protocols.SetHTTP1(true) // Mesos speaks no other
		transport = c.own
	}
	c.http = &http.Client{
		Transport: transport,
		// A client that is redirected in the middle of a subscription would send
		// later calls elsewhere: whoever calls decides.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// Close closes connections that no call uses.
func (c *Client) Close() {
	if c.own != nil {
		c.own.CloseIdleConnections()
	}
}

// Call makes a call and waits for its answer: nil, *StatusError, or what went wrong on
// the way. ctx should have a deadline.
func (c *Client) Call(ctx context.Context, call proto.Message) error {
	resp, err := c.post(ctx, call)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return answer(resp)
}

func (c *Client) post(ctx context.Context, call proto.Message) (*http.Response, error) {
	body, err := proto.Marshal(call)
	if err != nil {
		return nil, fmt.Errorf("encode call: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.config.URL, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	c.header(req.Header)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, trimURL(err)
	}
	return resp, nil
}

func (c *Client) header(h http.Header) {
	h.Set("Content-Type", MediaType)
	h.Set("Accept", MediaType)
	if c.config.UserAgent != "" {
		h.Set("User-Agent", c.config.UserAgent)
	}
	if c.config.Authorization != "" {
		h.Set("Authorization", c.config.Authorization)
	}
}

// StatusError is an answer that is not a success.
type StatusError struct {
	Code int
	// Text is what the answer says, in one line.
	Text string
	// Location is where a redirect leads, as it was sent.
	Location string
	// After is how long the answer asks to wait (Retry-After); 0: it does not say.
	After time.Duration
}

func (e *StatusError) Error() string {
	if e.Text == "" {
		return fmt.Sprintf("HTTP status %d", e.Code)
	}
	return fmt.Sprintf("HTTP status %d: %s", e.Code, e.Text)
}

// answer reads the answer to a call, as much of it as it needs.
func answer(resp *http.Response) error {
	if resp.StatusCode == http.StatusAccepted || resp.StatusCode == http.StatusOK {
		// What is left is nothing, from Mesos; reading it lets the connection be used again.
		_, _ = io.CopyN(io.Discard, resp.Body, maxText)
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxText)) // whatever of it there is
	e := &StatusError{Code: resp.StatusCode, Location: resp.Header.Get("Location")}
	e.Text = strings.Join(strings.Fields(strings.ToValidUTF8(string(text), "?")), " ")
	if strings.Contains(resp.Header.Get("Content-Type"), "html") {
		e.Text = "a page for people; is this a Mesos master or agent?"
	}
	if s, err := time.ParseDuration(resp.Header.Get("Retry-After") + "s"); err == nil && s > 0 {
		e.After = s
	}
	return e
}

// trimURL takes method and URL off an error of net/http: whoever calls says it better.
func trimURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// Ask makes a GET request that is answered by its status and perhaps a Location, and
// follows no redirect.
func (c *Client) Ask(ctx context.Context) (code int, location string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.config.URL, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, "", trimURL(err)
	}
	resp.Body.Close() // whatever it says, and however slowly
	return resp.StatusCode, resp.Header.Get("Location"), nil
}
