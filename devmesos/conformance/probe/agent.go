package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"lode/devmesos/conformance/internal/control"
)

// agentClient talks to the agent that launched this process.
type agentClient struct {
	http  *http.Client
	base  string
	token string
}

func newAgentClient() *agentClient {
	scheme := "http"
	if v := os.Getenv("LIBPROCESS_SSL_ENABLED"); v == "1" || v == "true" {
		scheme = "https"
	}
	tr := http.DefaultTransport.(*http.Transport).Clone()
	tr.DisableCompression = true
	tr.Proxy = nil
	return &agentClient{
		http:  &http.Client{Transport: tr},
		base:  scheme + "://" + os.Getenv("MESOS_AGENT_ENDPOINT"),
		token: os.Getenv("MESOS_EXECUTOR_AUTHENTICATION_TOKEN"),
	}
}

func (a *agentClient) do(ctx context.Context, r control.Request) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, r.Method, a.base+r.Path, bytes.NewReader(r.Body))
	if err != nil {
		return nil, err
	}
	if a.token != "" {
		req.Header.Set("Authorization", "Bearer "+a.token)
	}
	for k, v := range r.Header {
		req.Header.Set(k, v)
	}
	return a.http.Do(req)
}

func (a *agentClient) send(r control.Request) (*control.Answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	resp, err := a.do(ctx, r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return &control.Answer{Status: resp.StatusCode, Header: resp.Header, Body: body}, err
}

// records reads RecordIO.
type records struct{ r *bufio.Reader }

func newRecords(r io.Reader) *records { return &records{bufio.NewReader(r)} }

func (d *records) next() ([]byte, error) {
	line, err := d.r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(line, "\n"))
	if err != nil || n < 0 || n > 64<<20 {
		return nil, fmt.Errorf("RecordIO: bad length %.40q", line)
	}
	rec := make([]byte, n)
	_, err = io.ReadFull(d.r, rec)
	return rec, err
}
