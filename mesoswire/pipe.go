package mesoswire

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/gogo/protobuf/proto"
)

// Pipe is one connection on which calls are sent one after another without waiting
// for their answers, which come in the same order (pipelining, RFC 9112 §9.3.2). So
// calls keep their order, as with one at a time, and a distant master costs one
// round trip in place of one a call. Mesos' own client does the same.
//
// Send and Flush belong to one goroutine, Answer to another.
type Pipe struct {
	conn   net.Conn
	w      *bufio.Writer
	head   []byte // of every request, up to the number of its length
	length []byte // scratch

	in      *io.LimitedReader
	r       *bufio.Reader
	request *http.Request
	broken  error // no further answer can be read
}

// maxAnswer bounds an answer to a call in bytes, header and text.
const maxAnswer = maxHeader + maxText

// OpenPipe connects. streamID names the subscription that the calls belong to.
func (c *Client) OpenPipe(ctx context.Context, streamID string) (*Pipe, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	conn, proxied, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	p := &Pipe{conn: conn, w: bufio.NewWriterSize(conn, 32<<10), in: &io.LimitedReader{R: conn}}
	p.r = bufio.NewReaderSize(p.in, 32<<10)
	p.request = &http.Request{Method: http.MethodPost}
	target := c.url.RequestURI()
	h := make(http.Header)
	if proxied != nil {
		target = c.config.URL
		if proxied.User != nil {
			h.Set("Proxy-Authorization", proxyAuth(proxied.User))
		}
	}
	c.header(h)
	if streamID != "" {
		h.Set(StreamIDHeader, streamID)
	}
	var head bytes.Buffer
	fmt.Fprintf(&head, "POST %s HTTP/1.1\r\nHost: %s\r\n", target, c.url.Host)
	if err := h.Write(&head); err != nil {
		conn.Close()
		return nil, err
	}
	head.WriteString("Content-Length: ")
	p.head = head.Bytes()
	return p, nil
}

// dial connects to the API; proxied is the proxy that wants whole URLs, if any.
func (c *Client) dial(ctx context.Context) (conn net.Conn, proxied *url.URL, err error) {
	address, proxy := hostPort(c.url), (*url.URL)(nil)
	if c.config.Proxy != nil {
		if proxy, err = c.config.Proxy(&http.Request{URL: c.url}); err != nil {
			return nil, nil, fmt.Errorf("find HTTP proxy: %w", err)
		}
	}
	to := address
	if proxy != nil {
		if proxy.Scheme != "http" {
			return nil, nil, fmt.Errorf("proxy %s: only HTTP proxies can be used", proxy.Redacted())
		}
		to = hostPort(proxy)
	}
	if conn, err = c.config.Dial(ctx, "tcp", to); err != nil {
		return nil, nil, err
	}
	if c.url.Scheme != "https" {
		return conn, proxy, nil
	}
	secure, err := c.secure(ctx, conn, proxy, address)
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return secure, nil, nil
}

// secure makes a connection one of TLS, through a proxy if there is one.
func (c *Client) secure(ctx context.Context, conn net.Conn, proxy *url.URL, address string) (net.Conn, error) {
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	if proxy != nil {
		if err := tunnel(conn, address, proxy.User); err != nil {
			return nil, fmt.Errorf("proxy %s: %w", proxy.Redacted(), err)
		}
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.config.TLS != nil {
		config = c.config.TLS.Clone()
	}
	if config.ServerName == "" {
		config.ServerName = c.url.Hostname()
	}
	secure := tls.Client(conn, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return secure, conn.SetDeadline(time.Time{})
}

// tunnel asks an HTTP proxy for a connection.
func tunnel(conn net.Conn, address string, user *url.Userinfo) error {
	auth := ""
	if user != nil {
		auth = "Proxy-Authorization: " + proxyAuth(user) + "\r\n"
	}
	if _, err := fmt.Fprintf(conn, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", address, address, auth); err != nil {
		return err
	}
	// Byte by byte: what follows the header is TLS, and not of this reader.
	r := bufio.NewReaderSize(io.LimitReader(oneByte{conn}, maxHeader), 16)
	resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
	if err != nil {
		return unexpected(err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("HTTP status %s", resp.Status)
	}
	return nil
}

type oneByte struct{ r io.Reader }

func (o oneByte) Read(b []byte) (int, error) { return o.r.Read(b[:min(1, len(b))]) }

func proxyAuth(user *url.Userinfo) string {
	password, _ := user.Password()
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password))
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// Send puts a call on its way; Flush, or the size of the buffer, sends it off.
func (p *Pipe) Send(call proto.Message) error {
	body, err := proto.Marshal(call)
	if err != nil {
		return fmt.Errorf("encode call: %w", err)
	}
	p.length = strconv.AppendInt(p.length[:0], int64(len(body)), 10)
	for _, part := range [][]byte{p.head, p.length, []byte("\r\n\r\n"), body} {
		if _, err := p.w.Write(part); err != nil {
			return err
		}
	}
	return nil
}

// Flush sends off what Send left in the buffer.
func (p *Pipe) Flush() error { return p.w.Flush() }

// Answer waits for the answer to the oldest call that has none: nil, *StatusError, or
// an error of the connection, on which nothing more will come then.
func (p *Pipe) Answer() error {
	if p.broken != nil {
		return p.broken
	}
	p.in.N = maxAnswer
	resp, err := http.ReadResponse(p.r, p.request)
	for err == nil && resp.StatusCode < 200 { // "wait", and nobody asked
		resp, err = http.ReadResponse(p.r, p.request)
	}
	if err == nil {
		err = answer(resp)
		// An end that is not reached soon is not waited for.
		if n, drained := io.CopyN(io.Discard, resp.Body, maxText); drained != io.EOF {
			p.broken = fmt.Errorf("an answer of more than %d bytes", n)
		} else if resp.Close {
			p.broken = errors.New("the connection was closed after an answer")
		}
		return err
	}
	if p.in.N <= 0 {
		err = fmt.Errorf("an answer with a header of more than %d bytes", maxHeader)
	}
	p.broken = unexpected(err)
	return p.broken
}

// SetReadDeadline bounds Answer, SetWriteDeadline Send and Flush.
func (p *Pipe) SetReadDeadline(t time.Time) error { return p.conn.SetReadDeadline(t) }

// SetWriteDeadline bounds Send and Flush.
func (p *Pipe) SetWriteDeadline(t time.Time) error { return p.conn.SetWriteDeadline(t) }

// Close closes the connection; Send and Answer fail then.
func (p *Pipe) Close() { _ = p.conn.Close() }
