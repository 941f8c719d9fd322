// Image writes an OCI image (image-spec 1.1) of a few static programs as a tar archive,
// without Docker: one layer with the programs in /usr/bin and certificates to trust, and
// a configuration that runs the first one. The same input gives the same archive.
//
//	go run ./deploy/image -arch amd64 -version v1 -out lode.tar bin/lode bin/lode-executor
//	go run ./deploy/image -check lode.tar -root FOLDER
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const roots = "/etc/ssl/certs/ca-certificates.crt"

func main() {
	arch := flag.String("arch", "amd64", "architecture of the programs, as Go names it")
	version := flag.String("version", "", "version of the programs")
	out := flag.String("out", "", "archive to write")
	checked := flag.String("check", "", "archive to check instead: digests, layers and configuration")
	root := flag.String("root", "", "folder that a checked image is unpacked into")
	flag.Parse()
	if *checked != "" {
		if err := check(*checked, *root); err != nil {
			fmt.Fprintf(os.Stderr, "image: %s: %v\n", *checked, err)
			os.Exit(1)
		}
		return
	}
	if *out == "" || flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: image -arch ARCH -version VERSION -out FILE PROGRAM…")
		os.Exit(2)
	}
	if err := write(*out, *arch, *version, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// descriptor points to a blob.
type descriptor struct {
	MediaType string            `json:"mediaType"`
	Digest    string            `json:"digest"`
	Size      int               `json:"size"`
	Notes     map[string]string `json:"annotations,omitempty"`
	Platform  *platform         `json:"platform,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

// archive is a tar archive in the making; its files have no time.
type archive struct {
	bytes.Buffer
	tar *tar.Writer
}

func newArchive() *archive {
	a := new(archive)
	a.tar = tar.NewWriter(&a.Buffer)
	return a
}

func (a *archive) add(name string, mode int64, content []byte) error {
	header := &tar.Header{Name: name, Mode: mode, Size: int64(len(content)), ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
	if err := a.tar.WriteHeader(header); err != nil {
		return err
	}
	_, err := a.tar.Write(content)
	return err
}

func write(out, arch, version string, programs []string) error {
	layer := newArchive()
	for _, program := range programs {
		b, err := os.ReadFile(program)
		if err != nil {
			return err
		}
		if err := layer.add("usr/bin/"+filepath.Base(program), 0o755, b); err != nil {
			return err
		}
	}
	if b, err := os.ReadFile(roots); err == nil { // else TLS needs --…-ca
		if err := layer.add(roots[1:], 0o644, b); err != nil {
			return err
		}
	}
	if err := layer.tar.Close(); err != nil {
		return err
	}
	var packed bytes.Buffer
	zip, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if _, err := zip.Write(layer.Bytes()); err != nil {
		return err
	}
	if err := zip.Close(); err != nil {
		return err
	}

	image := newArchive()
	blob := func(kind string, b []byte) (descriptor, error) {
		d := descriptor{MediaType: kind, Digest: digest(b), Size: len(b)}
		return d, image.add("blobs/sha256/"+d.Digest[len("sha256:"):], 0o644, b)
	}
	layerBlob, err := blob("application/vnd.oci.image.layer.v1.tar+gzip", packed.Bytes())
	if err != nil {
		return err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": arch, "os": "linux",
		"config": map[string]any{
			"Entrypoint": []string{"/usr/bin/" + filepath.Base(programs[0])}, "User": "65534:65534",
			"Labels": map[string]string{"org.opencontainers.image.version": version, "org.opencontainers.image.licenses": "Apache-2.0"},
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest(layer.Bytes())}},
	})
	if err != nil {
		return err
	}
	configBlob, err := blob("application/vnd.oci.image.config.v1+json", config)
	if err != nil {
		return err
	}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": configBlob, "layers": []descriptor{layerBlob},
	})
	if err != nil {
		return err
	}
	manifestBlob, err := blob("application/vnd.oci.image.manifest.v1+json", manifest)
	if err != nil {
		return err
	}
	manifestBlob.Notes = map[string]string{"org.opencontainers.image.ref.name": version}
	manifestBlob.Platform = &platform{arch, "linux"}
	index, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []descriptor{manifestBlob},
	})
	if err != nil {
		return err
	}
	if err := image.add("index.json", 0o644, index); err != nil {
		return err
	}
	if err := image.add("oci-layout", 0o644, []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	if err := image.tar.Close(); err != nil {
		return err
	}
	return os.WriteFile(out, image.Bytes(), 0o644)
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
