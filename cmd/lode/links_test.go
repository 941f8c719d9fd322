package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	linkForm    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	mentionForm = regexp.MustCompile(`(?:^|[^A-Za-z0-9_./-])((?:docs|deploy|e2e|web|cmd|scheduler|devmesos)/[A-Za-z0-9_./-]+\.(?:md|ya?ml|json|sh|png|service|go))\b`)
	notInAnchor = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// anchors are those of a document's headings, as GitHub makes them.
func anchors(text string) map[string]bool {
	found := map[string]bool{}
	fenced := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		}
		level, title, ok := strings.Cut(strings.TrimSpace(line), " ")
		if fenced || !ok || strings.Trim(level, "#") != "" {
			continue
		}
		found[strings.ReplaceAll(notInAnchor.ReplaceAllString(strings.ToLower(title), ""), " ", "-")] = true
	}
	return found
}

// brokenLinks are links of a document to files or headings that there are not, and paths that it
// names. Those of other sites are nobody's to check here.
func brokenLinks(root, name, text string) (broken []string) {
	for _, m := range linkForm.FindAllStringSubmatch(text, -1) {
		if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
			continue
		}
		file, anchor, hasAnchor := strings.Cut(m[1], "#")
		path := filepath.Join(root, filepath.Dir(name), file)
		if file == "" {
			path = filepath.Join(root, name)
		}
		there, err := os.ReadFile(path)
		if info, statErr := os.Stat(path); err != nil && (statErr != nil || !info.IsDir()) || hasAnchor && !anchors(string(there))[anchor] {
			broken = append(broken, m[1])
		}
	}
	for _, m := range mentionForm.FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
			broken = append(broken, m[1])
		}
	}
	return broken
}

// Each link within the documents leads somewhere.
func TestLinks(t *testing.T) {
	links := 0
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == "shared" || d.Name() == ".git" || d.Name() == "bin" || d.Name() == "dist") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".md" {
			return nil
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		links += len(linkForm.FindAllString(string(text), -1))
		for _, link := range brokenLinks(root, name, string(text)) {
			t.Errorf("%s: %s leads nowhere", name, link)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if links < 20 {
		t.Errorf("only %d links found: are the documents read right?", links)
	}
}

func TestBrokenLinks(t *testing.T) {
	folder := t.TempDir()
	text := "# A `b`: c, d\n```sh\n# no heading\n```\n"
	if err := os.WriteFile(filepath.Join(folder, "x.md"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for link, broken := range map[string]bool{
		"[a](x.md)": false, "[a](x.md#a-b-c-d)": false, "[a](#a-b-c-d)": false, "[a](https://example.org/y)": false, "![a](x.md)": false,
		"[a](y.md)": true, "[a](x.md#b)": true, "[a](#no-heading)": true, "see docs/y.md.": true, "`e2e/none.go`": true, "e2e.TestX": false,
	} {
		if got := brokenLinks(folder, "x.md", link); (len(got) > 0) != broken {
			t.Errorf("%s: %v", link, got)
		}
	}
}
