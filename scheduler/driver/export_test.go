package driver

import "context"

// Finder lets tests say who leads.
type Finder func(ctx context.Context) (urls []string, changed <-chan struct{}, err error)

func (f Finder) Find(ctx context.Context) ([]string, <-chan struct{}, error) { return f(ctx) }
func (f Finder) Close()                                                      {}

// SetFinder puts f in the place of what the configuration says.
func (d *Driver) SetFinder(f Finder) { d.find = f }

// ParseLacks is for fuzzing.
var ParseLacks = parseLacks
