package main

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/gogo/protobuf/protoc-gen-gogo/descriptor"
)

// describe is the page of all messages: a table of fields for each, with the comments of
// the proto file.
func describe(file *descriptor.FileDescriptorProto) []byte {
	comments := make(map[string]string) // by path, as in 4,0,2,1: message 0, field 1
	for _, l := range file.GetSourceCodeInfo().GetLocation() {
		comments[fmt.Sprint(l.Path)] = strings.TrimSpace(l.GetLeadingComments())
	}
	var b bytes.Buffer
	fmt.Fprint(&b, "# Reference of the messages between scheduler and executors\n\n",
		"<!-- Written by message/_gen (make generate) from message/message.proto. -->\n\n")
	const syntax, message, field = 12, 4, 2 // numbers of descriptor.proto
	text := comments[fmt.Sprint([]int32{syntax})]
	for i, paragraph := range strings.Split(text, "\n\n") {
		if i > 0 {
			b.WriteByte('\n')
		}
		fence := strings.HasPrefix(strings.TrimPrefix(paragraph, " "), "\t") // a table
		if fence {
			b.WriteString("```text\n")
		}
		for _, line := range strings.Split(paragraph, "\n") {
			b.WriteString(strings.TrimRight(strings.TrimPrefix(strings.TrimPrefix(line, " "), "\t"), " ") + "\n")
		}
		if fence {
			b.WriteString("```\n")
		}
	}
	for i, m := range file.GetMessageType() {
		if m.GetOptions().GetMapEntry() {
			continue
		}
		at := []int32{message, int32(i)}
		fmt.Fprintf(&b, "\n## %s\n\n", m.GetName())
		if c := comments[fmt.Sprint(at)]; c != "" {
			fmt.Fprintf(&b, "%s\n\n", joined(c))
		}
		if len(m.GetField()) == 0 {
			continue
		}
		b.WriteString("| field | number | type | meaning |\n|---|---|---|---|\n")
		for j, f := range m.GetField() {
			meaning := joined(comments[fmt.Sprint(append(at[:2:2], field, int32(j)))])
			if f.OneofIndex != nil {
				meaning = strings.TrimSpace("One of `" + m.GetOneofDecl()[f.GetOneofIndex()].GetName() + "`. " + meaning)
			}
			fmt.Fprintf(&b, "| `%s` | %d | %s | %s |\n", f.GetName(), f.GetNumber(), kind(m, f), strings.ReplaceAll(meaning, "|", `\|`))
		}
	}
	return b.Bytes()
}

// joined puts a comment on one line.
func joined(comment string) string { return strings.Join(strings.Fields(comment), " ") }

// kind is a field's type as the proto file writes it.
func kind(m *descriptor.DescriptorProto, f *descriptor.FieldDescriptorProto) string {
	name := strings.ToLower(strings.TrimPrefix(f.GetType().String(), "TYPE_"))
	if f.GetTypeName() != "" {
		name = f.GetTypeName()[strings.LastIndex(f.GetTypeName(), ".")+1:]
		for _, n := range m.GetNestedType() {
			if n.GetName() == name && n.GetOptions().GetMapEntry() {
				return fmt.Sprintf("map of %s to %s", kind(m, n.Field[0]), kind(m, n.Field[1]))
			}
		}
	}
	if f.GetLabel() == descriptor.FieldDescriptorProto_LABEL_REPEATED {
		return "list of " + name
	}
	return name
}
