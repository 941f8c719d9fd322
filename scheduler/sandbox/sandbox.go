// Package sandbox reads files that executors wrote, through their agents' files API
// (/files/read, Mesos docs/endpoints/files/read.json.md).
//
//	r := sandbox.Reader{Client: client}
//	text, err := r.Tail(ctx, "http://10.0.0.7:5051", sandbox.Path(framework, executor, "stderr"), 2048)
//
// An agent that was started with --authenticate_http_readonly asks who reads: a Reader has
// a principal for that. What cannot be read for it is an *AccessError.
package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// Reader asks agents, and masters.
type Reader struct {
	// Client must not follow redirects, as the secret would go along.
	Client *http.Client
	// Principal and Secret authenticate by HTTP Basic; "": not.
	Principal, Secret string
}

// AccessError says that an agent or a master does not let a principal read.
type AccessError struct {
	Status, Principal string // Principal "": nobody was named
}

func (e *AccessError) Error() string {
	if e.Principal == "" {
		return e.Status + ": it asks who reads"
	}
	return fmt.Sprintf("%s: principal %q may not read this", e.Status, e.Principal)
}

const (
	// mostAnswer bounds an answer to Get in bytes: a list of all agents is long.
	mostAnswer = 256 << 20
	// quoted is how long a byte of a file may be in an answer, and around what all of it is
	// besides.
	quoted, around = 6, 4 << 10
	// patience is how long an answer may take.
	patience = 10 * time.Second
)

// Path is the name of a file that an executor's latest run wrote.
func Path(framework, executor, file string) string {
	return "/frameworks/" + framework + "/executors/" + executor + "/runs/latest/" + file
}

// Get reads a document.
func (r *Reader) Get(ctx context.Context, address string, v any) error {
	return r.get(ctx, address, mostAnswer, v)
}

func (r *Reader) get(ctx context.Context, address string, most int64, v any) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	if r.Principal != "" {
		request.SetBasicAuth(r.Principal, r.Secret)
	}
	resp, err := r.Client.Do(request)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusOK:
		return json.NewDecoder(io.LimitReader(resp.Body, most)).Decode(v)
	case http.StatusUnauthorized, http.StatusForbidden:
		return &AccessError{resp.Status, r.Principal}
	}
	return errors.New(resp.Status)
}

// Piece is a part of a file: bytes, and how many of the file they stand for.
type Piece struct {
	Bytes []byte
	Size  int
}

// Read reads up to length bytes of a file from an offset on, 64 KiB at most: no agent
// gives more at once. agent is the base of its URLs. No bytes: the file ends there.
func (r *Reader) Read(ctx context.Context, agent, path string, offset int64, length int) (Piece, error) {
	var reply struct {
		Data json.RawMessage `json:"data"`
	}
	q := url.Values{"path": {path}, "offset": {fmt.Sprint(offset)}, "length": {fmt.Sprint(length)}}
	if err := r.read(ctx, agent, q, length, &reply); err != nil {
		return Piece{}, err
	}
	return unquote(reply.Data)
}

// Tail reads the last bytes of a file, at most so many.
func (r *Reader) Tail(ctx context.Context, agent, path string, most int) ([]byte, error) {
	var end struct {
		Offset int64 `json:"offset"`
	}
	if err := r.read(ctx, agent, url.Values{"path": {path}, "offset": {"-1"}}, 0, &end); err != nil {
		return nil, err
	}
	p, err := r.Read(ctx, agent, path, max(0, end.Offset-int64(most)), most)
	return p.Bytes, err
}

func (r *Reader) read(ctx context.Context, agent string, q url.Values, most int, reply any) error {
	if err := r.get(ctx, agent+"/files/read?"+q.Encode(), int64(quoted*most+around), reply); err != nil {
		return fmt.Errorf("read the sandbox on %s: %w", agent, err)
	}
	return nil
}

// unquote reads a JSON string that holds a part of a file, which may begin and end in the
// middle of a character, where encoding/json would put other bytes than there are. A
// byte that is no part of one comes as it is, or as \ufffd.
func unquote(quoted []byte) (p Piece, err error) {
	bad := fmt.Errorf("%.40q is no string of JSON", quoted)
	if len(quoted) == 0 || string(quoted) == "null" {
		return p, nil
	}
	if len(quoted) < 2 || quoted[0] != '"' || quoted[len(quoted)-1] != '"' {
		return p, bad
	}
	for text := quoted[1 : len(quoted)-1]; len(text) > 0; {
		if text[0] != '\\' {
			p.Bytes, text = append(p.Bytes, text[0]), text[1:]
			p.Size++
			continue
		}
		if len(text) < 2 {
			return p, bad
		}
		if at := strings.IndexByte(`"\/bfnrt`, text[1]); at >= 0 {
			p.Bytes, text = append(p.Bytes, "\"\\/\b\f\n\r\t"[at]), text[2:]
			p.Size++
			continue
		}
		r, ok := escaped(text)
		if !ok {
			return p, bad
		}
		text = text[6:]
		switch low, ok := escaped(text); {
		case r == utf8.RuneError:
			p.Size++
		case utf16.IsSurrogate(r) && ok && utf16.DecodeRune(r, low) != utf8.RuneError:
			r, text = utf16.DecodeRune(r, low), text[6:]
			p.Size += utf8.RuneLen(r)
		default:
			p.Size += max(1, utf8.RuneLen(r))
		}
		p.Bytes = utf8.AppendRune(p.Bytes, r)
	}
	return p, nil
}

// escaped reads \uXXXX at the beginning of a text.
func escaped(text []byte) (rune, bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	return rune(n), err == nil
}
