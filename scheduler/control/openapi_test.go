package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"lode/internal/apidoc"
	"lode/scheduler/api"
)

var source = apidoc.Source{Root: "../..", Module: "lode"}

// operation is what openapi.json says of a route beside its path and role.
type operation struct {
	summary  string
	params   []string // of the query
	request  any
	response any
	errors   string // beside those of every route
}

// parameters say what values those of queries have.
var parameters = map[string]string{
	"kind": "`proxy` or `miner`", "state": "such as `running` or `confirmed`", "agent": "id or hostname", "kernel": "its name", "q": "part of a task's id or a hostname",
	"outcome": "`accepted` or `declined`", "finder": "worker", "limit": "entries, 1 to 10,000; 1,000", "type": "types, with commas",
	"after": "`next` of the page before, or the id of an event", "range": "`1h`, `24h`, `7d` or `30d`; 1h", "points": "at most so many steps, 1 to 2000; 360",
}

var operations = map[string]operation{
	"GET " + api.StatusPath:                       {"Everything that the scheduler knows, in one document.", nil, nil, api.Status{}, ""},
	"GET " + api.TasksPath:                        {"Tasks that have not ended, in the order of their ids.", []string{"kind", "state", "agent", "kernel", "q", "limit", "after"}, nil, api.Page[api.Task]{}, "400 unknown parameter, or no such limit"},
	"GET " + api.TasksPath + "/{task}":            {"One task.", nil, nil, api.Task{}, "404 no such task"},
	"POST " + api.TasksPath + "/{task}/restart":   {"End a task; another one is launched in its place at once.", nil, api.Command{}, api.Outcome{}, "404 no such task; 409 not now"},
	"POST " + api.TasksPath + "/{task}/kill":      {"End a task, and leave its agent alone for ten minutes.", nil, api.Command{}, api.Outcome{}, "404 no such task; 409 not now"},
	"GET " + api.AgentsPath:                       {"Agents that offers came of lately.", []string{"agent", "limit", "after"}, nil, api.Page[api.Agent]{}, "400 unknown parameter, or no such limit"},
	"POST " + api.AgentsPath + "/{agent}/drain":   {"End the tasks of an agent (id or hostname), a proxy when another one serves, and launch nothing there.", nil, api.Command{}, api.Outcome{}, "404 no such agent; 409 not now"},
	"POST " + api.AgentsPath + "/{agent}/undrain": {"Launch tasks there again.", nil, api.Command{}, api.Outcome{}, "404 no such agent; 409 not now"},
	"GET " + api.OffersPath:                       {"What became of the last offers, and why, newest first.", []string{"agent", "outcome", "limit", "after"}, nil, api.Page[api.Decision]{}, "400 unknown parameter, or no such limit"},
	"GET " + api.BlocksPath:                       {"Blocks, newest first.", []string{"state", "finder", "limit", "after"}, nil, api.Page[api.Block]{}, "400 unknown parameter, or no such limit"},
	"GET " + api.EventsPath:                       {"Events as they happen: server-sent events or, with Accept: application/x-ndjson, an object a line. Goes on behind Last-Event-ID or after; 0 begins with the oldest that is kept. An event of type gap says that some were missed.", []string{"after", "type"}, nil, api.Event{}, "503 too many watch"},
	"GET " + api.WhyPath:                          {"Why nothing is mining on an agent, or anywhere.", []string{"agent"}, nil, api.Why{}, "400 unknown parameter; 404 no such agent"},
	"GET " + api.ControlPath:                      {"What operators decided.", nil, nil, api.Control{}, ""},
	"POST " + api.ScalePath:                       {"Bound the miners of the cluster, or the cpus of it or of one agent.", nil, api.Command{}, api.Outcome{}, "409 not now"},
	"POST " + api.PausePath:                       {"Stop hashing within a second; no task ends.", nil, api.Command{}, api.Outcome{}, "409 not now"},
	"POST " + api.ResumePath:                      {"Hash again within a second.", nil, api.Command{}, api.Outcome{}, "409 not now"},
	"GET " + api.UpgradePath:                      {"How far the replacement of tasks by ones with the newest executor is.", nil, nil, api.Upgrade{}, ""},
	"POST " + api.UpgradePath:                     {"Start, pause or roll back an upgrade.", nil, api.Command{}, api.Outcome{}, "409 not now"},
	"POST " + api.KeysPath:                        {"Make a new key of the miners' passwords.", nil, api.Command{}, api.Outcome{}, "409 not now"},
	"GET " + api.OpenAPIPath:                      {"This document.", nil, nil, nil, ""},
}

// elsewhere is what the scheduler serves beside this package: see its handlers. An empty
// role needs none.
var elsewhere = []struct {
	path, summary, role string
	params              []string
	media               string
	schema              map[string]any
	errors              string
}{
	{"/api/v1/dashboard", "What the scheduler's page shows. It is made for the page, and changes with it.", "read", nil, "application/json", map[string]any{"type": "object"}, ""},
	{"/api/v1/history", "Hashrate and other series over range (1h, 24h, 7d or 30d) in so many points; null: not known.", "read", []string{"range", "points"}, "application/json", map[string]any{
		"type": "object", "required": []string{"from", "step", "series"}, "properties": map[string]any{
			"from":   map[string]any{"type": "integer", "description": "Unix time of the first step, s"},
			"step":   map[string]any{"type": "integer", "description": "s"},
			"series": map[string]any{"type": "object", "description": "by name, means of the steps; hashrates in H/s", "additionalProperties": map[string]any{"type": "array", "items": map[string]any{"type": []string{"number", "null"}}}},
		},
	}, "400 another range, or no number"},
	{"/metrics", "Metrics for Prometheus.", "read", nil, "text/plain", map[string]any{"type": "string"}, ""},
	{"/healthz", "Whether the scheduler is subscribed and nothing needs an operator.", "", nil, "text/plain", map[string]any{"type": "string"}, "503 it is not, with the reasons"},
	{"/readyz", "Whether the scheduler is subscribed, at little cost.", "", nil, "text/plain", map[string]any{"type": "string"}, "503 it is not"},
	{"/livez", "Whether the process answers.", "", nil, "text/plain", map[string]any{"type": "string"}, ""},
	{"/artifacts/{digest}/lode-executor", "The executor, for the agents' fetchers; digest is its SHA-256 in hex.", "", nil, "application/octet-stream", map[string]any{"type": "string", "format": "binary"}, "404 the scheduler has another"},
	{"/artifacts/{digest}/lode-executor.tar.gz", "The same in an archive, for fetchers that unpack it.", "", nil, "application/gzip", map[string]any{"type": "string", "format": "binary"}, "404 the scheduler has another"},
	{"/", "The page.", "", nil, "text/html", map[string]any{"type": "string"}, ""},
	{"/assets/{file}", "Its scripts and styles.", "", nil, "text/javascript", map[string]any{"type": "string"}, "404 there is no such file"},
}

// schemaOf describes a type as its JSON looks, with the comments beside its fields.
func schemaOf(t reflect.Type, schemas map[string]any) any {
	switch t.Kind() {
	case reflect.Pointer:
		return schemaOf(t.Elem(), schemas)
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Float32, reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOf(t.Elem(), schemas)}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": schemaOf(t.Elem(), schemas)}
	case reflect.Struct:
		if t == reflect.TypeFor[time.Time]() {
			return map[string]any{"type": "string", "format": "date-time"}
		}
	default:
		return map[string]any{"type": "integer"}
	}
	name := t.Name()
	if base, item, ok := strings.Cut(name, "["); ok { // Page[lode/scheduler/api.Task]
		name = base + "Of" + item[strings.LastIndex(item, ".")+1:len(item)-1]
	}
	if _, done := schemas[name]; !done {
		schemas[name] = nil
		properties, required := map[string]any{}, []string{}
		for i := range t.NumField() {
			tag := t.Field(i).Tag.Get("json")
			field, rest, _ := strings.Cut(tag, ",")
			if field == "" || field == "-" {
				continue
			}
			schema := schemaOf(t.Field(i).Type, schemas).(map[string]any)
			comment, err := source.Comment(t, t.Field(i).Name)
			if err != nil {
				panic(err) // the source is not there
			}
			if comment != "" {
				schema["description"] = comment // OpenAPI 3.1 allows it beside $ref
			}
			properties[field] = schema
			if !strings.Contains(rest, "omit") {
				required = append(required, field)
			}
		}
		schema := map[string]any{"type": "object", "properties": properties}
		if len(required) > 0 {
			schema["required"] = required
		}
		schemas[name] = schema
	}
	return map[string]any{"$ref": "#/components/schemas/" + name}
}

func document(t *testing.T) []byte {
	schemas := map[string]any{"Error": map[string]any{
		"type": "object", "properties": map[string]any{"error": map[string]any{"type": "string"}}, "required": []string{"error"},
	}}
	paths := map[string]map[string]any{}
	for _, r := range routes {
		o, ok := operations[r.method+" "+r.path]
		if !ok {
			t.Fatalf("openapi.json does not tell of %s %s", r.method, r.path)
		}
		var params []any
		for _, part := range strings.Split(r.path, "/") {
			if name, ok := strings.CutPrefix(part, "{"); ok {
				params = append(params, map[string]any{"name": strings.TrimSuffix(name, "}"), "in": "path", "required": true, "schema": map[string]any{"type": "string"}})
			}
		}
		for _, name := range o.params {
			kind := "string"
			if name == "limit" {
				kind = "integer"
			}
			params = append(params, map[string]any{"name": name, "in": "query", "description": plain(name), "schema": map[string]any{"type": kind}})
		}
		media, schema := "application/json", any(map[string]any{"type": "object"})
		if r.path == api.EventsPath {
			media = "text/event-stream"
		}
		if o.response != nil {
			schema = schemaOf(reflect.TypeOf(o.response), schemas)
		}
		content := func(media string, schema any) map[string]any {
			return map[string]any{media: map[string]any{"schema": schema}}
		}
		op := map[string]any{
			"summary": o.summary, "operationId": strings.ToLower(r.method) + strings.NewReplacer("/api/v1", "", "/", "-", "{", "", "}", "", ".", "-").Replace(r.path),
			"description": "Needs the role " + r.role.String() + ".",
			"responses": map[string]any{
				"200":     map[string]any{"description": "done", "content": content(media, schema)},
				"default": map[string]any{"description": "refused or failed", "content": content("application/json", map[string]any{"$ref": "#/components/schemas/Error"})},
			},
		}
		if params != nil {
			op["parameters"] = params
		}
		if o.request != nil {
			op["requestBody"] = map[string]any{"content": content("application/json", schemaOf(reflect.TypeOf(o.request), schemas))}
		}
		if paths[r.path] == nil {
			paths[r.path] = map[string]any{}
		}
		paths[r.path][strings.ToLower(r.method)] = op
	}
	for _, e := range elsewhere {
		op := map[string]any{
			"summary": e.summary, "operationId": "get" + strings.NewReplacer("/api/v1", "", "/", "-", "{", "", "}", "").Replace(e.path),
			"responses": map[string]any{
				"200":     map[string]any{"description": "done", "content": map[string]any{e.media: map[string]any{"schema": e.schema}}},
				"default": map[string]any{"description": "refused or failed"},
			},
		}
		if op["description"] = "Needs the role " + e.role + "."; e.role == "" {
			op["description"], op["security"] = "Needs no token.", []any{}
		}
		var params []any
		for _, name := range e.params {
			params = append(params, map[string]any{"name": name, "in": "query", "description": plain(name), "schema": map[string]any{"type": "string"}})
		}
		if _, name, found := strings.Cut(e.path, "{"); found {
			name, _, _ = strings.Cut(name, "}")
			params = append(params, map[string]any{"name": name, "in": "path", "required": true, "schema": map[string]any{"type": "string"}})
		}
		if params != nil {
			op["parameters"] = params
		}
		paths[e.path] = map[string]any{"get": op}
	}
	b, err := json.MarshalIndent(map[string]any{
		"openapi": "3.1.0",
		"info":    map[string]any{"title": "Lode's scheduler", "version": "1", "description": "See and steer a scheduler. docs/api.md explains it."},
		"paths":   paths,
		"components": map[string]any{
			"schemas":         schemas,
			"securitySchemes": map[string]any{"token": map[string]any{"type": "http", "scheme": "bearer"}},
		},
		"security": []any{map[string]any{"token": []any{}}, map[string]any{}},
	}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

// plain is what a parameter is, without the marks of Markdown.
func plain(parameter string) string { return strings.ReplaceAll(parameters[parameter], "`", "") }

// withPaths is docs/api.md with the table of all paths anew.
func withPaths(t *testing.T, page string) string {
	var all []apidoc.Route
	row := func(method, path string, params []string, role, summary, errors string) {
		r := apidoc.Route{Method: method, Doc: apidoc.Doc{Path: path, Answer: summary, Who: role, Errors: errors}}
		for i, name := range params {
			if parameters[name] == "" {
				t.Errorf("%s %s: nothing is said of %s", method, path, name)
			}
			r.Query += map[bool]string{true: ", "}[i > 0] + "`" + name + "` (" + parameters[name] + ")"
		}
		all = append(all, r)
	}
	for _, r := range routes {
		o := operations[r.method+" "+r.path]
		row(r.method, r.path, o.params, r.role.String(), o.summary, o.errors)
	}
	for _, e := range elsewhere {
		row("GET", e.path, e.params, e.role, e.summary, e.errors)
	}
	var table strings.Builder
	if err := source.Routes(&table, all); err != nil {
		t.Fatal(err)
	}
	page, err := apidoc.Replace(page, "The scheduler's paths", table.String())
	if err != nil {
		t.Fatal(err)
	}
	return page
}

// The document tells of every route, with the fields that its answers have.
func TestOpenAPI(t *testing.T) {
	want := document(t)
	const pagePath = "../../docs/api.md"
	text, err := os.ReadFile(pagePath)
	if err != nil {
		t.Fatal(err)
	}
	page := withPaths(t, string(text))
	if os.Getenv("UPDATE") != "" {
		if err := errors.Join(os.WriteFile("openapi.json", want, 0o644), os.WriteFile(pagePath, []byte(page), 0o644)); err != nil {
			t.Fatal(err)
		}
		return
	}
	if string(text) != page {
		t.Error("docs/api.md does not list the paths as they are; make generate rewrites it")
	}
	if !bytes.Equal(openAPI, want) {
		t.Error("openapi.json is not what the handlers do; make generate rewrites it")
	}
	if len(operations) != len(routes) {
		t.Errorf("%d operations, %d routes", len(operations), len(routes))
	}
}

// What the handlers really answer is what the document says.
func TestAnswersAreAsDescribed(t *testing.T) {
	w := newWorld(t)
	var doc struct {
		Components struct {
			Schemas map[string]struct {
				Properties map[string]any
				Required   []string
			}
		}
	}
	if err := json.Unmarshal(openAPI, &doc); err != nil {
		t.Fatal(err)
	}
	for _, r := range routes {
		o := operations[r.method+" "+r.path]
		if o.response == nil || r.path == api.EventsPath {
			continue
		}
		path := strings.NewReplacer("{task}", "miner-1", "{agent}", "S1").Replace(r.path)
		body := map[string]string{api.ScalePath: `{"max_miners":3}`, api.UpgradePath: `{"action":"start"}`}[r.path]
		if r.method == http.MethodGet {
			body = ""
		}
		status, answer := w.do(r.method, path, body)
		if status != http.StatusOK {
			t.Errorf("%s %s: %d %s", r.method, path, status, answer)
			continue
		}
		var fields map[string]any
		if err := json.Unmarshal(answer, &fields); err != nil {
			t.Fatal(err)
		}
		schemas := map[string]any{}
		ref := fmt.Sprint(schemaOf(reflect.TypeOf(o.response), schemas))
		name := ref[strings.LastIndex(ref, "/")+1 : len(ref)-1]
		schema := doc.Components.Schemas[name]
		for field := range fields {
			if _, ok := schema.Properties[field]; !ok {
				t.Errorf("%s %s answers with %q, which %s has not", r.method, path, field, name)
			}
		}
		for _, field := range schema.Required {
			if _, ok := fields[field]; !ok {
				t.Errorf("%s %s answers without %q", r.method, path, field)
			}
		}
	}
	if !slices.ContainsFunc(routes, func(r route) bool { return r.path == api.OpenAPIPath }) {
		t.Error("the document is not served")
	}
}
