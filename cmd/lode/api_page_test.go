package main

import (
	"os"
	"strings"
	"testing"

	"lode/internal/apidoc"
	"lode/pool/monitor"
)

//go:generate env UPDATE=1 go test -count=1 -run ^TestAPIPage$ .

// docs/api.md has a line for each path of a pool-proxy and of a miner, and for each field of their
// answers: what the handlers are registered with, and the comments of the types.
func TestAPIPage(t *testing.T) {
	const page = root + "/docs/api.md"
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	source := apidoc.Source{Root: root, Module: "lode"}
	want := string(b)
	for name, routes := range map[string][]apidoc.Route{
		"A pool-proxy's paths": monitor.New(monitor.Options{}).Routes(),
		"A miner's paths":      new(mineSite).server().Routes(),
	} {
		var text strings.Builder
		if err := source.Routes(&text, routes); err != nil {
			t.Fatal(err)
		}
		if want, err = apidoc.Replace(want, name, text.String()); err != nil {
			t.Fatalf("%s: %v", page, err)
		}
	}
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(b) {
		t.Error("docs/api.md is not what the handlers do; make generate rewrites it")
	}
}
