package fetcher

import (
	"archive/tar"
	"archive/zip"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
)

// unpackers are the suffixes that Mesos extracts, in its order of trial.
var unpackers = []struct {
	suffix string
	unpack func(source *os.File, t *tree) error
}{
	{".tar", func(s *os.File, t *tree) error { return t.untar(s) }},
	{".tgz", gunzipTar},
	{".tar.gz", gunzipTar},
	{".tbz2", func(s *os.File, t *tree) error { return t.untar(bzip2.NewReader(s)) }},
	{".tar.bz2", func(s *os.File, t *tree) error { return t.untar(bzip2.NewReader(s)) }},
	{".txz", unxzTar},
	{".tar.xz", unxzTar},
	{".zip", func(s *os.File, t *tree) error { return t.unzip(s) }},
	{".gz", gunzip},
}

func isArchive(path string) bool {
	for _, u := range unpackers {
		if strings.HasSuffix(path, u.suffix) {
			return true
		}
	}
	return false
}

// extract unpacks an archive into a directory. What would land outside of it is an error.
func extract(archive, dir string, own func(path string) error) error {
	fail := func(err error) error {
		return failf("Failed to extract archive '%s' to '%s': %v", archive, dir, err)
	}
	source, err := os.Open(archive)
	if err != nil {
		return fail(err)
	}
	defer source.Close()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fail(err)
	}
	defer root.Close()
	t := &tree{root: root, own: own, archive: filepath.Base(archive)}
	for _, u := range unpackers {
		if strings.HasSuffix(archive, u.suffix) {
			if err := u.unpack(source, t); err != nil {
				return fail(err)
			}
			return nil
		}
	}
	return fail(errors.New("unknown kind of archive"))
}

// tree is where an archive is unpacked.
type tree struct {
	root    *os.Root
	own     func(path string) error
	archive string
}

func gunzipTar(source *os.File, t *tree) error {
	z, err := gzip.NewReader(source)
	if err != nil {
		return err
	}
	return t.untar(z)
}

func unxzTar(source *os.File, t *tree) error {
	cmd := exec.Command("xz", "-dc")
	cmd.Stdin = source
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("xz archives need the program xz: %w", err)
	}
	err = t.untar(out)
	_, _ = io.Copy(io.Discard, out)
	return errors.Join(err, cmd.Wait())
}

func gunzip(source *os.File, t *tree) error {
	z, err := gzip.NewReader(source)
	if err != nil {
		return err
	}
	return t.file(strings.TrimSuffix(t.archive, ".gz"), 0o644, z)
}

func (t *tree) untar(source io.Reader) error {
	r := tar.NewReader(source)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := path.Clean(h.Name)
		mode := fs.FileMode(h.Mode).Perm() //nolint:gosec // permission bits only
		switch h.Typeflag {
		case tar.TypeDir:
			err = t.dir(name)
		case tar.TypeReg:
			err = t.file(name, mode, r)
		case tar.TypeSymlink:
			err = t.link(name, func() error { return t.root.Symlink(h.Linkname, name) })
		case tar.TypeLink:
			err = t.link(name, func() error { return t.root.Link(path.Clean(h.Linkname), name) })
		}
		if err != nil {
			return err
		}
	}
}

func (t *tree) unzip(source *os.File) error {
	stat, err := source.Stat()
	if err != nil {
		return err
	}
	z, err := zip.NewReader(source, stat.Size())
	if err != nil {
		return err
	}
	for _, f := range z.File {
		if err := t.unzipFile(f); err != nil {
			return err
		}
	}
	return nil
}

func (t *tree) unzipFile(f *zip.File) error {
	name := path.Clean(f.Name)
	if strings.HasSuffix(f.Name, "/") {
		return t.dir(name)
	}
	content, err := f.Open()
	if err != nil {
		return err
	}
	defer content.Close()
	if f.Mode()&fs.ModeSymlink != 0 {
		target, err := io.ReadAll(content)
		if err != nil {
			return err
		}
		return t.link(name, func() error { return t.root.Symlink(string(target), name) })
	}
	mode := f.Mode().Perm()
	if mode == 0 {
		mode = 0o644
	}
	return t.file(name, mode, content)
}

func (t *tree) dir(name string) error {
	if name == "." {
		return nil
	}
	if err := t.root.MkdirAll(name, 0o755); err != nil {
		return err
	}
	for d := name; d != "."; d = path.Dir(d) {
		if err := t.own(filepath.Join(t.root.Name(), d)); err != nil {
			return err
		}
	}
	return nil
}

func (t *tree) file(name string, mode fs.FileMode, content io.Reader) error {
	if err := t.dir(path.Dir(name)); err != nil {
		return err
	}
	f, err := t.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, content); err != nil { //nolint:gosec // as large as the framework wants it
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return t.own(filepath.Join(t.root.Name(), name))
}

func (t *tree) link(name string, make func() error) error {
	if err := t.dir(path.Dir(name)); err != nil {
		return err
	}
	if err := t.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return make()
}
