package agent

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/user"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"lode/devmesos/internal/wire"
)

// The agent's log and sandboxes can be read, the latter under three names: their path, that of the link latest, and a virtual one without the agent's
// work directory (src/files/files.cpp of Mesos). Nothing else on the machine can.

// maxRead is how many bytes one read gives: 16 pages.
const maxRead = 16 * 4096

// attached are the names under which directories can be read.
func (p *process) attached() map[string]string {
	names := map[string]string{"/slave/log": filepath.Join(p.config.WorkDir, logName)}
	attach := func(e *executor) {
		runs := filepath.Dir(e.directory)
		names[e.directory] = e.directory
		names[filepath.Join(runs, "latest")] = e.directory
		names[path.Join("/frameworks", e.framework.id(), "executors", e.id(), "runs/latest")] = e.directory
	}
	for _, f := range slices.Concat(p.completed, p.order) {
		for _, e := range slices.Concat(f.completed, f.executors) {
			attach(e)
		}
	}
	return names
}

// errNotAttached is for paths that cannot be read.
var errNotAttached = errors.New("not found")

// resolve finds what a name stands for. It never leaves the attached directory.
func (p *process) resolve(name string) (string, error) {
	if slices.Contains(strings.Split(name, "/"), "..") {
		return "", errNotAttached
	}
	name = path.Clean("/" + name)
	var names map[string]string
	p.inbox.do(func() { names = p.attached() })
	for prefix := name; prefix != "/"; prefix = path.Dir(prefix) {
		dir, there := names[prefix]
		if !there {
			continue
		}
		found, err := filepath.EvalSymlinks(filepath.Join(dir, strings.TrimPrefix(name, prefix)))
		if err != nil {
			return "", errNotAttached
		}
		root, err := filepath.EvalSymlinks(dir)
		if err != nil || found != root && !strings.HasPrefix(found, root+"/") {
			return "", errNotAttached
		}
		return found, nil
	}
	return "", errNotAttached
}

// pathOf is the query parameter path.
func pathOf(w http.ResponseWriter, r *http.Request) (string, bool) {
	name := r.URL.Query().Get("path")
	if name == "" {
		wire.WriteText(w, http.StatusBadRequest, "Expecting 'path=value' in query.\n")
	}
	return name, name != ""
}

// notFoundEmpty is 404 with a type but without a body, as /files answers.
func notFoundEmpty(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	wire.WriteText(w, http.StatusNotFound, "")
}

// fileView is one entry of a directory.
type fileView struct {
	GID   string  `json:"gid"`
	Mode  string  `json:"mode"`
	Mtime float64 `json:"mtime"`
	Nlink uint64  `json:"nlink"`
	Path  string  `json:"path"`
	Size  int64   `json:"size"`
	UID   string  `json:"uid"`

	mode uint32 // as stat has it
}

func (p *process) serveBrowse(w http.ResponseWriter, r *http.Request) {
	name, ok := pathOf(w, r)
	if !ok {
		return
	}
	files, err := p.browse(name)
	if err != nil {
		notFoundEmpty(w)
		return
	}
	writeJSON(w, r, wire.AppendJSON(nil, files))
}

// browse lists a directory; of anything else the list is empty.
func (p *process) browse(name string) ([]fileView, error) {
	dir, err := p.resolve(name)
	if err != nil {
		return nil, err
	}
	entries, _ := os.ReadDir(dir)
	files := []fileView{}
	for _, e := range entries {
		stat, err := os.Stat(filepath.Join(dir, e.Name()))
		if err != nil {
			continue // a link that leads nowhere, or a file that has just gone
		}
		files = append(files, describeFile(path.Join(name, e.Name()), stat))
	}
	return files, nil
}

func describeFile(name string, stat fs.FileInfo) fileView {
	view := fileView{
		Path:  name,
		Mode:  modeText(stat.Mode()),
		Mtime: float64(stat.ModTime().Unix()),
		Size:  stat.Size(),
	}
	if sys, ok := stat.Sys().(*syscall.Stat_t); ok {
		view.Nlink = uint64(sys.Nlink) //nolint:unconvert // its type differs between systems
		view.mode = sys.Mode
		view.UID, view.GID = strconv.Itoa(int(sys.Uid)), strconv.Itoa(int(sys.Gid))
		if u, err := user.LookupId(view.UID); err == nil {
			view.UID = u.Username
		}
		if g, err := user.LookupGroupId(view.GID); err == nil {
			view.GID = g.Name
		}
	}
	return view
}

// modeText is a mode as ls shows it.
func modeText(mode fs.FileMode) string {
	kind := "-"
	switch {
	case mode.IsDir():
		kind = "d"
	case mode&fs.ModeSocket != 0:
		kind = "s"
	case mode&fs.ModeNamedPipe != 0:
		kind = "p"
	case mode&fs.ModeCharDevice != 0:
		kind = "c"
	case mode&fs.ModeDevice != 0:
		kind = "b"
	}
	return kind + mode.Perm().String()[1:]
}

func (p *process) serveRead(w http.ResponseWriter, r *http.Request) {
	name, ok := pathOf(w, r)
	if !ok {
		return
	}
	offset, refusal := number(r, "offset")
	length := int64(-1)
	if refusal == nil {
		length, refusal = number(r, "length")
	}
	var data []byte
	var size int64
	if refusal == nil {
		limit := int64(maxRead)
		if length >= 0 {
			limit = min(limit, length)
		}
		data, size, refusal = p.read(name, offset, limit)
	}
	if refusal != nil {
		if refusal.Status == http.StatusNotFound {
			notFoundEmpty(w)
			return
		}
		refusal.Write(w)
		return
	}
	if offset == -1 {
		offset = size
	}
	writeJSON(w, r, wire.AppendJSON(nil, struct {
		Data   string `json:"data"`
		Offset int64  `json:"offset"`
	}{string(data), offset}))
}

// number is a query parameter that is −1 if it is not there.
func number(r *http.Request, name string) (int64, *wire.Refusal) {
	text := r.URL.Query().Get(name)
	if !r.URL.Query().Has(name) {
		return -1, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil:
		return 0, wire.Refuse(http.StatusBadRequest, "Failed to parse %s: Failed to convert '%s' to number.\n", name, text)
	case n < -1:
		return 0, wire.Refuse(http.StatusBadRequest, "Negative %s provided: %d.\n", name, n)
	}
	return n, nil
}

// read gives at most limit bytes from offset on and the size of the file; offset −1 only asks for the size.
func (p *process) read(name string, offset, limit int64) (data []byte, size int64, refusal *wire.Refusal) {
	found, err := p.resolve(name)
	if err != nil {
		return nil, 0, wire.Refuse(http.StatusNotFound, "")
	}
	stat, err := os.Stat(found)
	if err != nil {
		return nil, 0, wire.Refuse(http.StatusNotFound, "")
	}
	if stat.IsDir() {
		return nil, 0, wire.Refuse(http.StatusBadRequest, "Cannot read a directory.\n")
	}
	if offset < 0 || offset >= stat.Size() || limit == 0 {
		return nil, stat.Size(), nil
	}
	f, err := os.Open(found)
	if err != nil {
		return nil, 0, wire.Refuse(http.StatusInternalServerError, "Failed to open file at '%s': %s.\n", found, err)
	}
	defer f.Close()
	data = make([]byte, min(limit, stat.Size()-offset))
	n, err := f.ReadAt(data, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, wire.Refuse(http.StatusInternalServerError, "Failed to read file at '%s': %s.\n", found, err)
	}
	return data[:n], stat.Size(), nil
}

func (p *process) serveDownload(w http.ResponseWriter, r *http.Request) {
	name, ok := pathOf(w, r)
	if !ok {
		return
	}
	found, err := p.resolve(name)
	if err != nil {
		wire.WriteText(w, http.StatusNotFound, "404 Not Found.")
		return
	}
	f, err := os.Open(found)
	if err != nil {
		wire.WriteText(w, http.StatusNotFound, "404 Not Found.")
		return
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil || stat.IsDir() {
		wire.WriteText(w, http.StatusBadRequest, "Cannot download a directory.\n")
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%s", filepath.Base(found)))
	w.Header().Set("Content-Length", strconv.FormatInt(stat.Size(), 10))
	_, _ = io.CopyN(w, f, stat.Size()) // it may grow meanwhile, the rest is for the next download
}
