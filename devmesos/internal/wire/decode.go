package wire

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"

	"github.com/gogo/protobuf/proto"
)

// mesosError is a text that Mesos shows, in its spelling.
type mesosError string

func (e mesosError) Error() string { return string(e) }

func mesosErrorf(format string, args ...any) error {
	return mesosError(fmt.Sprintf(format, args...))
}

// parseJSON reads one JSON value; numbers stay json.Number.
func parseJSON(b []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var tree any
	if err := d.Decode(&tree); err != nil {
		at := len(b)
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			at = max(0, int(syntax.Offset)-1)
		}
		return nil, syntaxError(b, min(at, len(b)))
	}
	if rest := bytes.TrimLeft(b[d.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return nil, mesosErrorf("Parsed JSON included non-whitespace trailing characters: %s", rest)
	}
	return tree, nil
}

// syntaxError is worded like picojson's: the rest of the line from the place of the
// error on, without control characters.
func syntaxError(b []byte, at int) error {
	line := 1 + bytes.Count(b[:at], []byte("\n"))
	var near strings.Builder
	for _, c := range b[at:] {
		if c == '\n' {
			break
		}
		if c >= ' ' {
			near.WriteByte(c)
		}
	}
	return fmt.Errorf("syntax error at line %d near: %s", line, near.String())
}

// fillMessage converts a JSON value to a message, tolerantly where Mesos is tolerant.
func fillMessage(m proto.Message, tree any) error {
	object, ok := tree.(map[string]any)
	if !ok {
		return mesosErrorf("Expecting a JSON object")
	}
	v := reflect.ValueOf(m).Elem()
	if err := fillStruct(v, object); err != nil {
		return err
	}
	if missing := missingFields(nil, v.Type(), object, ""); len(missing) > 0 {
		return mesosErrorf("Missing required fields: %s", strings.Join(missing, ", "))
	}
	return nil
}

func fillStruct(v reflect.Value, object map[string]any) error {
	for _, f := range fieldsOf(v.Type()) {
		value, ok := object[f.name]
		if !ok || value == nil {
			continue
		}
		if err := fillField(v.FieldByIndex(f.index), f, value); err != nil {
			return err
		}
	}
	return nil
}

func fillField(v reflect.Value, f field, value any) error {
	switch {
	case f.isMap:
		object, ok := value.(map[string]any)
		if !ok {
			return unexpected(value, f)
		}
		return fillMap(v, f, object)
	case f.repeated:
		list, ok := value.([]any)
		if !ok {
			list = []any{value} // Mesos adds a single value to the list
		}
		for _, value := range list {
			if value == nil {
				continue
			}
			element := reflect.New(v.Type().Elem()).Elem()
			set, err := fillValue(element, f, value)
			if err != nil {
				return err
			}
			if set {
				v.Set(reflect.Append(v, element))
			}
		}
		return nil
	default:
		_, err := fillValue(v, f, value)
		return err
	}
}

func fillMap(v reflect.Value, f field, object map[string]any) error {
	v.Set(reflect.MakeMapWithSize(v.Type(), len(object)))
	for key, value := range object {
		if value == nil {
			continue
		}
		element := reflect.New(v.Type().Elem()).Elem()
		set, err := fillValue(element, field{name: f.name}, value)
		if err != nil {
			return err
		}
		if set {
			v.SetMapIndex(reflect.ValueOf(key), element)
		}
	}
	return nil
}

// fillValue sets a single value and says whether it did: the name of an enum that is
// not known leaves the field unset.
func fillValue(v reflect.Value, f field, value any) (bool, error) {
	if v.Kind() == reflect.Pointer {
		p := reflect.New(v.Type().Elem())
		set, err := fillValue(p.Elem(), f, value)
		if set && err == nil {
			v.Set(p)
		}
		return set, err
	}
	switch value := value.(type) {
	case map[string]any:
		if v.Kind() != reflect.Struct {
			return false, unexpected(value, f)
		}
		return true, fillStruct(v, value)
	case string:
		return fillFromString(v, f, value)
	case json.Number:
		return true, fillFromNumber(v, f, value)
	case bool:
		if v.Kind() != reflect.Bool {
			return false, unexpected(value, f)
		}
		v.SetBool(value)
		return true, nil
	default:
		return false, unexpected(value, f)
	}
}

func fillFromString(v reflect.Value, f field, s string) (bool, error) {
	switch {
	case f.enum != "":
		n, ok := enumNumber(f.enum, s)
		if !ok {
			if f.required {
				return false, mesosErrorf("Failed to find enum for '%s'", s)
			}
			return false, nil
		}
		v.SetInt(int64(n))
		return true, nil
	case v.Kind() == reflect.String:
		v.SetString(s)
		return true, nil
	case v.Kind() == reflect.Slice:
		b, err := decodeBase64(s)
		if err != nil {
			return false, mesosErrorf("Failed to base64 decode bytes field '%s': %v", f.name, err)
		}
		v.SetBytes(b)
		return true, nil
	case v.Kind() == reflect.Bool:
		if s != "true" && s != "false" {
			return false, mesosErrorf("Failed to parse '%s' as a JSON boolean for field '%s'", s, f.name)
		}
		v.SetBool(s == "true")
		return true, nil
	case isNumber(v.Kind()):
		if _, err := strconv.ParseFloat(s, 64); err != nil {
			return false, mesosErrorf("Failed to parse '%s' as a JSON number for field '%s'", s, f.name)
		}
		return true, fillFromNumber(v, f, json.Number(s))
	default:
		return false, unexpected(s, f)
	}
}

func isNumber(k reflect.Kind) bool {
	switch k {
	case reflect.Int32, reflect.Int64, reflect.Uint32, reflect.Uint64, reflect.Float32, reflect.Float64:
		return true
	default:
		return false
	}
}

func fillFromNumber(v reflect.Value, f field, n json.Number) error {
	if f.enum != "" || !isNumber(v.Kind()) {
		return unexpected(n, f)
	}
	if v.CanFloat() {
		d, _ := n.Float64() // out of range gives ±Inf, as in C++
		v.SetFloat(d)
		return nil
	}
	if v.CanUint() {
		if u, err := strconv.ParseUint(n.String(), 10, 64); err == nil {
			v.SetUint(u)
			return nil
		}
	}
	i, err := n.Int64()
	if err != nil {
		d, _ := n.Float64()
		i = int64(math.Max(math.MinInt64, math.Min(math.MaxInt64/2, d))) // fractions are cut off
	}
	if v.CanUint() {
		v.SetUint(uint64(i)) // a negative number wraps, as in C++
		return nil
	}
	v.SetInt(i)
	return nil
}

func unexpected(value any, f field) error {
	kind := "null"
	switch value.(type) {
	case map[string]any:
		kind = "object"
	case []any:
		kind = "array"
	case string:
		kind = "string"
	case json.Number:
		kind = "number"
	case bool:
		kind = "boolean"
	}
	return mesosErrorf("Not expecting a JSON %s for field '%s'", kind, f.name)
}

// decodeBase64 reads the standard alphabet up to the padding.
func decodeBase64(s string) ([]byte, error) {
	s, _, _ = strings.Cut(s, "=")
	for _, c := range []byte(s) {
		if !isBase64(c) {
			return nil, mesosErrorf("Invalid character '%c'", c)
		}
	}
	if len(s)%4 == 1 {
		s = s[:len(s)-1] // six bits make no byte
	}
	b, err := base64.RawStdEncoding.DecodeString(s)
	if b == nil {
		b = []byte{}
	}
	return b, err
}

func isBase64(c byte) bool {
	return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/'
}

// missingFields appends the paths of required fields that the object does not set.
func missingFields(missing []string, t reflect.Type, object map[string]any, path string) []string {
	fields := fieldsOf(t)
	for _, f := range fields {
		if f.required && object[f.name] == nil {
			missing = append(missing, path+f.name)
		}
	}
	for _, f := range fields {
		ft := t.FieldByIndex(f.index).Type
		for ft.Kind() == reflect.Pointer || (ft.Kind() == reflect.Slice && ft.Elem().Kind() != reflect.Uint8) || ft.Kind() == reflect.Map {
			ft = ft.Elem()
		}
		if ft.Kind() != reflect.Struct {
			continue
		}
		switch value := object[f.name].(type) {
		case map[string]any:
			if f.isMap {
				for key, element := range value {
					if element, ok := element.(map[string]any); ok {
						missing = missingFields(missing, ft, element, fmt.Sprintf("%s%s[%s].value.", path, f.name, key))
					}
				}
				continue
			}
			if f.repeated {
				missing = missingFields(missing, ft, value, path+f.name+"[0].")
				continue
			}
			missing = missingFields(missing, ft, value, path+f.name+".")
		case []any:
			n := 0
			for _, element := range value {
				if element, ok := element.(map[string]any); ok {
					missing = missingFields(missing, ft, element, fmt.Sprintf("%s%s[%d].", path, f.name, n))
					n++
				}
			}
		}
	}
	return missing
}
