package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func image(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	programs := []string{filepath.Join(dir, "lode"), filepath.Join(dir, "lode-executor")}
	for _, p := range programs {
		if err := os.WriteFile(p, []byte("the program "+filepath.Base(p)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(dir, "image.tar")
	if err := write(out, "arm64", "v1.2.3", programs); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func checked(t *testing.T, image []byte, folder string) error {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(file, image, 0o600); err != nil {
		t.Fatal(err)
	}
	return check(file, folder)
}

// An image unpacks to its programs, and the same input gives the same one.
func TestImage(t *testing.T) {
	b := image(t)
	if !bytes.Equal(b, image(t)) {
		t.Error("the second image is another one")
	}
	folder := t.TempDir()
	if err := checked(t, b, folder); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"lode", "lode-executor"} {
		file := filepath.Join(folder, "usr/bin", name)
		content, err := os.ReadFile(file)
		if err != nil || string(content) != "the program "+name {
			t.Errorf("%s: %q, %v", name, content, err)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

// A runtime would refuse these images, and so does check.
func TestFaultyImages(t *testing.T) {
	good := image(t)
	for name, c := range map[string]struct{ old, new string }{
		"another layout":         {`"1.0.0"`, `"9.0.0"`},
		"another architecture":   {`"architecture":"arm64","os":"linux"}`, `"architecture":"amd64","os":"linux"}`},
		"a changed blob":         {`"User":"65534:65534"`, `"User":"00000:00000"`},
		"a blob under no digest": {"blobs/sha256/", "blobs/sha255/"},
		"not JSON":               {`{"manifests"`, `["manifests"`},
	} {
		t.Run(name, func(t *testing.T) {
			if !bytes.Contains(good, []byte(c.old)) {
				t.Fatalf("%s is not in the image", c.old)
			}
			// The archive's own checksums cover headers only.
			if err := checked(t, bytes.ReplaceAll(good, []byte(c.old), []byte(c.new)), ""); err == nil {
				t.Error("it is taken")
			}
		})
	}
	if err := checked(t, good[:len(good)/2], ""); err == nil {
		t.Error("half an image is taken")
	}
}
