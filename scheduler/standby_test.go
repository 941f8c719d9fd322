package scheduler_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	mesossched "github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/scheduler"
	"lode/scheduler/internal/fakemaster"
)

func TestStandbyTakesOver(t *testing.T) {
	m := fakemaster.New(t)
	c := config(t, m.URL())
	leader := run(t, m, c)
	leader.subscribe()
	leader.offer("O1", "S0")
	proxy := leader.call(mesossched.Call_ACCEPT).Accept.Operations[0].Launch.TaskInfos[0]

	if _, err := scheduler.New(c); !errors.Is(err, scheduler.ErrLocked) {
		t.Fatalf("a second one without standing by: %v", err)
	}
	address := make(chan string, 1)
	waiting := c
	waiting.ListenFunc = func(network, addr string) (net.Listener, error) {
		l, err := net.Listen(network, addr)
		if err == nil {
			address <- l.Addr().String()
		}
		return l, err
	}
	free := make(chan error, 1)
	go func() { free <- scheduler.Standby(t.Context(), waiting) }()
	at := "http://" + <-address
	client := &http.Client{Transport: new(http.Transport)}
	defer client.CloseIdleConnections()
	get := func(path string) (int, string) {
		resp, err := client.Get(at + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, unpacked(b)
	}
	if code, body := get("/healthz"); code != 200 || !strings.Contains(body, leader.s.Addr()) {
		t.Errorf("healthz: %d %s", code, body)
	}
	if code, body := get("/api/v1/status"); code != 200 || !strings.Contains(body, proxy.TaskID.Value) {
		t.Errorf("status through a standby: %d %s", code, body)
	}
	uri := proxy.Executor.Command.URIs[0].Value
	if code, body := get(uri[strings.Index(uri, leader.s.Addr())+len(leader.s.Addr()):]); code != 200 || body != "pretended executor" {
		t.Errorf("the executor through a standby: %d, %d bytes", code, len(body))
	}
	select {
	case err := <-free:
		t.Fatalf("it does not wait: %v", err)
	default:
	}

	leader.stop()
	if err := leader.ended(); err != nil {
		t.Fatal(err)
	}
	if err := <-free; err != nil {
		t.Fatal(err)
	}
	next := run(t, m, c)
	subscribe := next.call(mesossched.Call_SUBSCRIBE).Subscribe.FrameworkInfo
	if subscribe.GetID().GetValue() != "F1" {
		t.Errorf("subscribed as %v", subscribe.ID)
	}
	if next.stored().Tasks[proxy.TaskID.Value] == nil {
		t.Error("the task is forgotten")
	}
}

func TestStandbyEndsWithItsContext(t *testing.T) {
	m := fakemaster.New(t)
	c := config(t, m.URL())
	run(t, m, c).subscribe()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := scheduler.Standby(ctx, c); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	free := config(t, m.URL())
	if err := scheduler.Standby(t.Context(), free); err != nil {
		t.Errorf("nobody leads: %v", err)
	}
}
