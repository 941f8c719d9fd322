package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// callTimeout bounds a call that is not a subscription.
const callTimeout = 30 * time.Second

// header is a list of headers to send. Nothing else is added but what HTTP itself
// needs: which headers are missing matters to Mesos.
type header = map[string]string

// answer is a complete HTTP answer.
type answer struct {
	Status int
	Header http.Header
	Body   string
}

func (a answer) String() string { return fmt.Sprintf("%d %.300q", a.Status, a.Body) }

// doc decodes a JSON body; nil if it is none.
func (a answer) doc() Doc {
	var d Doc
	if json.Unmarshal([]byte(a.Body), &d) != nil {
		return nil
	}
	return d
}

// client sends raw requests to a server of the cluster. It follows no redirects.
type client struct {
	http *http.Client
	base string // scheme://host:port
	auth func(*http.Request)
}

func newClient(base string, auth func(*http.Request)) *client {
	tr := http.DefaultTransport.(*http.Transport).Clone()
	tr.DisableCompression = true
	tr.Proxy = nil
	return &client{
		http: &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
		base: strings.TrimSuffix(base, "/"), auth: auth,
	}
}

func (cl *client) close() { cl.http.CloseIdleConnections() }

func (cl *client) open(ctx context.Context, method, path string, h header, body []byte) (*http.Response, error) {
	var r io.Reader
	if body != nil {
		r = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, cl.base+path, r)
	if err != nil {
		return nil, err
	}
	if cl.auth != nil {
		cl.auth(req)
	}
	req.Header.Set("User-Agent", "conformance")
	for k, v := range h {
		if v == "" {
			req.Header.Del(k)
			continue
		}
		req.Header.Set(k, v)
	}
	return cl.http.Do(req)
}

// send makes a request and reads the whole answer.
func (cl *client) send(ctx context.Context, method, path string, h header, body []byte) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := cl.open(ctx, method, path, h, body)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, fmt.Errorf("%s %s: answer %d: %w", method, path, resp.StatusCode, err)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}, nil
}

func (cl *client) get(ctx context.Context, path string) (answer, error) {
	return cl.send(ctx, http.MethodGet, path, nil, nil)
}

// postJSON posts a document as an operator would.
func (cl *client) postJSON(ctx context.Context, path string, d Doc) (answer, error) {
	b, err := json.Marshal(d)
	if err != nil {
		return answer{}, err
	}
	return cl.send(ctx, http.MethodPost, path, header{"Content-Type": string(JSON), "Accept": string(JSON)}, b)
}

func basicAuth(user, password string) func(*http.Request) {
	if user == "" {
		return nil
	}
	return func(r *http.Request) { r.SetBasicAuth(user, password) }
}
