package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"lode/internal/terminal"
	"lode/scheduler/api"
	"lode/scheduler/sandbox"
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
	defer m.Client.CloseIdleConnections()
	agent, err := m.agentAddress(env.ctx, status.Master, task.AgentID)
	if err != nil {
		return err
	}
	path := sandbox.Path(status.FrameworkID, task.ID, cmd.File)
	out := &cleaner{out: env.stdout, clean: terminal.Is(env.stdout)}
	offset := int64(0)
	for {
		data, err := m.Read(env.ctx, m.scheme+"://"+agent, path, offset, pieceSize)
		if err != nil {
			if env.ctx.Err() != nil {
				return nil
			}
			return hintAccess(err)
		}
		if err := out.write(data.Bytes); err != nil {
			return err
		}
		offset += int64(data.Size)
		if data.Size > 0 {
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
	sandbox.Reader
	scheme string
}

// hintAccess names the flags for who is not let in.
func hintAccess(err error) error {
	var denied *sandbox.AccessError
	if errors.As(err, &denied) && denied.Principal == "" {
		return fmt.Errorf("%w: --principal, --secret-file", err)
	}
	return err
}

func (cmd *logsCmd) mesos() (*mesos, error) {
	if (cmd.Principal == "") != (cmd.SecretFile == "") {
		return nil, usagef("--principal and --secret-file go together")
	}
	m := &mesos{scheme: "http", Reader: sandbox.Reader{Principal: cmd.Principal}}
	var err error
	if cmd.SecretFile != "" {
		if m.Secret, err = readSecret(cmd.SecretFile); err != nil {
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
	m.Client = &http.Client{
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
	if err := m.Get(ctx, m.scheme+"://"+master+"/slaves", &reply); err != nil {
		return "", fmt.Errorf("ask the master for its agents: %w", hintAccess(err))
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

// pieceSize is how much is asked for at once, in bytes.
const pieceSize = 64 << 10

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
