package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// switchFile is a file that the compiler finds in the core's folder, and nobody else.
const (
	switchFile = "mutant.go"
	switchText = `package core

import (
	"os"
	"strconv"
)

var mutant, _ = strconv.Atoi(os.Getenv("LODE_MUTANT"))
`
)

// sources are files of the core, by name.
type sources map[string]string

// readSources reads the files in which faults are to be.
func readSources(dir string, ms []mutant) (sources, error) {
	s := make(sources)
	for _, m := range ms {
		for _, e := range m.edits {
			text, err := os.ReadFile(filepath.Join(dir, e.file))
			if err != nil {
				return nil, err
			}
			s[e.file] = string(text)
		}
	}
	return s, nil
}

// with returns the files that a fault changes, with it.
func (s sources) with(m mutant) (sources, error) {
	changed := make(sources)
	for _, e := range m.edits {
		text, again := changed[e.file]
		if !again {
			text = s[e.file]
		}
		var err error
		if changed[e.file], err = e.apply(text); err != nil {
			return nil, err
		}
	}
	return changed, nil
}

// apply puts the new text in the place of the old one, which must be there once.
func (e edit) apply(text string) (string, error) {
	if n := strings.Count(text, e.old); n != 1 {
		return "", fmt.Errorf("%s has this text %d times, expected once; the list of faults is to follow the code: %q", e.file, n, e.old)
	}
	return strings.Replace(text, e.old, e.new, 1), nil
}

// merge returns the files with all faults at once: each function that one changes has a
// variant, which is called in its place when mutant is the number of the fault, from 1.
// To compile them one by one would take a hundred times as long. alone are the faults
// that cannot be had like that, since they change more than functions.
func (s sources) merge(ms []mutant) (merged sources, alone []int, err error) {
	files := make(map[string]*file)
	for name, text := range s {
		if files[name], err = parse(name, text); err != nil {
			return nil, nil, err
		}
	}
	for i, m := range ms {
		changed, err := s.with(m)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", m.name, err)
		}
		var pairs []pair
		ok := true
		for _, name := range slices.Sorted(maps.Keys(changed)) {
			after, err := parse(name, changed[name])
			if err != nil {
				return nil, nil, fmt.Errorf("%s: %w", m.name, err)
			}
			more, can := files[name].pairs(after)
			pairs, ok = append(pairs, more...), ok && can
		}
		if !ok {
			alone = append(alone, i)
			continue
		}
		for _, p := range pairs {
			p.add(i + 1)
		}
	}
	merged = sources{switchFile: switchText}
	for name, f := range files {
		merged[name] = f.merged()
	}
	return merged, alone, nil
}

// file is one that is being merged.
type file struct {
	text     string
	decls    []decl
	switches map[int]string // by the offset at which they are put in
	variants strings.Builder
}

// decl is a declaration; start and end are offsets.
type decl struct {
	start, end int
	fn         *ast.FuncDecl // nil: it is another one
}

func parse(name, text string) (*file, error) {
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, name, text, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	f := &file{text: text, switches: make(map[int]string)}
	for _, d := range tree.Decls {
		fn, _ := d.(*ast.FuncDecl)
		f.decls = append(f.decls, decl{int(d.Pos() - tree.FileStart), int(d.End() - tree.FileStart), fn})
	}
	return f, nil
}

// pair is a function of a file and what became of it in another.
type pair struct {
	before, after *file
	was, is       decl
}

// pairs returns what differs in a later version; false: not only bodies of functions.
func (f *file) pairs(after *file) (pairs []pair, ok bool) {
	if len(after.decls) != len(f.decls) {
		return nil, false
	}
	for i, is := range after.decls {
		was := f.decls[i]
		if f.text[was.start:was.end] == after.text[is.start:is.end] {
			continue
		}
		p := pair{f, after, was, is}
		if was.fn == nil || is.fn == nil || !p.sameHead() {
			return nil, false
		}
		pairs = append(pairs, p)
	}
	return pairs, true
}

func (p pair) sameHead() bool {
	head := func(f *file, d decl) string { return f.text[d.start : d.start+int(d.fn.Body.Pos()-d.fn.Pos())] }
	return head(p.before, p.was) == head(p.after, p.is)
}

// add makes the later function a variant of the earlier one.
func (p pair) add(number int) {
	fn := p.was.fn
	name := fmt.Sprintf("%sMutant%d", fn.Name.Name, number)
	text := p.after.text[p.is.start:p.is.end]
	at := int(p.is.fn.Name.Pos() - p.is.fn.Pos())
	fmt.Fprintf(&p.before.variants, "\n%s%s%s\n", text[:at], name, text[at+len(fn.Name.Name):])

	var args []string
	for _, field := range fn.Type.Params.List {
		_, variadic := field.Type.(*ast.Ellipsis)
		for _, n := range field.Names {
			if variadic {
				args = append(args, n.Name+"...")
			} else {
				args = append(args, n.Name)
			}
		}
	}
	call := fmt.Sprintf("%s(%s)", name, strings.Join(args, ", "))
	if fn.Recv != nil {
		call = fn.Recv.List[0].Names[0].Name + "." + call
	}
	if fn.Type.Results != nil {
		call = "return " + call
	} else {
		call += "; return"
	}
	body := p.was.start + int(fn.Body.Lbrace-fn.Pos()) + 1
	p.before.switches[body] += fmt.Sprintf(" if mutant == %d { %s };", number, call)
}

func (f *file) merged() string {
	var b strings.Builder
	last := 0
	for _, at := range slices.Sorted(maps.Keys(f.switches)) {
		b.WriteString(f.text[last:at] + f.switches[at])
		last = at
	}
	return b.String() + f.text[last:] + f.variants.String()
}
