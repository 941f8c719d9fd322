// Package node talks to a Bitcoin node, Bitcoin Core or btcd, over JSON-RPC: work by
// getblocktemplate, found blocks by submitblock, notice of new blocks by whatever the
// node offers (longpoll, websocket, ZMQ, polling).
//
// Start with New and Node.Identify; Node.Watch delivers templates until its context
// ends, Node.Submit and Node.Header serve found blocks.
package node

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of replies. A template of a full block has 13 MB at worst: 4 MB of weight in
// hexadecimal, and 16,000 transactions with 250 bytes of names each. All else is small.
const (
	maxTemplate = 24 << 20
	maxReply    = 1 << 20
	maxHeader   = 64 << 10
	// bodyTimeout bounds the time from the header of a reply to its end: that of a
	// longpoll has no other bound.
	bodyTimeout = 30 * time.Second
)

// Core closes idle connections after 30 s; ours are given up before that, so that a
// request never meets a connection that the node is just closing.
const idleTimeout = 20 * time.Second

// Credentials are the ways to log in, in the order of precedence CookieFile,
// PasswordFile, Password. Files are read at the first use and after each refusal.
type Credentials struct {
	User, Password string
	PasswordFile   string // holds the password of User
	CookieFile     string // holds user:password, as Bitcoin Core writes it at each start
}

func (c Credentials) read() (user, password string, err error) {
	switch {
	case c.CookieFile != "":
		text, err := os.ReadFile(c.CookieFile)
		if err != nil {
			return "", "", fmt.Errorf("cookie file: %w (the node writes it at its start: is it running, and may this user read the file?)", err)
		}
		user, password, ok := strings.Cut(strings.TrimSpace(string(text)), ":")
		if !ok {
			return "", "", fmt.Errorf("cookie file %s: no colon in it, want user:password", c.CookieFile)
		}
		return user, password, nil
	case c.PasswordFile != "":
		text, err := os.ReadFile(c.PasswordFile)
		if err != nil {
			return "", "", fmt.Errorf("password file: %w", err)
		}
		return c.User, strings.TrimRight(string(text), "\r\n"), nil
	default:
		return c.User, c.Password, nil
	}
}

// client makes JSON-RPC calls.
type client struct {
	url         string // without credentials
	credentials Credentials
	http        *http.Client // without timeout: contexts bound the calls
	// alone has a connection for each call. One that lay idle may be dead, and nobody knows:
	// that would hold up a block.
	alone       *http.Client
	lastID      atomic.Uint64
	bodyTimeout time.Duration

	mu             sync.Mutex // guards the rest
	loaded         bool
	user, password string
}

func newClient(address string, credentials Credentials, roots *x509.CertPool) *client {
	dialer := &net.Dialer{
		Timeout: 5 * time.Second,
		// A longpoll may last for hours: a dead peer must be noticed by the kernel.
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 20 * time.Second, Interval: 10 * time.Second, Count: 3},
	}
	kept := &http.Transport{
		DialContext:         dialer.DialContext,
		TLSClientConfig:     &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: 5 * time.Second,
		IdleConnTimeout:     idleTimeout,
		MaxIdleConnsPerHost: 4,
		// A few kilobytes could stand for gigabytes.
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeader,
	}
	single := kept.Clone()
	single.DisableKeepAlives = true
	return &client{
		url:         address,
		credentials: credentials,
		bodyTimeout: bodyTimeout,
		http:        &http.Client{Transport: kept, CheckRedirect: stay},
		alone:       &http.Client{Transport: single, CheckRedirect: stay},
	}
}

// stay follows no redirect.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

func (c *client) close() { c.http.CloseIdleConnections() }

// login returns user and password; again reads files anew.
func (c *client) login(again bool) (user, password string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.loaded || again {
		if c.user, c.password, err = c.credentials.read(); err != nil {
			return "", "", err
		}
		c.loaded = true
	}
	return c.user, c.password, nil
}

// call makes one call and decodes its result into result (nil: dropped). params must
// not be nil: btcd wants the member.
func (c *client) call(ctx context.Context, method string, params []any, result any) error {
	reply, err := c.exchange(ctx, method, params)
	if err != nil {
		return err
	}
	return c.decode(method, reply, result)
}

// exchange makes one call, and a second one where a renewed cookie may help.
func (c *client) exchange(ctx context.Context, method string, params []any) (httpReply, error) {
	reply, err := c.post(ctx, method, params, false)
	if err == nil && reply.status == http.StatusUnauthorized && (c.credentials.CookieFile != "" || c.credentials.PasswordFile != "") {
		// Core writes a new cookie at each start.
		reply, err = c.post(ctx, method, params, true)
	}
	if err != nil {
		return reply, fmt.Errorf("node %s: %s: %w", c.url, method, err)
	}
	return reply, nil
}

// decode reads the result of a reply into result (nil: dropped).
func (c *client) decode(method string, reply httpReply, result any) error {
	raw, err := reply.result()
	if err != nil {
		return fmt.Errorf("node %s: %s: %w", c.url, method, err)
	}
	if result == nil {
		return nil
	}
	switch target := result.(type) {
	case *json.RawMessage:
		*target = raw
		return nil
	case **string, *any: // which may be null
	default:
		if string(raw) == "null" {
			return fmt.Errorf("node %s: %s: it has no result", c.url, method)
		}
	}
	if err := json.Unmarshal(raw, result); err != nil {
		return fmt.Errorf("node %s: %s: unexpected result %.80q: %w", c.url, method, raw, err)
	}
	return nil
}

// httpReply is what the node answered, whatever it is.
type httpReply struct {
	status int
	body   []byte
	user   string // that asked
	moved  string // where it says that it is; "": here
}

func (c *client) post(ctx context.Context, method string, params []any, reread bool) (httpReply, error) {
	user, password, err := c.login(reread)
	if err != nil {
		return httpReply{}, err
	}
	body, length, err := question(c.lastID.Add(1), method, params)
	if err != nil {
		return httpReply{}, err
	}
	callCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	request, err := http.NewRequestWithContext(callCtx, http.MethodPost, c.url, body)
	if err != nil {
		return httpReply{}, err
	}
	request.ContentLength = length
	request.Header.Set("Content-Type", "application/json")
	// Every call of this package may be made twice; with this mark (which is not
	// sent) net/http repeats one that met a closing connection.
	request.Header["X-Idempotency-Key"] = nil
	if user != "" || password != "" {
		request.SetBasicAuth(user, password)
	}
	way := c.http
	if method == submitMethod {
		way = c.alone
	}
	response, err := way.Do(request)
	if err != nil {
		return httpReply{}, transportError(ctx, err)
	}
	late := time.AfterFunc(c.bodyTimeout, cancel)
	defer late.Stop()
	defer func() { _ = response.Body.Close() }()
	most := int64(maxReply)
	if method == templateMethod {
		most = maxTemplate
	}
	text, err := readBody(response, most)
	if err != nil && callCtx.Err() != nil && ctx.Err() == nil {
		return httpReply{}, fmt.Errorf("%w: its reply did not end within %v", ErrUnreachable, c.bodyTimeout)
	}
	if err != nil {
		return httpReply{}, transportError(ctx, err)
	}
	return httpReply{response.StatusCode, text, user, response.Header.Get("Location")}, nil
}

// digits are bytes that are sent in hexadecimal.
type digits []byte

func (d digits) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, d), nil }

// largeBlock is from how many bytes on a block becomes digits as it is sent: one of 4 MB would
// take 40 MB for each node else, at the moment when least may go wrong. What is known at once
// net/http sends in one piece, which is kinder to who answers before the end and hangs up.
const largeBlock = 64 << 10

// question is the body of a call. A block is its first parameter.
func question(id uint64, method string, params []any) (body io.Reader, length int64, err error) {
	var block digits
	if len(params) > 0 {
		block, _ = params[0].(digits)
	}
	isLarge := len(block) >= largeBlock
	if isLarge {
		params = append([]any{""}, params[1:]...)
	}
	text, err := json.Marshal(struct {
		Version string `json:"jsonrpc"`
		ID      uint64 `json:"id"`
		Method  string `json:"method"`
		Params  []any  `json:"params"`
	}{"1.0", id, method, params})
	if err != nil || !isLarge {
		return bytes.NewReader(text), int64(len(text)), err
	}
	const begin = `"params":["`
	end := bytes.Index(text, []byte(begin)) + len(begin)
	return io.MultiReader(bytes.NewReader(text[:end]), &hexReader{block}, bytes.NewReader(text[end:])), int64(len(text) + hex.EncodedLen(len(block))), nil
}

// hexReader reads what is left as hexadecimal digits.
type hexReader struct{ left []byte }

func (r *hexReader) Read(p []byte) (int, error) {
	if len(r.left) == 0 {
		return 0, io.EOF
	}
	n := min(len(p)/2, len(r.left))
	hex.Encode(p, r.left[:n])
	r.left = r.left[n:]
	return 2 * n, nil
}

// readBody reads a body of at most that many bytes. A template is megabytes: where its
// length is known, it is read to where it stays.
func readBody(response *http.Response, most int64) ([]byte, error) {
	length := response.ContentLength
	if encoding := response.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return nil, fmt.Errorf("a reply in encoding %.20q, which was not asked for", encoding)
	}
	if length > most {
		return nil, fmt.Errorf("a reply of %d bytes, at most %d are taken", length, most)
	}
	if length < 0 {
		text, err := io.ReadAll(io.LimitReader(response.Body, most+1))
		if err == nil && int64(len(text)) > most {
			err = fmt.Errorf("a reply of more than %d bytes", most)
		}
		return text, err
	}
	text := make([]byte, length)
	_, err := io.ReadFull(response.Body, text)
	return text, err
}

// result takes the result out of a reply. Errors come with any status: 500, 404
// and 400 from Core's JSON-RPC 1.0, 200 from others, and texts that are no JSON.
func (r *httpReply) result() (json.RawMessage, error) {
	var reply struct {
		Result json.RawMessage `json:"result"`
		Error  json.RawMessage `json:"error"`
		ID     json.RawMessage `json:"id"`
	}
	status, text, user := r.status, r.body, r.user
	isJSON := json.Unmarshal(text, &reply) == nil
	if isJSON {
		if err := readError(reply.Error); err != nil {
			return nil, err
		}
	}
	switch {
	case isJSON && status == http.StatusOK && reply.Result != nil:
		return reply.Result, nil
	case isJSON && status == http.StatusOK && reply.ID != nil: // a result of null may be left out
		return json.RawMessage("null"), nil
	case status == http.StatusUnauthorized:
		return nil, fmt.Errorf("%w (user %q): check the node's user and password", ErrUnauthorized, user)
	case status == http.StatusForbidden:
		return nil, fmt.Errorf("%w (user %q): the node allows this user or address less (rpcwhitelist, rpcallowip)", ErrForbidden, user)
	case status == http.StatusServiceUnavailable:
		if bytes.HasPrefix(text, []byte("<")) { // a page that says no more than the status
			return nil, fmt.Errorf("%w, or ending (HTTP status %d)", ErrBusy, status)
		}
		return nil, fmt.Errorf("%w: %s", ErrBusy, firstLine(text))
	case bytes.Contains(text, []byte("HTTP request to an HTTPS server")):
		return nil, errors.New("the node speaks TLS: write https:// in its address")
	case status >= 300 && status < 400 && r.moved != "":
		return nil, fmt.Errorf("HTTP status %d: it sends callers to %.120q: give that address if it is the node's", status, r.moved)
	case len(text) == 0:
		return nil, fmt.Errorf("HTTP status %d with an empty body", status)
	default:
		return nil, fmt.Errorf("HTTP status %d, not a JSON-RPC reply: %q (is this the address of a node's RPC server?)", status, firstLine(text))
	}
}

// readError reads the error member of a reply, which others than Bitcoin Core may have as
// words alone, or as something that stands for none.
func readError(raw json.RawMessage) error {
	e := new(RPCError)
	switch string(raw) {
	case "", "null", "false", `""`, "{}", "0":
		return nil
	}
	if json.Unmarshal(raw, e) == nil {
		return e
	}
	if json.Unmarshal(raw, &e.Message) != nil {
		e.Message = string(raw)
	}
	return e
}

func firstLine(text []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(text), []byte("\n"))
	if len(line) > 120 {
		line = line[:120]
	}
	return string(line)
}

// splitURL takes credentials out of an address, so that it can be shown.
func splitURL(address string) (*url.URL, *url.Userinfo, error) {
	u, err := url.Parse(address)
	if err != nil {
		// The parser's message would repeat the address with its password.
		return nil, nil, errors.New("node address: not a URL, want http://host:port or https://host:port")
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, nil, errors.New("node address: want http://host:port or https://host:port")
	}
	user := u.User
	u.User = nil
	if u.Path == "" {
		u.Path = "/"
	}
	return u, user, nil
}
