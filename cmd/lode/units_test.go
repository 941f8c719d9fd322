package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// Secrets are where the units' LoadCredential= puts them: the packages' configuration names these files, and with it
// the commands of the units read them. Systemd is not asked: its part, a folder with a file for each secret that only
// the unit's user can read, is made here.
func TestUnitsFindTheirSecrets(t *testing.T) {
	file := func(name string) string {
		b, err := os.ReadFile(filepath.Join(root, "deploy", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	configuration := file("lode.yaml")
	for _, command := range []string{"proxy", "scheduler"} {
		t.Run(command, func(t *testing.T) {
			unit := "lode-" + command + ".service"
			load := regexp.MustCompile(`(?m)^LoadCredential=([a-z]+):(/etc/lode/secrets)$`).FindStringSubmatch(file(unit))
			if load == nil {
				t.Fatalf("%s loads no secrets", unit)
			}
			_, section, found := strings.Cut("\n"+configuration, "\n"+command+":\n")
			section, _, _ = strings.Cut(section, "\n\n")
			named := regexp.MustCompile(`(?m)^  # (node-password-file: )(\S+)/(\S+)$`).FindStringSubmatch(section)
			if !found || named == nil {
				t.Fatalf("deploy/lode.yaml names no secret of %s", command)
			}
			if want := "/run/credentials/" + unit; named[2] != want || named[3] != load[1]+"_node-password" {
				t.Errorf("deploy/lode.yaml has a secret at %s/%s, and %s gets it at %s/%s_node-password", named[2], named[3], unit, want, load[1])
			}

			// $CREDENTIALS_DIRECTORY as systemd makes it.
			credentials := t.TempDir()
			if err := os.WriteFile(filepath.Join(credentials, named[3]), []byte("a secret\n"), 0o400); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(credentials, 0o500); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.Chmod(credentials, 0o700) })
			t.Setenv("CREDENTIALS_DIRECTORY", credentials)

			var mu sync.Mutex
			passwords := map[string]bool{}
			node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				user, password, _ := r.BasicAuth()
				mu.Lock()
				passwords[user+":"+password] = true
				mu.Unlock()
				http.Error(w, "this is no node", http.StatusInternalServerError)
			}))
			defer node.Close()
			text := strings.NewReplacer("# "+named[1], named[1], named[2], credentials, "http://127.0.0.1:8332", node.URL,
				"http://127.0.0.1:5050", "http://127.0.0.1:1", "# payout-address: bc1q…", "payout-address: "+simnetAddress, "0.0.0.0:", "127.0.0.1:").Replace(configuration)
			config := filepath.Join(t.TempDir(), "lode.yaml")
			if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			var stdout, stderr bytes.Buffer
			args := []string{command, "check", "--config", config, "--state-dir", t.TempDir()}
			if command == "scheduler" {
				executor := filepath.Join(t.TempDir(), "program")
				if err := os.WriteFile(executor, []byte("#!/bin/false\n"), 0o700); err != nil {
					t.Fatal(err)
				}
				args = append(args, "--executor", executor)
			}
			if code := run(t.Context(), args, &stdout, &stderr); code != exitFailed { // the node is none
				t.Errorf("exit code %d: %s%s", code, &stdout, &stderr)
			}
			mu.Lock()
			defer mu.Unlock()
			if len(passwords) != 1 || !passwords["lode:a secret"] {
				t.Errorf("the node was asked as %v: %s%s", passwords, &stdout, &stderr)
			}
		})
	}
}
