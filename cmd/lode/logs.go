package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"lode/internal/terminal"
	"lode/scheduler/api"
)

// logsCmd is `lode logs`.
type logsCmd struct {
	remoteFlags `embed:""`
	Task        string `arg:"" help:"Task, as lode status or lode tasks names it."`
	Follow      bool   `short:"f" help:"Go on with what is written until Ctrl-C."`
	File        string `help:"File of the sandbox." default:"stderr" placeholder:"NAME"`
	Principal   string `help:"Principal to authenticate with." placeholder:"NAME"`
	SecretFile  string `help:"File with the principal's secret." placeholder:"FILE"`
	HTTPS       bool   `name:"https" help:"Master and agent speak TLS (--ca is for them, too)."`
}

// Help is shown by lode logs --help.
func (logsCmd) Help() string {
	return `Prints the log of a task's executor from its sandbox, through the agent's files API: this machine must reach master and agent.
Where these ask who reads (--authenticate_http_readonly), --principal and --secret-file say so.`
}

// Run is called by execute.
func (cmd *logsCmd) Run(env *environment) error {
	c, err := cmd.client()
	if err != nil {
		return err
	}
	id, err := wholeID(env, c, cmd.Task)
	if err != nil {
		return err
	}
	var task api.Task
	if err := c.Get(env.ctx, api.TasksPath+"/"+url.PathEscape(id), &task); err != nil {
		return err
	}
	var status api.Status
	if err := c.Get(env.ctx, api.StatusPath, &status); err != nil {
		return err
	}
	m, err := cmd.mesos()
	if err != nil {
		return err
	}
	defer m.client.CloseIdleConnections()
	agent, err := m.agentAddress(env.ctx, status.Master, task.AgentID)
	if err != nil {
		return err
	}
	path := "/frameworks/" + status.FrameworkID + "/executors/" + task.ID + "/runs/latest/" + cmd.File
	out := &cleaner{out: env.stdout, clean: terminal.Is(env.stdout)}
	offset := int64(0)
	for {
		data, err := m.readSandbox(env.ctx, agent, path, offset)
		if err != nil {
			if env.ctx.Err() != nil {
				return nil
			}
			return err
		}
		if err := out.write(data.bytes); err != nil {
			return err
		}
		offset += int64(data.size)
		if data.size > 0 {
			continue
		}
		if !cmd.Follow {
			return nil
		}
		select {
		case <-env.ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
}

// mesos asks masters and agents.
type mesos struct {
	scheme            string
	principal, secret string
	client            *http.Client
}

func (cmd *logsCmd) mesos() (*mesos, error) {
	if (cmd.Principal == "") != (cmd.SecretFile == "") {
		return nil, usagef("--principal and --secret-file go together")
	}
	m := &mesos{scheme: "http", principal: cmd.Principal}
	var err error
	if cmd.SecretFile != "" {
		if m.secret, err = readSecret(cmd.SecretFile); err != nil {
			return nil, usagef("--secret-file: %w", err)
		}
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if _, config.RootCAs, err = readCertificates("--ca", cmd.CA); err != nil {
		return nil, err
	}
	if cmd.HTTPS {
		m.scheme = "https"
	}
	m.client = &http.Client{
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: config},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // with the secret
	}
	return m, nil
}

// agentAddress asks the master where an agent is.
func (m *mesos) agentAddress(ctx context.Context, master, id string) (string, error) {
	var reply struct {
		Slaves []struct {
			ID  string `json:"id"`
			PID string `json:"pid"`
		} `json:"slaves"`
	}
	if master == "" {
		return "", errors.New("the scheduler has no Mesos master now, which knows where the agent is")
	}
	if err := m.get(ctx, master+"/slaves", &reply); err != nil {
		return "", fmt.Errorf("ask the master for its agents: %w", err)
	}
	for _, s := range reply.Slaves {
		if s.ID == id {
			if _, address, ok := strings.Cut(s.PID, "@"); ok {
				return address, nil
			}
		}
	}
	return "", fmt.Errorf("the master at %s does not know agent %s", master, id)
}

// piece is a part of a file: bytes, and how many of the file they stand for.
type piece struct {
	bytes []byte
	size  int
}

// pieceSize is how much is asked for at once, in bytes; mostAnswer bounds an answer: a
// list of all agents is long.
const pieceSize, mostAnswer = 64 << 10, 256 << 20

// readSandbox reads a piece of a file of a sandbox.
func (m *mesos) readSandbox(ctx context.Context, agent, path string, offset int64) (piece, error) {
	q := url.Values{"path": {path}, "offset": {fmt.Sprint(offset)}, "length": {fmt.Sprint(pieceSize)}}
	var reply struct {
		Data json.RawMessage `json:"data"`
	}
	err := m.get(ctx, agent+"/files/read?"+q.Encode(), &reply)
	if err == nil {
		var p piece
		if p, err = unquote(reply.Data); err == nil {
			return p, nil
		}
	}
	return piece{}, fmt.Errorf("read the sandbox on %s: %w", agent, err)
}

func (m *mesos) get(ctx context.Context, address string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, m.scheme+"://"+address, nil)
	if err != nil {
		return err
	}
	if m.principal != "" {
		r.SetBasicAuth(m.principal, m.secret)
	}
	resp, err := m.client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusOK:
		return json.NewDecoder(io.LimitReader(resp.Body, mostAnswer)).Decode(v)
	case resp.StatusCode == http.StatusUnauthorized && m.principal == "":
		return fmt.Errorf("%s: it asks who reads: --principal, --secret-file", resp.Status)
	case resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden:
		return fmt.Errorf("%s: principal %q may not read this", resp.Status, m.principal)
	}
	return errors.New(resp.Status)
}

// unquote reads a JSON string that holds a part of a file, which may begin and end in the
// middle of a character, where encoding/json would put other bytes than there are. A
// byte that is no part of one comes as it is, or as \ufffd.
func unquote(quoted []byte) (p piece, err error) {
	bad := fmt.Errorf("%.40q is no string of JSON", quoted)
	if len(quoted) == 0 || string(quoted) == "null" {
		return p, nil
	}
	if len(quoted) < 2 || quoted[0] != '"' || quoted[len(quoted)-1] != '"' {
		return p, bad
	}
	for text := quoted[1 : len(quoted)-1]; len(text) > 0; {
		if text[0] != '\\' {
			p.bytes, text = append(p.bytes, text[0]), text[1:]
			p.size++
			continue
		}
		if len(text) < 2 {
			return p, bad
		}
		if at := strings.IndexByte(`"\/bfnrt`, text[1]); at >= 0 {
			p.bytes, text = append(p.bytes, "\"\\/\b\f\n\r\t"[at]), text[2:]
			p.size++
			continue
		}
		r, ok := escaped(text)
		if !ok {
			return p, bad
		}
		text = text[6:]
		switch low, ok := escaped(text); {
		case r == utf8.RuneError:
			p.size++
		case utf16.IsSurrogate(r) && ok && utf16.DecodeRune(r, low) != utf8.RuneError:
			r, text = utf16.DecodeRune(r, low), text[6:]
			p.size += utf8.RuneLen(r)
		default:
			p.size += max(1, utf8.RuneLen(r))
		}
		p.bytes = utf8.AppendRune(p.bytes, r)
	}
	return p, nil
}

// escaped reads \uXXXX at the beginning of a text.
func escaped(text []byte) (rune, bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	return rune(n), err == nil
}

// cleaner writes what comes from an agent. At a terminal it moves no cursor.
type cleaner struct {
	out   io.Writer
	clean bool
	rest  []byte // the beginning of a character, whose end is to come
}

func (c *cleaner) write(b []byte) error {
	if !c.clean {
		_, err := c.out.Write(b)
		return err
	}
	b = append(c.rest, b...)
	whole := len(b)
	for cut := max(0, whole-utf8.UTFMax+1); cut < whole; cut++ {
		if utf8.RuneStart(b[cut]) && !utf8.FullRune(b[cut:]) {
			whole = cut
		}
	}
	c.rest = slices.Clone(b[whole:])
	lines := strings.Split(string(b[:whole]), "\n")
	for i, line := range lines {
		parts := strings.Split(line, "\t")
		for k := range parts {
			parts[k] = terminal.Clean(parts[k])
		}
		lines[i] = strings.Join(parts, "\t")
	}
	_, err := io.WriteString(c.out, strings.Join(lines, "\n"))
	return err
}
