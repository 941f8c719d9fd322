package main

import (
	"testing"

	"github.com/alecthomas/kong"
)

// Every command that has none below it runs.
func TestEveryCommandRuns(t *testing.T) {
	k, err := kong.New(new(cli), kong.Name("lode"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	var walk func(node *kong.Node)
	walk = func(node *kong.Node) {
		for _, child := range node.Children {
			walk(child)
		}
		if len(node.Children) > 0 {
			return
		}
		if n++; commandIn(node, k) == nil {
			t.Errorf("%s has no Run that commandIn knows", node.FullPath())
		}
	}
	walk(k.Model.Node)
	if n < 30 {
		t.Errorf("there are %d commands: are they found?", n)
	}
}
