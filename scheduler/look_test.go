package scheduler_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lode/scheduler"
	"lode/scheduler/api"
)

// looked is what a client that asks for everything sees, and how the core's lock was held
// for it.
func looked(t testing.TB, tasks int) (get func(path string) string, holds *[]time.Duration) {
	dir := t.TempDir()
	executor := filepath.Join(dir, "lode-executor")
	if err := os.WriteFile(executor, []byte("pretended executor"), 0o755); err != nil {
		t.Fatal(err)
	}
	seedState(t, filepath.Join(dir, "state"), tasks)
	s, err := scheduler.New(scheduler.Config{
		Masters: []string{"127.0.0.1:1"}, StateDir: filepath.Join(dir, "state"), Listen: "127.0.0.1:0",
		Executor: executor, User: "nobody", ProxyGrace: time.Hour, PayoutAddress: "sb1qexample",
		Upstreams: []scheduler.Upstream{{URL: "node:http://127.0.0.1:1"}}, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	holds = new([]time.Duration)
	s.Watch(threadCPU, func(d time.Duration) { *holds = append(*holds, d) })
	routes := s.Routes()
	return func(path string) string {
		*holds = (*holds)[:0]
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.RemoteAddr, r.Host = "127.0.0.1:1000", "127.0.0.1"
		routes.ServeHTTP(w, r)
		return w.Body.String()
	}, holds
}

// Who asks for everything must not keep the scheduler from its work: all tasks are never
// copied in one go under the core's lock.
func TestLooksHoldTheLockForAFewTasksAtATime(t *testing.T) {
	const tasks = 20 * scheduler.PieceSize
	get, holds := looked(t, tasks)
	for _, path := range []string{"/api/v1/status", "/api/v1/tasks", "/metrics", "/api/v1/dashboard"} {
		if get(path); len(*holds) < tasks/scheduler.PieceSize {
			t.Errorf("%s: the lock was held %d times for %d tasks", path, len(*holds), tasks)
		}
	}
	if body := get("/metrics"); !strings.Contains(body, fmt.Sprintf(`lode_tasks{kind="miner",state="TASK_STAGING"} %d`, tasks)) {
		t.Errorf("metrics do not tell of %d tasks: %s", tasks, body)
	}
	var status api.Status
	if err := json.Unmarshal([]byte(get("/api/v1/status")), &status); err != nil || len(status.Tasks) != tasks || len(status.Agents) != tasks {
		t.Errorf("%d tasks on %d agents (%v), want %d", len(status.Tasks), len(status.Agents), err, tasks)
	}
	for _, path := range []string{"/healthz", "/readyz", "/api/v1/control"} {
		if get(path); len(*holds) > 2 {
			t.Errorf("%s: the lock was held %d times", path, len(*holds))
		}
	}
}

// threadCPU is the time that the thread had a core.
func threadCPU() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) // Linux has it
	return time.Duration(t.Nano())
}

// BenchmarkLook measures for how long the core is held up at a time by one who asks for
// everything, with 50,000 tasks: the longest hold of a request, by its median, in time of a
// core.
//
//	go test ./scheduler -run '^$' -bench Look -benchtime 20x
func BenchmarkLook(b *testing.B) {
	get, holds := looked(b, 50_000)
	for _, path := range []string{"/healthz", "/metrics", "/api/v1/status"} {
		b.Run(path[strings.LastIndex(path, "/")+1:], func(b *testing.B) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			var longest []time.Duration
			for b.Loop() {
				get(path)
				longest = append(longest, slices.Max(*holds))
			}
			slices.Sort(longest)
			b.ReportMetric(float64(longest[len(longest)/2].Nanoseconds())/1e3, "µs/hold")
		})
	}
}
