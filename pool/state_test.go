package pool

import (
	"os"
	"path/filepath"
	"testing"
)

// TestDamagedAccounts: what cannot be read is kept, over the next save too.
func TestDamagedAccounts(t *testing.T) {
	for name, content := range map[string]string{"cut": `{"version":1,"workers":[{"na`, "another version": `{"version":2}`, "empty": ""} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "accounts.json")
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			p, err := New(Config{Listen: "127.0.0.1:0", StateDir: dir, Upstreams: []Upstream{{URL: "node:http://127.0.0.1:1"}}})
			if err != nil {
				t.Fatal(err)
			}
			defer p.closeState()
			if err := p.accounts.Save(path); err != nil {
				t.Fatal(err)
			}
			kept, _ := filepath.Glob(path + ".damaged-*")
			if len(kept) != 1 {
				t.Fatalf("kept: %v", kept)
			}
			if got, err := os.ReadFile(kept[0]); err != nil || string(got) != content {
				t.Errorf("kept %q (%v), want %q", got, err, content)
			}
		})
	}
}
