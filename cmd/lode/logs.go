package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"lode/scheduler/api"
)

// logsCmd is `lode logs`.
type logsCmd struct {
	remoteFlags `embed:""`
	Task        string `arg:"" help:"Task, as lode status or lode tasks names it."`
	Follow      bool   `short:"f" help:"Go on with what is written until Ctrl-C."`
	File        string `help:"File of the sandbox." default:"stderr" placeholder:"NAME"`
}

// Help is shown by lode logs --help.
func (logsCmd) Help() string {
	return `Prints the log of a task's executor from its sandbox, through the agent's files API: this machine must reach master and agent.`
}

// Run is called by kong.
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
	agent, err := agentAddress(env.ctx, status.Master, task.AgentID)
	if err != nil {
		return err
	}
	path := "/frameworks/" + status.FrameworkID + "/executors/" + task.ID + "/runs/latest/" + cmd.File
	offset := int64(0)
	for {
		data, err := readSandbox(env.ctx, agent, path, offset)
		if err != nil {
			if env.ctx.Err() != nil {
				return nil
			}
			return err
		}
		if _, err := io.WriteString(env.stdout, data); err != nil {
			return err
		}
		offset += int64(len(data))
		if data != "" {
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

// agentAddress asks the master where an agent is.
func agentAddress(ctx context.Context, master, id string) (string, error) {
	var reply struct {
		Slaves []struct {
			ID  string `json:"id"`
			PID string `json:"pid"`
		} `json:"slaves"`
	}
	if err := getFrom(ctx, "http://"+master+"/slaves", &reply); err != nil {
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

// readSandbox reads a piece of a file of a sandbox.
func readSandbox(ctx context.Context, agent, path string, offset int64) (string, error) {
	q := url.Values{"path": {path}, "offset": {fmt.Sprint(offset)}, "length": {"65536"}}
	var piece struct {
		Data string `json:"data"`
	}
	if err := getFrom(ctx, "http://"+agent+"/files/read?"+q.Encode(), &piece); err != nil {
		return "", fmt.Errorf("read the sandbox on %s: %w", agent, err)
	}
	return piece.Data, nil
}

func getFrom(ctx context.Context, address string, v any) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s", resp.Status)
	}
	return json.NewDecoder(io.LimitReader(resp.Body, 256<<20)).Decode(v)
}
