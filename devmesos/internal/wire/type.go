package wire

import (
	"reflect"

	"github.com/gogo/protobuf/proto"
)

// typeField finds the field 'type' of a call.
func typeField(m proto.Message) (reflect.Value, field) {
	v := reflect.ValueOf(m).Elem()
	for _, f := range fieldsOf(v.Type()) {
		if f.name == "type" {
			return v.FieldByIndex(f.index), f
		}
	}
	return reflect.Value{}, field{}
}

func typeNumber(m proto.Message) int {
	_, f := typeField(m)
	return f.number
}

func isTypeName(m proto.Message, name string) bool {
	_, f := typeField(m)
	_, ok := enumNumber(f.enum, name)
	return ok
}

// hasKnownType says whether the value of 'type' has a name: proto2 in C++ treats a
// number without one as an unknown field, so that 'type' is unset.
func hasKnownType(m proto.Message) bool {
	v, _ := typeField(m)
	return v.IsValid() && enumName(v) != ""
}

// protoHasField says whether the wire form of a message has a field with that number.
// The bytes have been unmarshalled before, so they are well formed.
func protoHasField(b []byte, number int) bool {
	for len(b) > 0 {
		key, n := proto.DecodeVarint(b)
		if n == 0 {
			return false
		}
		if int(key>>3) == number {
			return true
		}
		b = b[n:]
		var skip uint64
		switch key & 7 {
		case proto.WireVarint:
			_, n := proto.DecodeVarint(b)
			skip = uint64(n)
			if n == 0 {
				return false
			}
		case proto.WireFixed64:
			skip = 8
		case proto.WireFixed32:
			skip = 4
		case proto.WireBytes:
			length, n := proto.DecodeVarint(b)
			if n == 0 {
				return false
			}
			skip = uint64(n) + length
		default:
			return false // groups do not occur in Mesos
		}
		if skip > uint64(len(b)) {
			return false
		}
		b = b[skip:]
	}
	return false
}

func fillLoosely(m proto.Message, tree any) error {
	object, _ := tree.(map[string]any)
	return fillStruct(reflect.ValueOf(m).Elem(), object)
}
