// Command probe is the executor that the conformance suite has Mesos launch. It does nothing by
// itself: it asks the suite for commands and carries them out, so that a check scripts each call of
// an executor and sees each event. With "auto" in place of a control URL it is a plain
// executor that needs nobody: it runs every task it gets until it is killed.
//
//	probe CONTROL-URL
//	probe auto
//
// It uses the standard library only, so that it builds as one small static file.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"lode/devmesos/conformance/internal/control"
)

const (
	// maxLife ends a probe that everybody forgot.
	maxLife = 10 * time.Minute
	// orphaned ends a probe whose suite is gone.
	orphaned = 20 * time.Second

	exitUsage    = 64
	exitOrphaned = 70
	exitTooOld   = 71
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: probe CONTROL-URL | probe auto")
		os.Exit(exitUsage)
	}
	time.AfterFunc(maxLife, func() { os.Exit(exitTooOld) })
	agent := newAgentClient()
	if os.Args[1] == "auto" {
		os.Exit(runAuto(agent))
	}
	p := &probe{base: os.Args[1], agent: agent, streams: map[string]context.CancelFunc{}, control: &http.Client{Timeout: time.Minute}}
	os.Exit(p.run())
}

type probe struct {
	base    string
	agent   *agentClient
	control *http.Client
	streams map[string]context.CancelFunc
}

func (p *probe) run() int {
	lastContact := time.Now()
	for {
		cmd, err := p.next()
		switch {
		case err != nil:
			if time.Since(lastContact) > orphaned {
				fmt.Fprintln(os.Stderr, "probe: the suite is gone:", err)
				return exitOrphaned
			}
			time.Sleep(200 * time.Millisecond)
			continue
		case cmd == nil:
			lastContact = time.Now()
			continue
		}
		lastContact = time.Now()
		switch cmd.Op {
		case control.OpExit:
			return cmd.Code
		case control.OpSignal:
			// The result is sent first: nothing can be sent afterwards.
			p.post("/result", control.Result{Seq: cmd.Seq})
			_ = syscall.Kill(os.Getpid(), syscall.Signal(cmd.Code))
			time.Sleep(time.Second)
		default:
			p.post("/result", p.do(*cmd))
		}
	}
}

func (p *probe) next() (*control.Command, error) {
	resp, err := p.control.Get(p.base + "/next")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNoContent:
		return nil, nil
	case http.StatusOK:
	default:
		return nil, fmt.Errorf("control: %s", resp.Status)
	}
	var cmd control.Command
	if err := json.NewDecoder(resp.Body).Decode(&cmd); err != nil {
		return nil, err
	}
	return &cmd, nil
}

func (p *probe) post(path string, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // our own types
	}
	for range 3 {
		resp, err := p.control.Post(p.base+path, "application/json", bytes.NewReader(b))
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (p *probe) do(cmd control.Command) control.Result {
	res := control.Result{Seq: cmd.Seq}
	var err error
	switch cmd.Op {
	case control.OpProcess:
		res.Process, err = describe()
	case control.OpHTTP:
		res.HTTP, err = p.agent.send(*cmd.HTTP)
	case control.OpOpen:
		res.HTTP, err = p.open(cmd.Stream, *cmd.HTTP)
	case control.OpClose:
		if end := p.streams[cmd.Stream]; end != nil {
			end()
			delete(p.streams, cmd.Stream)
		}
	case control.OpWrite:
		_, err = fmt.Fprint(os.Stdout, cmd.Text)
	case control.OpRead:
		res.Data, err = os.ReadFile(cmd.Path)
	case control.OpSpawn:
		res.PID, err = spawn()
	case control.OpIgnore:
		signal.Ignore(syscall.SIGTERM)
	default:
		err = fmt.Errorf("unknown command %q", cmd.Op)
	}
	if err != nil {
		res.Err = err.Error()
	}
	return res
}

// open subscribes and forwards each record of the stream to the suite, in order.
func (p *probe) open(name string, req control.Request) (*control.Answer, error) {
	ctx, cancel := context.WithCancel(context.Background())
	resp, err := p.agent.do(ctx, req)
	if err != nil {
		cancel()
		return nil, err
	}
	ans := &control.Answer{Status: resp.StatusCode, Header: resp.Header}
	if resp.StatusCode != http.StatusOK {
		defer cancel()
		defer resp.Body.Close()
		ans.Body, err = io.ReadAll(resp.Body)
		return ans, err
	}
	p.streams[name] = cancel
	go func() {
		defer cancel()
		defer resp.Body.Close()
		records := newRecords(resp.Body)
		for {
			rec, err := records.next()
			if err != nil {
				end := control.Event{Stream: name, End: true}
				if !errors.Is(err, io.EOF) && !errors.Is(err, context.Canceled) {
					end.Err = err.Error()
				}
				p.post("/event", end)
				return
			}
			p.post("/event", control.Event{Stream: name, Record: rec})
		}
	}()
	return ans, nil
}
