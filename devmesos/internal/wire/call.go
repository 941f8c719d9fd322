package wire

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/gogo/protobuf/proto"
)

// maxBody bounds a request's body in bytes; Mesos itself has no bound.
const maxBody = 256 << 20

// Refusal is an answer that ends a request: a status and the text that Mesos gives.
type Refusal struct {
	Status int
	Body   string
	Header http.Header // further headers, may be nil
}

func (r *Refusal) Error() string { return fmt.Sprintf("%d %s", r.Status, r.Body) }

// Refuse makes a refusal with a text.
func Refuse(status int, format string, args ...any) *Refusal {
	return &Refusal{Status: status, Body: fmt.Sprintf(format, args...)}
}

// Write sends the refusal.
func (r *Refusal) Write(w http.ResponseWriter) {
	for key, values := range r.Header {
		w.Header()[key] = values
	}
	WriteText(w, r.Status, r.Body)
}

// WriteText answers with a text as Mesos does; without one the body is empty.
func WriteText(w http.ResponseWriter, status int, body string) {
	if body != "" {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	io.WriteString(w, body) //nolint:errcheck // the client is gone, nobody is left to tell
}

// MethodNotAllowed refuses a method other than those allowed.
func MethodNotAllowed(r *http.Request, allowed ...string) *Refusal {
	return &Refusal{
		Status: http.StatusMethodNotAllowed,
		Body: fmt.Sprintf("405 Method Not Allowed. Expecting one of { '%s' }, but received '%s'.",
			strings.Join(allowed, "', '"), r.Method),
		Header: http.Header{"Allow": {strings.Join(allowed, ", ")}},
	}
}

// Call is the body of a request that could be read.
type Call struct {
	Codec   Codec
	HasType bool // the field 'type' is present and names a type that is known

	body []byte
	tree any // of a JSON body
}

// ReadCall reads a call from a POST into m. The checks and their order are those of
// Mesos: method, presence of Content-Type, its exact value, the body. The refusal is
// nil if all is well; what the call says is not validated here.
func ReadCall(r *http.Request, m proto.Message) (*Call, *Refusal) {
	if r.Method != http.MethodPost {
		return nil, MethodNotAllowed(r, http.MethodPost)
	}
	// The map and not Get: an empty header is there, though of no use.
	contentType, ok := r.Header["Content-Type"]
	if !ok {
		return nil, Refuse(http.StatusBadRequest, "Expecting 'Content-Type' to be present")
	}
	c := new(Call)
	switch contentType[0] {
	case JSON.mediaType:
		c.Codec = JSON
	case Protobuf.mediaType:
		c.Codec = Protobuf
	default:
		return nil, Refuse(http.StatusUnsupportedMediaType, "Expecting 'Content-Type' of %s or %s", JSON.mediaType, Protobuf.mediaType)
	}
	var refusal *Refusal
	if c.body, refusal = readBody(r); refusal != nil {
		return nil, refusal
	}
	if refusal := c.decode(m); refusal != nil {
		return nil, refusal
	}
	return c, nil
}

func readBody(r *http.Request) ([]byte, *Refusal) {
	body := io.Reader(http.MaxBytesReader(nil, r.Body, maxBody))
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(body)
		if err != nil {
			return nil, Refuse(http.StatusBadRequest, "Failed to decode the body: %v", err)
		}
		body = io.LimitReader(z, maxBody)
	}
	b, err := io.ReadAll(body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, Refuse(http.StatusRequestEntityTooLarge, "The body has more than %d bytes", maxBody)
	case err != nil:
		return nil, Refuse(http.StatusBadRequest, "Failed to read the body: %v", err)
	}
	return b, nil
}

func (c *Call) decode(m proto.Message) *Refusal {
	if c.Codec == Protobuf {
		if err := proto.Unmarshal(c.body, m); err != nil {
			return Refuse(http.StatusBadRequest, "Failed to parse body into Call protobuf")
		}
		c.HasType = hasKnownType(m) && protoHasField(c.body, typeNumber(m))
		return nil
	}
	tree, err := parseJSON(c.body)
	if err != nil {
		return Refuse(http.StatusBadRequest, "Failed to parse body into JSON: %v", err)
	}
	if err := fillMessage(m, tree); err != nil {
		return Refuse(http.StatusBadRequest, "Failed to convert JSON into Call protobuf: %v", err)
	}
	c.tree = tree
	name, _ := tree.(map[string]any)["type"].(string)
	c.HasType = isTypeName(m, name)
	return nil
}

// Also decodes the same body into another message, which may name fields that
// mesos-go's types lack. Required fields of it are not checked.
func (c *Call) Also(m proto.Message) error {
	if c.Codec == Protobuf {
		return proto.Unmarshal(c.body, m)
	}
	return fillLoosely(m, c.tree)
}
