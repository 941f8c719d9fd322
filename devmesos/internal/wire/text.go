package wire

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/gogo/protobuf/proto"
)

// Text writes a message in protobuf's text format, fields in the order of their
// numbers, as Mesos does in its messages to humans.
func Text(m proto.Message) string {
	var b strings.Builder
	textStruct(&b, reflect.ValueOf(m).Elem(), "")
	return b.String()
}

func textStruct(b *strings.Builder, v reflect.Value, indent string) {
	fields := slices.SortedFunc(slices.Values(fieldsOf(v.Type())), func(a, b field) int { return cmp.Compare(a.number, b.number) })
	for _, f := range fields {
		fv := v.FieldByIndex(f.index)
		if !isSet(f, fv) {
			continue
		}
		switch {
		case f.isMap:
			keys := fv.MapKeys()
			slices.SortFunc(keys, func(a, b reflect.Value) int { return cmp.Compare(a.String(), b.String()) })
			for _, key := range keys {
				fmt.Fprintf(b, "%s%s {\n%s  key: %q\n", indent, f.name, indent, key.String())
				textValue(b, "value", fv.MapIndex(key), indent+"  ")
				fmt.Fprintf(b, "%s}\n", indent)
			}
		case f.repeated:
			for i := range fv.Len() {
				textValue(b, f.name, fv.Index(i), indent)
			}
		default:
			textValue(b, f.name, fv, indent)
		}
	}
}

func textValue(b *strings.Builder, name string, v reflect.Value, indent string) {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Struct:
		fmt.Fprintf(b, "%s%s {\n", indent, name)
		textStruct(b, v, indent+"  ")
		fmt.Fprintf(b, "%s}\n", indent)
		return
	case reflect.String:
		fmt.Fprintf(b, "%s%s: %s\n", indent, name, textString(v.String()))
		return
	case reflect.Slice:
		fmt.Fprintf(b, "%s%s: %s\n", indent, name, textString(string(v.Bytes())))
		return
	case reflect.Float64:
		fmt.Fprintf(b, "%s%s: %s\n", indent, name, strconv.FormatFloat(v.Float(), 'g', -1, 64))
		return
	}
	fmt.Fprintf(b, "%s%s: %v\n", indent, name, v.Interface())
}

// textString escapes all that is not printable ASCII, bytes in octal.
func textString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(s) {
		switch {
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case c == '"' || c == '\'' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, `\%03o`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
