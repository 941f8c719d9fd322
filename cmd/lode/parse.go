package main

import (
	"cmp"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

// This is kong's Parse, Validate and Run, without its hooks. Kong finds hooks and Run by the
// names of methods, and a program with any such call keeps every method of every type that
// it knows: with Mesos' messages in it lode would be half as large again.

// shown says that what was asked for was written to standard output, help or the version,
// or why it could not be.
type shown struct{ err error }

func (s *shown) Error() string { return fmt.Sprint("shown: ", s.err) }

// outcome is how the program ends.
func (s *shown) outcome() error {
	switch {
	case s.err == nil:
		return nil
	case errors.Is(s.err, syscall.EPIPE):
		return exitStatus(exitNobodyReads)
	}
	return fmt.Errorf("standard output: %w", s.err)
}

// parse reads the command line, the environment and, with load, the configuration.
// With an error the context is as far as it came.
func parse(k *kong.Kong, args []string, load func(path string) (*fileValues, error)) (*kong.Context, *fileValues, error) {
	ctx, err := kong.Trace(k, args)
	if err := cmp.Or(err, ctx.Error); err != nil {
		return ctx, nil, err
	}
	named := false // a configuration is, on the command line
	for _, p := range ctx.Path {
		switch {
		case p.Flag == nil:
		case p.Flag.Name == "help":
			return ctx, nil, &shown{ctx.PrintUsage(false)}
		case p.Flag.Name == "version":
			_, err := fmt.Fprintln(k.Stdout, versionLine())
			return ctx, nil, &shown{err}
		case p.Flag.Name == "config":
			named = true
		}
	}
	if err := ctx.Reset(); err != nil {
		return ctx, nil, err
	}
	var file *fileValues
	for _, f := range k.Model.Flags {
		path, isConfig := ctx.FlagValue(f).(configFile)
		if !isConfig || path == "" && !named {
			continue
		}
		if path == "" {
			return ctx, nil, usagef("--config is empty: want a file")
		}
		if err := checkCharacters(f, string(path)); err != nil {
			return ctx, nil, usagef("--config%w", err)
		}
		if file, err = load(string(path)); err != nil {
			return ctx, nil, err
		}
		ctx.AddResolver(file)
	}
	if err := ctx.Resolve(); err != nil {
		return ctx, file, err
	}
	if _, err := ctx.Apply(); err != nil {
		return ctx, file, err
	}
	if err := checkEnums(ctx); err != nil {
		return ctx, file, err
	}
	if file != nil {
		if err := file.Validate(k.Model); err != nil {
			return ctx, file, err
		}
	}
	return ctx, file, checkComplete(ctx)
}

// checkEnums checks the values of flags and arguments that take one of a few words.
func checkEnums(ctx *kong.Context) error {
	var values []*kong.Value
	for _, f := range ctx.Flags() {
		values = append(values, f.Value)
	}
	if selected := ctx.Selected(); selected != nil {
		values = append(values, selected.Positional...)
	}
	for _, v := range values {
		if v.Enum == "" || v.Required && !v.Set {
			continue
		}
		if err := checkEnum(v, v.Target); err != nil {
			return err
		}
	}
	return nil
}

func checkEnum(v *kong.Value, target reflect.Value) error {
	switch target.Kind() {
	case reflect.Slice:
		for i := range target.Len() {
			if err := checkEnum(v, target.Index(i)); err != nil {
				return err
			}
		}
		return nil
	case reflect.Pointer:
		if target.IsNil() {
			return nil
		}
		return checkEnum(v, target.Elem())
	}
	text := fmt.Sprint(target.Interface())
	words := v.EnumSlice()
	if slices.Contains(words, text) {
		return nil
	}
	words = slices.DeleteFunc(words, func(w string) bool { return w == "" })
	return fmt.Errorf("%s must be one of %s, not %q%s", v.ShortSummary(), strings.Join(words, ", "), text, didYouMean(text, words))
}

// checkComplete checks that there is a command to run, with all that it needs.
func checkComplete(ctx *kong.Context) error {
	var missing []string
	for _, f := range ctx.Flags() {
		if f.Required && !f.Set {
			missing = append(missing, f.Summary())
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return fmt.Errorf("missing flags: %s", strings.Join(missing, ", "))
	}
	node := ctx.Selected()
	if node == nil {
		node = ctx.Model.Node
	}
	for _, arg := range node.Positional {
		if arg.Required && !arg.Set {
			missing = append(missing, strconv.Quote(arg.Summary()))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("missing arguments: %s", strings.Join(missing, " "))
	}
	if commandIn(node, ctx.Kong) != nil {
		return nil
	}
	for _, child := range node.Children {
		if !child.Hidden {
			missing = append(missing, strconv.Quote(child.Name))
		}
	}
	return fmt.Errorf("a command is missing: one of %s", strings.Join(missing, ", "))
}

// commandIn is what runs when a node is selected; nil: it only has commands below it. The
// commands of a group get the group, whose flags they share, and those about the command
// line get all of it. (No generics: they too would have the linker keep every Run.)
func commandIn(node *kong.Node, k *kong.Kong) func(*environment) error {
	var group any
	if node.Parent != nil {
		group = node.Parent.Target.Addr().Interface()
	}
	switch command := node.Target.Addr().Interface().(type) {
	case interface{ Run(*environment) error }:
		return command.Run
	case interface {
		Run(*environment, *kong.Kong) error
	}:
		return func(env *environment) error { return command.Run(env, k) }
	case interface {
		Run(*environment, *benchCmd) error
	}:
		return func(env *environment) error { return command.Run(env, group.(*benchCmd)) }
	case interface {
		Run(*environment, *proxyCmd) error
	}:
		return func(env *environment) error { return command.Run(env, group.(*proxyCmd)) }
	case interface {
		Run(*environment, *schedulerCmd) error
	}:
		return func(env *environment) error { return command.Run(env, group.(*schedulerCmd)) }
	}
	return nil
}
