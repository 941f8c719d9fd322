package agent

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
)

var recordedToken = regexp.MustCompile(`JWT\(([^.]+\.[^.]+)\.SIGNATURE_REDACTED\)`)

// sign makes a recorded token whole again.
func (p *player) sign(text string) string {
	return recordedToken.ReplaceAllStringFunc(text, func(m string) string {
		signed := recordedToken.FindStringSubmatch(m)[1]
		mac := hmac.New(sha256.New, p.secret)
		mac.Write([]byte(signed))
		return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	})
}

func (p *player) post(method, path string, headers map[string]string, body string) (*http.Response, error) {
	r, err := http.NewRequest(method, "http://"+p.agent.Endpoint()+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	for name, value := range headers {
		r.Header.Set(name, p.sign(value))
	}
	return (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
}

// request is one that the recorder made itself.
func (p *player) request(e entry) bool {
	body := string(e.Body)
	var text string
	if json.Unmarshal(e.Body, &text) == nil {
		body = text
	}
	if e.Path == "/help" {
		p.answer = nil
		return true
	}
	p.lastPath = e.Path
	answer, err := p.post(e.Method, p.replace.Replace(e.Path), e.Headers, p.replace.Replace(body))
	if err != nil {
		p.Error(err)
		return false
	}
	p.answer = answer
	return true
}

func rawBody(e entry) string {
	var body struct {
		Raw string `json:"raw"`
	}
	if e.Dir != "response" || json.Unmarshal(e.Body, &body) != nil {
		return ""
	}
	return body.Raw
}

func (p *player) response(e entry) bool {
	answer := p.answer
	p.Cleanup(func() { answer.Body.Close() })
	if raw := rawBody(e); raw != "" {
		return p.rawStream(raw)
	}
	body, err := io.ReadAll(p.answer.Body)
	if err != nil {
		p.Error(err)
	}
	if p.answer.StatusCode != e.Status {
		p.Errorf("status is %d %s, want %s", p.answer.StatusCode, body, e)
	}
	if len(e.Body) > 0 && e.Body[0] != '"' {
		delete(e.Headers, "Content-Length")
		p.shape(p.lastPath, body, e.Body)
	} else if strings.HasPrefix(p.lastPath, "/files/") {
		delete(e.Headers, "Content-Length")
	}
	for name, want := range e.Headers {
		if got := p.answer.Header.Get(name); got != want {
			p.Errorf("header %s is %q, want %q: %s", name, got, want, e)
		}
	}
	if text := ""; json.Unmarshal(e.Body, &text) == nil && string(body) != text && !strings.HasSuffix(text, "bytes left out)") && !strings.HasPrefix(text, "cb(") {
		p.Errorf("body is %q, want %s", body, e)
	}
	return true
}

// rawStream compares the records of a stream that the recorder read; how many there were is known.
func (p *player) rawStream(raw string) bool {
	_, chunks, _ := strings.Cut(raw, "\r\n\r\n")
	records := bufio.NewReader(p.answer.Body)
	for want := range chunkedRecords(chunks) {
		got, err := readRecord(records)
		if err != nil {
			p.Errorf("stream: %v, want %s", err, want)
			return false
		}
		p.same("record", got, want)
	}
	return true
}

// chunkedRecords reads RecordIO out of a chunked body, one record a chunk. Lengths of records are those
// before names were replaced in the trace, so chunk borders are searched.
func chunkedRecords(chunks string) func(yield func([]byte) bool) {
	record := regexp.MustCompile(`[0-9a-f]+\r\n[0-9]+\n(\{.*?\})\r\n`)
	return func(yield func([]byte) bool) {
		for _, m := range record.FindAllStringSubmatch(chunks, -1) {
			if !yield([]byte(m[1])) {
				return
			}
		}
	}
}
