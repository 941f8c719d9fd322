package wire

import (
	"encoding/base64"
	"fmt"
	"math"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"unicode/utf8"
)

// AppendJSON appends v in Mesos' JSON form: a protobuf message, or a struct with json
// tags, map, slice or plain value that contains such. It panics on types that have no
// JSON form, which is a mistake of the program and not of its input.
func AppendJSON(b []byte, v any) []byte {
	return appendValue(b, reflect.ValueOf(v))
}

// Merged is written as one object with the fields of all its parts, structs or maps.
type Merged []any

func appendMerged(b []byte, parts reflect.Value) []byte {
	b = append(b, '{')
	for i := range parts.Len() {
		object := appendValue(nil, parts.Index(i))
		fields := object[1 : len(object)-1]
		if len(fields) > 0 && b[len(b)-1] != '{' {
			b = append(b, ',')
		}
		b = append(b, fields...)
	}
	return append(b, '}')
}

func appendValue(b []byte, v reflect.Value) []byte {
	switch v.Kind() {
	case reflect.Invalid:
		return append(b, "null"...)
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return append(b, "null"...)
		}
		return appendValue(b, v.Elem())
	case reflect.Struct:
		return appendStruct(b, v)
	case reflect.Map:
		return appendMap(b, v)
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[Merged]() {
			return appendMerged(b, v)
		}
		if v.Type().Elem().Kind() == reflect.Uint8 {
			b = append(b, '"')
			b = base64.StdEncoding.AppendEncode(b, v.Bytes())
			return append(b, '"')
		}
		b = append(b, '[')
		for i := range v.Len() {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendValue(b, v.Index(i))
		}
		return append(b, ']')
	case reflect.String:
		return appendString(b, v.String())
	case reflect.Bool:
		return strconv.AppendBool(b, v.Bool())
	case reflect.Int32:
		if _, ok := v.Interface().(fmt.Stringer); ok {
			if name := enumName(v); name != "" {
				return appendString(b, name)
			}
		}
		return strconv.AppendInt(b, v.Int(), 10)
	case reflect.Int, reflect.Int64, reflect.Int16, reflect.Int8:
		return strconv.AppendInt(b, v.Int(), 10)
	case reflect.Uint, reflect.Uint64, reflect.Uint32, reflect.Uint16, reflect.Uint8:
		return strconv.AppendUint(b, v.Uint(), 10)
	case reflect.Float64, reflect.Float32:
		return appendDouble(b, v.Float())
	default:
		panic(fmt.Sprintf("wire: %s has no JSON form", v.Type()))
	}
}

func appendStruct(b []byte, v reflect.Value) []byte {
	b = append(b, '{')
	first := true
	for _, f := range fieldsOf(v.Type()) {
		fv := v.FieldByIndex(f.index)
		shown := !f.omit || isSet(f, fv)
		if !shown && f.value == "" {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = appendString(b, f.name)
		b = append(b, ':')
		if shown {
			b = appendValue(b, fv)
		} else {
			b = appendDefault(b, f, fv.Type().Elem())
		}
	}
	return append(b, '}')
}

// isSet says whether a field has been given a value. Messages that the generated
// code holds by value are always there; so are required fields. Enums by value are
// all of the kind whose zero is UNKNOWN.
func isSet(f field, v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		return !v.IsNil()
	case reflect.Slice, reflect.Map:
		if v.Kind() == reflect.Slice && !f.repeated && f.number > 0 {
			return f.required || !v.IsNil()
		}
		return v.Len() > 0
	case reflect.Struct:
		return true
	default:
		return f.required || !v.IsZero()
	}
}

func appendDefault(b []byte, f field, t reflect.Type) []byte {
	switch {
	case f.enum != "":
		n, _ := strconv.ParseInt(f.value, 10, 32)
		v := reflect.New(t).Elem()
		v.SetInt(n)
		return appendValue(b, v)
	case t.Kind() == reflect.Bool:
		return strconv.AppendBool(b, f.value == "1")
	case t.Kind() == reflect.Float64:
		d, _ := strconv.ParseFloat(f.value, 64)
		return appendDouble(b, d)
	case t.Kind() == reflect.String:
		return appendString(b, f.value)
	default:
		return append(b, f.value...)
	}
}

func appendMap(b []byte, v reflect.Value) []byte {
	keys := v.MapKeys()
	sort.Slice(keys, func(i, j int) bool { return keys[i].String() < keys[j].String() })
	b = append(b, '{')
	for i, k := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, k.String())
		b = append(b, ':')
		b = appendValue(b, v.MapIndex(k))
	}
	return append(b, '}')
}

// appendDouble writes the shortest decimal that reads back the same, always with a
// point or an exponent, as rapidjson does.
func appendDouble(b []byte, d float64) []byte {
	if math.IsInf(d, 0) || math.IsNaN(d) {
		return append(b, "null"...)
	}
	if a := math.Abs(d); a != 0 && (a < 1e-6 || a >= 1e21) {
		s := strconv.FormatFloat(d, 'e', -1, 64)
		s = strings.NewReplacer("e+0", "e", "e-0", "e-", "e+", "e").Replace(s)
		return append(b, s...)
	}
	start := len(b)
	b = strconv.AppendFloat(b, d, 'f', -1, 64)
	if !strings.Contains(string(b[start:]), ".") {
		b = append(b, ".0"...)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	const hex = "0123456789ABCDEF"
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			b = utf8.AppendRune(b, r) // what is no UTF-8 becomes U+FFFD
			i += n
			continue
		}
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\b':
			b = append(b, '\\', 'b')
		case '\f':
			b = append(b, '\\', 'f')
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			if c < ' ' {
				b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			} else {
				b = append(b, c)
			}
		}
		i++
	}
	return append(b, '"')
}
