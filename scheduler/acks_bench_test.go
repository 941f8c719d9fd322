package scheduler_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	mesossched "github.com/mesos/mesos-go/api/v1/lib/scheduler"

	"lode/scheduler"
	"lode/scheduler/core"
	"lode/scheduler/internal/fakemaster"
	"lode/scheduler/store"
)

// quickMaster speaks just as much HTTP as the benchmark needs, so that it measures the
// scheduler and not a server.
type quickMaster struct {
	listener net.Listener
	acks     chan string   // uuids
	stream   chan net.Conn // of the subscription
}

func newQuickMaster(b *testing.B) *quickMaster {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	m := &quickMaster{listener: l, acks: make(chan string, 1<<20), stream: make(chan net.Conn, 1)}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { m.serve(conn) })
		}
	})
	b.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return m
}

func (m *quickMaster) serve(conn net.Conn) {
	defer conn.Close()
	r, w := bufio.NewReaderSize(conn, 256<<10), bufio.NewWriter(conn)
	call := new(mesossched.Call)
	for {
		if r.Buffered() == 0 && w.Flush() != nil {
			return
		}
		line, err := r.ReadSlice('\n')
		if err != nil {
			return
		}
		redirect := bytes.HasPrefix(line, []byte("GET /redirect"))
		length := 0
		for len(line) > 2 {
			if line, err = r.ReadSlice('\n'); err != nil {
				return
			}
			if n, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
				length, _ = strconv.Atoi(string(bytes.TrimSpace(n)))
			}
		}
		body, err := r.Peek(length)
		if err != nil {
			return
		}
		if redirect {
			fmt.Fprintf(w, "HTTP/1.1 307 R\r\nLocation: //%s\r\nContent-Length: 0\r\n\r\n", m.listener.Addr())
			continue
		}
		call.Reset()
		if err := call.Unmarshal(body); err != nil {
			panic(err)
		}
		_, _ = r.Discard(length)
		switch call.Type {
		case mesossched.Call_SUBSCRIBE:
			fmt.Fprint(w, "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nMesos-Stream-Id: s\r\n\r\n")
			_ = w.Flush()
			m.stream <- conn
			_, _ = io.Copy(io.Discard, conn)
			return
		case mesossched.Call_ACKNOWLEDGE:
			m.acks <- string(call.Acknowledge.UUID)
		}
		_, _ = w.WriteString("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")
	}
}

func event(b *testing.B, e *mesossched.Event) []byte {
	record, err := e.Marshal()
	if err != nil {
		b.Fatal(err)
	}
	return append(fmt.Appendf(nil, "%d\n", len(record)), record...)
}

func statusUpdate(b *testing.B, task int, state mesos.TaskState, n uint64) []byte {
	uuid := binary.BigEndian.AppendUint64(make([]byte, 8), n)
	id, source := fmt.Sprint("miner-", task), mesos.SOURCE_EXECUTOR
	return event(b, &mesossched.Event{Type: mesossched.Event_UPDATE, Update: &mesossched.Event_Update{Status: mesos.TaskStatus{
		TaskID: mesos.TaskID{Value: id}, State: &state, UUID: uuid, Source: &source,
		AgentID: &mesos.AgentID{Value: fmt.Sprint("agent-", task)}, ExecutorID: &mesos.ExecutorID{Value: id},
	}}})
}

// BenchmarkAcks measures the real loop over loopback HTTP with 50,000 tasks: updates
// that change the state, which is on disk before each is acknowledged.
//
//	go test ./scheduler -run '^$' -bench Acks -benchtime 1x
func BenchmarkAcks(b *testing.B) {
	const tasks = 50_000
	m := newQuickMaster(b)
	dir := b.TempDir()
	executor := filepath.Join(dir, "lode-executor")
	if err := os.WriteFile(executor, []byte("pretended executor"), 0o755); err != nil {
		b.Fatal(err)
	}
	config := scheduler.Config{
		Masters: []string{m.listener.Addr().String()}, StateDir: filepath.Join(dir, "state"), Listen: "127.0.0.1:0",
		Executor: executor, User: "nobody", ProxyGrace: time.Hour, PayoutAddress: "sb1qexample",
		Upstreams: []scheduler.Upstream{{URL: "node:http://127.0.0.1:1"}}, Logger: slog.New(slog.DiscardHandler),
	}
	seedState(b, config.StateDir, tasks)
	s, err := scheduler.New(config)
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			b.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	}()
	stream := <-m.stream
	defer stream.Close()
	if _, err := stream.Write(event(b, fakemaster.Subscribed("F1", 60))); err != nil {
		b.Fatal(err)
	}
	uuid := uint64(0)
	b.Run("many", func(b *testing.B) {
		states := []mesos.TaskState{mesos.TASK_STARTING, mesos.TASK_RUNNING, mesos.TASK_KILLING}
		total, took := 0, time.Duration(0)
		for round := range min(b.N, len(states)) {
			var all []byte
			for task := range tasks {
				uuid++
				all = append(all, statusUpdate(b, task, states[round], uuid)...)
			}
			start := time.Now()
			go func() { _, _ = stream.Write(all) }()
			for range tasks {
				<-m.acks
			}
			total, took = total+tasks, took+time.Since(start)
		}
		b.ReportMetric(float64(total)/took.Seconds(), "acks/s")
		b.ReportMetric(0, "ns/op")
	})
	b.Run("alone", func(b *testing.B) {
		time.Sleep(2 * time.Second) // what else happens has happened
		var acks, syncs []time.Duration
		for task := range 100 {
			uuid++
			update := statusUpdate(b, task, mesos.TASK_FINISHED, uuid)
			start := time.Now()
			if _, err := stream.Write(update); err != nil {
				b.Fatal(err)
			}
			<-m.acks
			acks = append(acks, time.Since(start))
			syncs = append(syncs, oneSync(b, dir))
		}
		slices.Sort(acks)
		slices.Sort(syncs)
		b.ReportMetric(float64(acks[len(acks)/2].Microseconds()), "µs/ack")
		b.ReportMetric(float64(syncs[len(syncs)/2].Microseconds()), "µs/fsync")
		b.ReportMetric(0, "ns/op")
	})
}

// oneSync is how long the same disk takes for a small write of its own.
func oneSync(b *testing.B, dir string) time.Duration {
	f, err := os.OpenFile(filepath.Join(dir, "probe"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	start := time.Now()
	if _, err := f.Write(make([]byte, 500)); err != nil {
		b.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}

// seedState stores a framework that launched its tasks just now.
func seedState(b testing.TB, dir string, tasks int) {
	state := core.NewState([]byte("0123456789abcdef0123456789abcdef"))
	state.FrameworkID, state.NextTask = "F1", uint64(tasks)
	now := time.Now()
	for i := range tasks {
		id := fmt.Sprint("miner-", i)
		state.Tasks[id] = &core.Task{
			ID: id, Kind: core.KindMiner, AgentID: fmt.Sprint("agent-", i), Hostname: fmt.Sprint("host-", i),
			State: "TASK_STAGING", CPUs: 4000, LaunchedAt: now, Since: now, Digest: "d", Spec: "s",
		}
	}
	entries, err := state.Entries()
	if err != nil {
		b.Fatal(err)
	}
	values := make(map[string][]byte)
	for _, e := range entries {
		values[e.Key] = e.Value
	}
	s, err := store.Open(dir, nil)
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Apply(values); err != nil {
		b.Fatal(err)
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}
