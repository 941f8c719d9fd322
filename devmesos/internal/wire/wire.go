// Package wire is the form in which Mesos' v1 HTTP APIs travel: the two encodings of
// calls and events, the choice between them, the answers to calls that cannot be
// read, and streams of RecordIO records. Master and agent both use it.
//
// Start with ReadCall for a request's body, Accept for the encoding of what goes
// back, and Stream for an answer that does not end.
//
// The JSON here is the JSON of a real master (recorded from version 1.11), not that
// of mesos-go's generated ffjson code: unknown fields are ignored, null means unset,
// an enum that has no such name is unset, bytes are base64, doubles have a point,
// and fields that are not set are left out unless the proto file gives a default.
package wire

import (
	"fmt"

	"github.com/gogo/protobuf/proto"
)

// Codec is one of the two encodings.
type Codec struct{ mediaType string }

// The encodings, named by their media types.
var (
	JSON     = Codec{"application/json"}
	Protobuf = Codec{"application/x-protobuf"}
)

// MediaType is what Content-Type says.
func (c Codec) MediaType() string { return c.mediaType }

// Marshal encodes a message.
func (c Codec) Marshal(m proto.Message) ([]byte, error) {
	if c == JSON {
		return AppendJSON(nil, m), nil
	}
	b, err := proto.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", m, err)
	}
	return b, nil
}

// Unmarshal decodes a message. Errors of the JSON form are worded as Mesos words them.
func (c Codec) Unmarshal(b []byte, m proto.Message) error {
	if c == JSON {
		tree, err := parseJSON(b)
		if err != nil {
			return err
		}
		return fillMessage(m, tree)
	}
	if err := proto.Unmarshal(b, m); err != nil {
		return fmt.Errorf("decode %T: %w", m, err)
	}
	return nil
}

// UnmarshalList decodes a JSON list of messages.
func UnmarshalList[T any, P interface {
	*T
	proto.Message
}](b []byte) ([]T, error) {
	tree, err := parseJSON(b)
	if err != nil {
		return nil, err
	}
	values, ok := tree.([]any)
	if !ok {
		return nil, mesosErrorf("Expecting a JSON array")
	}
	list := make([]T, len(values))
	for i, value := range values {
		if err := fillMessage(P(&list[i]), value); err != nil {
			return nil, err
		}
	}
	return list, nil
}
