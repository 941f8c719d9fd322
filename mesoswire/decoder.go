package mesoswire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"strconv"
	"strings"

	"github.com/gogo/protobuf/proto"
)

// ErrWire says that bytes are not what protobuf makes, or would cost too much to decode.
var ErrWire = errors.New("bad protobuf")

const (
	// maxDepth is how deep messages and groups may be nested, as in Google's own decoders.
	maxDepth = 100
	// maxDecoded bounds the memory of a decoded message, in bytes: two bytes on the
	// wire can stand for a message of a kilobyte.
	maxDecoded = 256 << 20
)

// Decoder decodes messages of one type that come from somebody who may mean harm.
//
// mesos-go's generated code is of before gogo's repair of CVE-2021-3121: a length
// near 2^63 makes it panic, and nested groups or messages make it use up its stack,
// which ends the process. So lengths, depth and size are checked before it is let
// at the bytes. The check knows the type, because only by that a message can be told
// from a string.
type Decoder struct {
	shape *shape
	name  string
}

// shape is what the check must know of a message type.
type shape struct {
	size   int64 // of the Go value
	fields map[uint64]field
}

type field struct {
	message *shape // nil: not a message
	each    int64  // memory for each value, beside its bytes
}

// NewDecoder makes a Decoder for messages of the type of sample.
func NewDecoder(sample proto.Message) *Decoder {
	t := reflect.TypeOf(sample).Elem()
	return &Decoder{shape: shapeOf(t, make(map[reflect.Type]*shape)), name: t.String()}
}

// Decode decodes b into m, which must be of the Decoder's type and new. It keeps
// nothing of b.
func (d *Decoder) Decode(b []byte, m proto.Message) error {
	if err := d.Check(b); err != nil {
		return err
	}
	if err := proto.Unmarshal(b, m); err != nil {
		return fmt.Errorf("%w: %s of %d bytes: %w", ErrWire, d.name, len(b), err)
	}
	return nil
}

// Check says whether b may be decoded.
func (d *Decoder) Check(b []byte) error {
	c := checker{left: maxDecoded}
	if err := c.message(b, d.shape, 1); err != nil {
		return fmt.Errorf("%w: %s of %d bytes: %w", ErrWire, d.name, len(b), err)
	}
	return nil
}

// shapeOf reads the struct tags of a generated type. Types may contain themselves.
func shapeOf(t reflect.Type, known map[reflect.Type]*shape) *shape {
	if s := known[t]; s != nil {
		return s
	}
	s := &shape{size: int64(t.Size()), fields: make(map[uint64]field)}
	known[t] = s
	for i := range t.NumField() {
		f := t.Field(i)
		number, ok := fieldNumber(f.Tag.Get("protobuf"))
		if !ok {
			continue
		}
		s.fields[number] = fieldOf(f.Type, known)
	}
	return s
}

func fieldNumber(tag string) (uint64, bool) {
	parts := strings.Split(tag, ",")
	if len(parts) < 2 {
		return 0, false
	}
	n, err := strconv.ParseUint(parts[1], 10, 32)
	return n, err == nil
}

func fieldOf(t reflect.Type, known map[reflect.Type]*shape) field {
	f := field{}
	if t.Kind() == reflect.Map { // its entries are messages with key 1 and value 2
		entry := &shape{size: int64(t.Key().Size()+t.Elem().Size()) * 2, fields: make(map[uint64]field)}
		entry.fields[1], entry.fields[2] = fieldOf(t.Key(), known), fieldOf(t.Elem(), known)
		return field{message: entry}
	}
	if t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8 {
		t = t.Elem()
		f.each = int64(t.Size())
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() == reflect.Struct {
		f.message = shapeOf(t, known)
	}
	return f
}

// checker walks over the wire format (protobuf.dev/programming-guides/encoding). It
// takes no more than the generated code takes, so that the two never read the same
// bytes differently.
type checker struct{ left int64 }

func (c *checker) message(b []byte, s *shape, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("nested deeper than %d", maxDepth)
	}
	if err := c.spend(s.size); err != nil {
		return err
	}
	for len(b) > 0 {
		tag, rest, err := varint(b)
		if err != nil {
			return err
		}
		number, kind := tag>>3, tag&7
		if number == 0 || number > 1<<29-1 {
			return fmt.Errorf("field number %d", number)
		}
		f := s.fields[number]
		switch kind {
		case wireBytes:
			value, after, err := lengthDelimited(rest)
			if err != nil {
				return err
			}
			if f.message != nil {
				err = c.message(value, f.message, depth+1)
			} else {
				// A list of numbers may come as one value, a byte for each of them.
				err = c.spend(int64(len(value))*max(1, min(f.each, 8)) + f.each)
			}
			if err != nil {
				return err
			}
			b = after
		default:
			if err := c.spend(f.each); err != nil {
				return err
			}
			if b, err = skip(rest, number, kind, depth); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *checker) spend(n int64) error {
	if c.left -= n; c.left < 0 {
		return fmt.Errorf("it would take more than %d bytes of memory", maxDecoded)
	}
	return nil
}

// Wire types.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireGroup   = 3
	wireEnd     = 4
	wireFixed32 = 5
)

// skip returns what follows a value.
func skip(b []byte, number, kind uint64, depth int) ([]byte, error) {
	switch kind {
	case wireVarint:
		_, rest, err := varint(b)
		return rest, err
	case wireFixed64:
		return after(b, 8)
	case wireFixed32:
		return after(b, 4)
	case wireBytes:
		_, rest, err := lengthDelimited(b)
		return rest, err
	case wireGroup:
		return skipGroup(b, number, depth+1)
	}
	return nil, fmt.Errorf("wire type %d", kind)
}

func skipGroup(b []byte, number uint64, depth int) ([]byte, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxDepth)
	}
	for {
		tag, rest, err := varint(b)
		if err != nil {
			return nil, err
		}
		if tag&7 == wireEnd {
			if tag>>3 != number {
				return nil, fmt.Errorf("group %d ends as %d", number, tag>>3)
			}
			return rest, nil
		}
		if b, err = skip(rest, tag>>3, tag&7, depth); err != nil {
			return nil, err
		}
	}
}

func varint(b []byte) (uint64, []byte, error) {
	v, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, nil, errors.New("a number that does not end")
	}
	return v, b[n:], nil
}

func lengthDelimited(b []byte) (value, rest []byte, err error) {
	n, rest, err := varint(b)
	if err != nil {
		return nil, nil, err
	}
	if n > uint64(len(rest)) {
		return nil, nil, fmt.Errorf("a length of %d with %d bytes left", n, len(rest))
	}
	return rest[:n], rest[n:], nil
}

func after(b []byte, n int) ([]byte, error) {
	if n > len(b) {
		return nil, fmt.Errorf("%d bytes are missing", n-len(b))
	}
	return b[n:], nil
}

// Field is a field of a message.
type Field struct {
	Number uint64
	// Value of a field that has a length, such as a message; nil: it is of another kind.
	Value []byte
	// Raw are the bytes of the whole field. Those of several fields one after another
	// are a message again.
	Raw []byte
}

// Fields walks over the fields of a message, so that a long list can be decoded in
// parts. It ends after an error.
func Fields(b []byte) iter.Seq2[Field, error] {
	return func(yield func(Field, error) bool) {
		for len(b) > 0 {
			f, rest, err := cutField(b)
			if err != nil {
				yield(Field{}, fmt.Errorf("%w: %w", ErrWire, err))
				return
			}
			if !yield(f, nil) {
				return
			}
			b = rest
		}
	}
}

func cutField(b []byte) (f Field, rest []byte, err error) {
	tag, value, err := varint(b)
	if err != nil {
		return f, nil, err
	}
	if tag&7 == wireBytes {
		f.Value, rest, err = lengthDelimited(value)
	} else {
		rest, err = skip(value, tag>>3, tag&7, 1)
	}
	f.Number, f.Raw = tag>>3, b[:len(b)-len(rest)]
	return f, rest, err
}
