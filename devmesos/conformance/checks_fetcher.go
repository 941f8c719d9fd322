package conformance

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

func uri(v string, more ...Doc) Doc { return merge(Doc{"value": v}, more...) }

// fetching launches a probe with further URIs and returns it started.
func (f *Framework) fetching(uris ...Doc) *Probe {
	f.c.Helper()
	p, info := f.Executor()
	f.launchFetching(p, info, uris...)
	f.Arrived(p)
	return p
}

func (f *Framework) launchFetching(p *Probe, info Doc, uris ...Doc) string {
	f.c.Helper()
	cmd, _ := info["command"].(Doc)
	info["command"] = merge(cmd, Doc{"uris": append(items(cmd, "uris"), list(uris...)...)})
	o := f.Offer(0.2, 64, "")
	p.agent = text(o, "agent_id.value")
	p.tasks = []string{f.c.name("t")}
	f.Launch(o, task(p.tasks[0], p.agent, info))
	return p.tasks[0]
}

func methods(fs []fetched) string {
	s := ""
	for _, f := range fs {
		s += f.Method + " "
	}
	return s
}

func fetcherChecks() []Check {
	pa := Spec{Caps: []string{"PARTITION_AWARE"}}
	// fails launches with one more URI, whose fetch must fail, and looks at what is reported.
	fails := func(c *C, value string, more ...Doc) {
		f := c.Framework(pa)
		p, info := f.Executor()
		t := f.launchFetching(p, info, uri(value, more...))
		e := f.Event("FAILURE", failure(p.agent, p.ID))
		present(c, e.Doc, "failure.status") // 1<<8 or 9: recorded both ways
		st := f.terminated(t, "TASK_FAILED", "REASON_CONTAINER_LAUNCH_FAILED", "")
		contains(c, "message", text(st, "message"), "Failed to launch container: Failed to fetch all URIs for container '")
		if c.agentFlags != nil {
			log := c.sandboxFile(p, f.ID, "stderr")
			contains(c, "stderr in the sandbox", log, "Fetcher Info: ")
			contains(c, "stderr in the sandbox", log, value)
		}
	}
	serve := func(c *C, kind string, h http.HandlerFunc) string {
		return c.hub.handle("/"+c.name(kind)+"/file", h)
	}
	return []Check{
		{Name: "fetcher/without cache: one GET with nothing special", Doc: "§7; R03", Run: func(c *C) {
			f := c.Framework(pa)
			path := "/" + c.name("plain") + "/file"
			u := c.hub.handle(path, serveBytes([]byte("content")))
			p := f.fetching(uri(u+"?q=1", Doc{"extract": false}))
			seen := c.hub.requests(path)
			equal(c, "requests", methods(seen), "GET ")
			equal(c, "URI", seen[0].URI, path+"?q=1")
			equal(c, "Accept", seen[0].Header.Get("Accept"), "*/*")
			if ua := seen[0].Header.Get("User-Agent"); ua != "" {
				c.Errorf("User-Agent %q, recorded none", ua)
			}
			equal(c, "content under the last part of the path with the query", p.read("file?q=1"), "content")
		}},
		{Name: "fetcher/cache: HEAD, GET, and nothing the next time", Doc: "§7; R03", Run: func(c *C) {
			f := c.Framework(pa)
			path := "/" + c.name("cached") + "/file"
			u := c.hub.handle(path, serveBytes([]byte("content")))
			p := f.fetching(uri(u, Doc{"cache": true, "extract": false}))
			equal(c, "requests at first", methods(c.hub.requests(path)), "HEAD GET ")
			equal(c, "content", p.read("file"), "content")
			q, info := f.Executor()
			cmd, _ := info["command"].(Doc)
			info["command"] = merge(cmd, Doc{"uris": append(items(cmd, "uris"), uri(u, Doc{"cache": true, "extract": false, "output_file": "other"}))})
			o := f.Offer(0.2, 64, p.agent)
			f.Launch(o, task(c.name("t"), p.agent, info))
			f.Arrived(q)
			equal(c, "requests in all", methods(c.hub.requests(path)), "HEAD GET ")
			equal(c, "content from the cache", q.read("other"), "content")
		}},
		{Name: "fetcher/cache key is the exact URI", Doc: "§7", Run: func(c *C) {
			f := c.Framework(pa)
			path := "/" + c.name("cached") + "/file"
			u := c.hub.handle(path, serveBytes([]byte("content")))
			f.fetching(uri(u+"?a", Doc{"cache": true, "extract": false}), uri(u+"?b", Doc{"cache": true, "extract": false}))
			if n := len(c.hub.requests(path)); n != 4 {
				c.Errorf("%d requests, expected a HEAD and a GET for each of two URIs", n)
			}
		}},
		{Name: "fetcher/modes", Doc: "§7; R03", Run: func(c *C) {
			f := c.Framework(pa)
			u := serve(c, "modes", serveBytes([]byte("x")))
			p := f.fetching(uri(u, Doc{"executable": true, "output_file": "run"}), uri(u, Doc{"extract": false, "output_file": "plain"}))
			files := p.Process().Files
			equal(c, "mode of an executable", files["run"], 0o755)
			equal(c, "mode of a plain file", files["plain"], 0o644)
		}},
		{Name: "fetcher/output_file makes directories", Doc: "§7", Run: func(c *C) {
			f := c.Framework(pa)
			p := f.fetching(uri(serve(c, "dir", serveBytes([]byte("deep"))), Doc{"extract": false, "output_file": "a/b/c"}))
			equal(c, "content", p.read("a/b/c"), "deep")
		}},
		{Name: "fetcher/archives are unpacked unless told otherwise", Doc: "§7", Run: func(c *C) {
			f := c.Framework(pa)
			dir := "/" + c.name("archive")
			tgz := c.hub.handle(dir+"/x.tar.gz", serveBytes(tarball("inside.txt", "from the archive")))
			kept := c.hub.handle(dir+"/kept.tgz", serveBytes(tarball("not.txt", "never")))
			p := f.fetching(uri(tgz), uri(kept, Doc{"extract": false}))
			equal(c, "unpacked file", p.read("inside.txt"), "from the archive")
			files := p.Process().Files
			if _, ok := files["kept.tgz"]; !ok {
				c.Error("kept.tgz is not there")
			}
			if _, ok := files["not.txt"]; ok {
				c.Error("an archive with extract: false was unpacked")
			}
		}},
		{Name: "fetcher/redirects are followed", Doc: "§7", Run: func(c *C) {
			f := c.Framework(pa)
			final := serve(c, "final", serveBytes([]byte("moved")))
			u := serve(c, "redirect", http.RedirectHandler(final, http.StatusFound).ServeHTTP)
			p := f.fetching(uri(u, Doc{"extract": false, "output_file": "got"}))
			equal(c, "content", p.read("got"), "moved")
		}},
		{Name: "fetcher/file URI", Doc: "§7", Run: func(c *C) {
			if c.target.Advertise != "" {
				c.Skip("a local file is of use only if the agents are on this machine")
			}
			file := filepath.Join(c.TempDir(), "local.txt")
			if err := os.WriteFile(file, []byte("local"), 0o644); err != nil {
				c.Fatal(err)
			}
			for dir := filepath.Dir(file); len(dir) > len(os.TempDir()); dir = filepath.Dir(dir) {
				if err := os.Chmod(dir, 0o755); err != nil { // the fetcher may be another user
					c.Fatal(err)
				}
			}
			f := c.Framework(pa)
			p := f.fetching(uri("file://"+file, Doc{"output_file": "one"}), uri(file, Doc{"output_file": "two"}))
			equal(c, "file://", p.read("one"), "local")
			equal(c, "absolute path", p.read("two"), "local")
		}},
		{Name: "fetcher/log in the sandbox", Doc: "§7; R03", Run: func(c *C) {
			f := c.Framework(pa)
			u := serve(c, "logged", serveBytes([]byte("x")))
			p := f.fetching(uri(u, Doc{"extract": false}))
			log := p.read("stderr")
			contains(c, "stderr", log, "Fetcher Info: {")
			contains(c, "stderr", log, `"sandbox_directory":"`)
			contains(c, "stderr", log, u)
			contains(c, "stderr", log, "Fetched '"+u+"'")
			equal(c, "stdout", p.read("stdout"), "")
		}},
		{Name: "fetcher/404", Doc: "§7; R06", Run: func(c *C) { fails(c, serve(c, "404", http.NotFound)) }},
		{Name: "fetcher/404 with cache", Doc: "§7; R06", Run: func(c *C) { fails(c, serve(c, "404", http.NotFound), Doc{"cache": true}) }},
		{Name: "fetcher/500", Doc: "§7; R06", Run: func(c *C) {
			fails(c, serve(c, "500", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInternalServerError) }))
		}},
		{Name: "fetcher/201 is not 200", Doc: "§7: must be exactly 200", Run: func(c *C) {
			fails(c, serve(c, "201", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusCreated) }))
		}},
		{Name: "fetcher/truncated body", Doc: "§7; R06", Run: func(c *C) {
			fails(c, serve(c, "short", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "1000")
				_, _ = w.Write([]byte("short"))
			}))
		}},
		{Name: "fetcher/connection refused", Doc: "§7; R06", Run: func(c *C) { fails(c, "http://127.0.0.1:1/file") }},
		{Name: "fetcher/KILL during the fetch", Doc: "§2.7, §6.2; R05", Run: func(c *C) {
			f := c.Framework(pa)
			release := make(chan struct{})
			defer close(release)
			asked := make(chan struct{}, 10)
			u := serve(c, "slow", func(w http.ResponseWriter, r *http.Request) {
				asked <- struct{}{}
				select {
				case <-release:
				case <-r.Context().Done():
				}
			})
			p, info := f.Executor()
			t := f.launchFetching(p, info, uri(u))
			select {
			case <-asked:
			case <-time.After(c.target.Patience):
				c.Fatalf("the fetcher did not ask for the file; events:%v", f.log)
			}
			f.Call("KILL", Doc{"kill": Doc{"task_id": value(t)}})
			st := f.Take(t, "TASK_KILLED")
			equal(c, "reason", text(st, "reason"), "REASON_TASK_KILLED_DURING_LAUNCH")
			equal(c, "message", text(st, "message"), "Killed before delivery to the executor")
		}},
	}
}

// tarball is a .tar.gz of one file.
func tarball(name, content string) []byte {
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	t := tar.NewWriter(z)
	// Writing to memory cannot fail.
	_ = t.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), Typeflag: tar.TypeReg})
	_, _ = t.Write([]byte(content))
	_ = t.Close()
	_ = z.Close()
	return buf.Bytes()
}

// sandboxFile reads a file of an executor's sandbox over the agent's HTTP port.
func (c *C) sandboxFile(p *Probe, framework, name string) string {
	c.Helper()
	cl := c.agentClient(p.agent)
	defer cl.close()
	var got string
	c.eventually(name+" of "+p.ID, func() error {
		a, err := cl.get(c.ctx, fmt.Sprintf("/files/download?path=/frameworks/%s/executors/%s/runs/latest/%s", framework, p.ID, name))
		if err != nil {
			return err
		}
		if a.Status != http.StatusOK {
			return fmt.Errorf("answer %v", a)
		}
		got = a.Body
		return nil
	})
	return got
}

func (c *C) agentClient(id string) *client {
	c.Helper()
	for _, a := range c.agents {
		if a.ID == id {
			return newClient("http://"+a.Endpoint, basicAuth(c.target.Operator, c.target.OperatorSecret))
		}
	}
	c.Fatalf("agent %s is not among %v", id, c.agents)
	return nil
}

// filesChecks read a sandbox over HTTP.
func filesChecks() []Check {
	return []Check{{Name: "files/browse, read, download", Doc: "§7, §15; R13", Run: func(c *C) {
		f := c.Framework(Spec{})
		p, _ := f.Start(Prepared{})
		pr := p.Process()
		p.do(writeCommand("0123456789"))
		for _, base := range []string{pr.Cwd, fmt.Sprintf("/frameworks/%s/executors/%s/runs/latest", f.ID, p.ID)} {
			a := p.getFile("/files/browse?path=" + base)
			equal(c, "browse", a.Status, http.StatusOK)
			modes := map[string]string{}
			for _, e := range at(listDoc(a), "list").([]any) {
				modes[text(e, "path")] = text(e, "mode")
				for _, k := range []string{"nlink", "size", "mtime", "uid", "gid"} {
					present(c, e, k)
				}
			}
			equal(c, "mode of the probe", modes[base+"/probe"], "-rwxr-xr-x")
			equal(c, "mode of stdout", modes[base+"/stdout"], "-rw-r--r--")

			read := func(query string, offset float64, data string) {
				c.Helper()
				d := p.getFile("/files/read?path=" + base + "/stdout" + query).doc()
				equal(c, "read"+query+" offset", number(d, "offset"), offset)
				equal(c, "read"+query+" data", text(d, "data"), data)
			}
			read("&offset=0&length=4", 0, "0123")
			read("&offset=4&length=100", 4, "456789")
			read("&offset=-1", 10, "")
			read("&offset=-1&length=-1", 10, "")
			read("", 10, "")
			read("&offset=100000&length=10", 100000, "")

			a = p.getFile("/files/download?path=" + base + "/stdout")
			equal(c, "download", a.Body, "0123456789")
			equal(c, "Content-Disposition", a.Header.Get("Content-Disposition"), "attachment; filename=stdout")
			equal(c, "Content-Type", a.Header.Get("Content-Type"), "application/octet-stream")
		}
		d := p.getFile("/files/read?path=" + pr.Cwd + "/probe&offset=0&length=100000000").doc()
		if n := len(text(d, "data")); n == 0 || n > 16*4096*6 { // bytes that are no text are longer in JSON
			c.Errorf("read of everything gave %d characters, expected at most 16 pages", n)
		}
		equal(c, "browse of a file", p.getFile("/files/browse?path="+pr.Cwd+"/stdout").Body, "[]")
	}}}
}

func (p *Probe) getFile(path string) answer {
	p.c.Helper()
	a, err := p.request(http.MethodGet, path, nil, nil)
	if err != nil {
		p.c.Fatalf("GET %s: %v", path, err)
	}
	return a
}
