package main

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// kinds read numbers, durations and names with values, and say of all flags alike what was
// wrong and what one looks like. Numbers are decimal: 010 is ten.
func kinds() kong.Option {
	maps := kong.NewRegistry().RegisterDefaults().ForType(reflect.TypeFor[map[string]string]())
	options := []kong.Option{
		kong.TypeMapper(reflect.TypeFor[time.Duration](), oneValue("duration", readDuration)),
		kong.KindMapper(reflect.Float64, oneValue("number", readFloat)),
		kong.KindMapper(reflect.Map, kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
			if text, ok := ctx.Scan.Peek().Value.(string); ok {
				if err := namedTwice(text, ctx.Value.Tag.MapSep, target); err != nil {
					return err
				}
			}
			return maps.Decode(ctx, target)
		})),
	}
	for _, kind := range []reflect.Kind{reflect.Int, reflect.Int64} {
		options = append(options, kong.KindMapper(kind, oneValue("number", readInt)))
	}
	options = append(options, kong.KindMapper(reflect.Uint8, oneValue("number", readUint)),
		// Kong's own puts other bytes in the place of what is no UTF-8.
		kong.KindMapper(reflect.String, oneValue("string", func(text string, target reflect.Value) error {
			target.SetString(text)
			return nil
		})))
	return kong.OptionFunc(func(k *kong.Kong) error {
		for _, o := range options {
			if err := o.Apply(k); err != nil {
				return err
			}
		}
		return nil
	})
}

// oneValue reads one value of a flag.
func oneValue(kind string, read func(text string, target reflect.Value) error) kong.MapperFunc {
	return func(ctx *kong.DecodeContext, target reflect.Value) error {
		token, err := ctx.Scan.PopValue(kind)
		if err != nil {
			return err
		}
		return read(fmt.Sprint(token.Value), target)
	}
}

// shortened is a value as errors repeat it.
func shortened(text string) string {
	if runes := []rune(text); len(runes) > 60 {
		text = string(runes[:60]) + "…"
	}
	return strconv.Quote(text)
}

func readDuration(text string, target reflect.Value) error {
	d, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%s is no duration of at most %s, such as 10s, 5m or 1h30m", shortened(text), hours(mostDuration))
	}
	target.SetInt(int64(d))
	return nil
}

// hours is a duration of whole hours as people write it.
func hours(d time.Duration) string { return fmt.Sprintf("%dh", d/time.Hour) }

func readFloat(text string, target reflect.Value) error {
	n, err := strconv.ParseFloat(text, 64)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return fmt.Errorf("%s: want at most %g", shortened(text), mostNumber)
	case err != nil:
		return fmt.Errorf("%s is no number, such as 2 or 0.5", shortened(text))
	}
	target.SetFloat(n)
	return nil
}

func readInt(text string, target reflect.Value) error {
	n, err := strconv.ParseInt(text, 10, target.Type().Bits())
	if err != nil {
		return noWhole(text, err)
	}
	target.SetInt(n)
	return nil
}

func readUint(text string, target reflect.Value) error {
	n, err := strconv.ParseUint(text, 10, target.Type().Bits())
	if err != nil {
		most := uint64(1)<<target.Type().Bits() - 1
		return fmt.Errorf("%s is no whole number of 0 to %d", shortened(text), most)
	}
	target.SetUint(n)
	return nil
}

func noWhole(text string, err error) error {
	if errors.Is(err, strconv.ErrRange) {
		return fmt.Errorf("%s is too great", shortened(text))
	}
	return fmt.Errorf("%s is no whole number, such as 2", shortened(text))
}

// namedTwice refuses a name that the flag has a value for already.
func namedTwice(text string, sep rune, target reflect.Value) error {
	parts := []string{text}
	if sep != -1 {
		parts = kong.SplitEscaped(text, sep)
	}
	seen := map[string]bool{}
	for _, part := range parts {
		name, _, ok := strings.Cut(part, "=")
		if !ok {
			return fmt.Errorf("%s: want NAME=VALUE", shortened(part))
		}
		if seen[name] || target.MapIndex(reflect.ValueOf(name)).IsValid() {
			return fmt.Errorf("%s is given twice", shortened(name))
		}
		seen[name] = true
	}
	return nil
}

// hostName is a name that resolvers take: ASCII, as IDNA writes others.
var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?$`)

// numbers are what is meant as an address.
var numbers = regexp.MustCompile(`^[0-9.]+$`)
