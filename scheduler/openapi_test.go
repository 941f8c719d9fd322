package scheduler_test

import (
	"context"
	"encoding/json"
	"mime"
	"net/http"
	"strings"
	"testing"

	"lode/scheduler/api"
	"lode/scheduler/artifact"
	"lode/web"
)

// TestOpenAPITellsOfAllHandlers: whatever the scheduler answers is in the document, and
// whatever is in the document is answered, in the form that it says.
func TestOpenAPITellsOfAllHandlers(t *testing.T) {
	i := start(t)
	_, miner := i.mines()
	_, text := i.get(api.OpenAPIPath)
	var document struct {
		Paths map[string]map[string]struct {
			Responses map[string]struct{ Content map[string]any }
		}
	}
	if err := json.Unmarshal([]byte(text), &document); err != nil {
		t.Fatal(err)
	}
	for _, pattern := range i.s.Patterns() {
		method, path, found := strings.Cut(pattern, " ")
		if !found {
			method, path = "GET", pattern
		}
		switch path {
		case "/api/v1/": // package control
			continue
		case "/{$}":
			path = "/"
		case web.AssetPrefix:
			path += "{file}"
		case artifact.Prefix:
			path += "{digest}/" + artifact.Name
		}
		if _, ok := document.Paths[path][strings.ToLower(method)]; !ok {
			t.Errorf("the document does not tell of %s", pattern)
		}
	}
	digest := i.s.Status().Artifact.Digest
	for path, operations := range document.Paths {
		for method, operation := range operations {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel() // events have no end
			url := "http://" + i.s.Addr() + strings.NewReplacer("{task}", miner.TaskID.Value, "{agent}", "S1", "{digest}", digest, "{file}", "page.js").Replace(path)
			r, err := http.NewRequestWithContext(ctx, strings.ToUpper(method), url, strings.NewReader("no JSON"))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Content-Type", "application/json")
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
			want, described := http.StatusOK, operation.Responses["200"].Content
			if method == "post" { // what it does is tried elsewhere
				want, described = http.StatusBadRequest, operation.Responses["default"].Content
			}
			if _, ok := described[media]; !ok || resp.StatusCode != want {
				t.Errorf("%s %s: %d %s, want %d and one of %v", method, path, resp.StatusCode, media, want, described)
			}
		}
	}
}
