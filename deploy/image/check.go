package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// check reads an image as a runtime does, from index.json on: each digest and size must be
// right, the layers unpack into folder (""; nowhere), and the configuration names a program that is there.
func check(file, folder string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	files := make(map[string][]byte)
	if err := each(f, func(h *tar.Header, content []byte) error {
		files[h.Name] = content
		return nil
	}); err != nil {
		return err
	}
	var layout struct {
		Version string `json:"imageLayoutVersion"`
	}
	if err := json.Unmarshal(files["oci-layout"], &layout); err != nil || layout.Version != "1.0.0" {
		return fmt.Errorf("oci-layout: version %q (%v)", layout.Version, err)
	}
	blob := func(d descriptor) ([]byte, error) {
		b, ok := files["blobs/"+strings.Replace(d.Digest, ":", "/", 1)]
		if !ok || digest(b) != d.Digest || len(b) != d.Size {
			return nil, fmt.Errorf("blob %s of %d bytes (%s): there are %d bytes of %s", d.Digest, d.Size, d.MediaType, len(b), digest(b))
		}
		return b, nil
	}
	read := func(d descriptor, into any) error {
		b, err := blob(d)
		if err != nil {
			return err
		}
		return json.Unmarshal(b, into)
	}
	var index struct{ Manifests []descriptor }
	if err := json.Unmarshal(files["index.json"], &index); err != nil || len(index.Manifests) != 1 {
		return fmt.Errorf("index.json: %d manifests (%v)", len(index.Manifests), err)
	}
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	if err := read(index.Manifests[0], &manifest); err != nil {
		return err
	}
	var config struct {
		Architecture, OS string
		Config           struct {
			Entrypoint []string
			User       string
		}
		Rootfs struct {
			Type    string
			DiffIDs []string `json:"diff_ids"`
		}
	}
	if err := read(manifest.Config, &config); err != nil {
		return err
	}
	if p := index.Manifests[0].Platform; p == nil || p.Architecture != config.Architecture || p.OS != "linux" || config.OS != "linux" {
		return fmt.Errorf("platform %+v, configuration %s/%s", p, config.OS, config.Architecture)
	}
	if config.Rootfs.Type != "layers" || len(config.Rootfs.DiffIDs) != len(manifest.Layers) {
		return fmt.Errorf("%d diff_ids of %q, %d layers", len(config.Rootfs.DiffIDs), config.Rootfs.Type, len(manifest.Layers))
	}
	programs := make(map[string]bool)
	for i, d := range manifest.Layers {
		packed, err := blob(d)
		if err != nil {
			return err
		}
		zip, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			return err
		}
		plain, err := io.ReadAll(zip)
		if err != nil {
			return err
		}
		if digest(plain) != config.Rootfs.DiffIDs[i] {
			return fmt.Errorf("layer %d is %s, diff_ids say %s", i, digest(plain), config.Rootfs.DiffIDs[i])
		}
		err = each(bytes.NewReader(plain), func(h *tar.Header, content []byte) error {
			if h.Mode&0o111 != 0 {
				programs["/"+h.Name] = true
			}
			if folder == "" {
				return nil
			}
			to := filepath.Join(folder, filepath.FromSlash(h.Name))
			if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
				return err
			}
			return os.WriteFile(to, content, os.FileMode(h.Mode))
		})
		if err != nil {
			return err
		}
	}
	switch c := config.Config; {
	case len(c.Entrypoint) == 0 || !programs[c.Entrypoint[0]]:
		return fmt.Errorf("the entrypoint %q is no program of the image", c.Entrypoint)
	case c.User == "" || slices.Contains([]string{"0", "root"}, strings.Split(c.User, ":")[0]):
		return fmt.Errorf("it runs as %q", c.User)
	}
	return nil
}

// each reads a tar archive that holds files only, with names that stay inside.
func each(r io.Reader, f func(*tar.Header, []byte) error) error {
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg || path.Clean(h.Name) != h.Name || !filepath.IsLocal(h.Name) {
			return fmt.Errorf("%q is no plain file below the archive's root", h.Name)
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			return err
		}
		if err := f(h, content); err != nil {
			return err
		}
	}
}
