// Package zktest runs real ZooKeeper servers for tests, from Debian's package
// zookeeper. Where that is not installed a test is skipped and says so.
package zktest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"

	"lode/internal/freeport"
)

const jar = "/usr/share/java/zookeeper.jar"

// Ensemble is some servers that work together.
type Ensemble struct {
	t       testing.TB
	Servers []*Server
}

// Server is one of them.
type Server struct {
	Address string // host:port for clients
	config  string
	log     string
	cmd     *exec.Cmd
	exited  chan struct{}
}

// Start runs an ensemble of n servers, or skips the test. They end with the test.
// settings are lines for their configuration.
func Start(t testing.TB, n int, settings ...string) *Ensemble {
	t.Helper()
	java, err := exec.LookPath("java")
	if err != nil {
		t.Skip("there is no java for a real ZooKeeper: apt-get install zookeeper")
	}
	if _, err := os.Stat(jar); err != nil {
		t.Skipf("there is no ZooKeeper (%s): apt-get install zookeeper", jar)
	}
	e := &Ensemble{t: t}
	ports, err := freeport.On("127.0.0.1", 3*n)
	if err != nil {
		t.Fatal(err)
	}
	var members strings.Builder
	if n > 1 {
		for i := range n {
			fmt.Fprintf(&members, "server.%d=127.0.0.1:%d:%d\n", i+1, ports[3*i+1], ports[3*i+2])
		}
	}
	for i := range n {
		dir := t.TempDir()
		s := &Server{
			Address: fmt.Sprint("127.0.0.1:", ports[3*i]),
			config:  filepath.Join(dir, "zoo.cfg"), log: filepath.Join(dir, "log"),
		}
		// Short ticks: sessions may be as short as two of them.
		text := fmt.Sprintf("tickTime=200\ninitLimit=50\nsyncLimit=25\ndataDir=%s\nclientPort=%d\nclientPortAddress=127.0.0.1\n"+
			"admin.enableServer=false\nmaxClientCnxns=0\nmaxSessionTimeout=60000\n%s%s\n", dir, ports[3*i], members.String(), strings.Join(settings, "\n"))
		if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "myid"), fmt.Append(nil, i+1), 0o600); err != nil {
			t.Fatal(err)
		}
		e.Servers = append(e.Servers, s)
		s.start(t, java)
		t.Cleanup(func() { s.Kill() })
	}
	e.Await()
	return e
}

func (s *Server) start(t testing.TB, java string) {
	t.Helper()
	out, err := os.Create(s.log)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	s.cmd = exec.Command(java, "-Xmx128m", "-XX:TieredStopAtLevel=1", "-Dzookeeper.jmx.log4j.disable=true", "-cp", jar,
		"org.apache.zookeeper.server.quorum.QuorumPeerMain", s.config)
	s.cmd.Stdout, s.cmd.Stderr = out, out
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s.exited = make(chan struct{})
	started := make(chan error, 1)
	go func() {
		// It dies with the thread that starts it, and a thread may end before the test does.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := s.cmd.Start()
		started <- err
		if err == nil {
			_ = s.cmd.Wait() // it is killed
		}
		close(s.exited)
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
}

// Kill ends a server.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill() // it may have ended
	<-s.exited
}

// Again starts a server that was killed.
func (e *Ensemble) Again(s *Server) {
	e.t.Helper()
	java, err := exec.LookPath("java")
	if err != nil {
		e.t.Fatal(err)
	}
	s.start(e.t, java)
}

// Hosts is what stands between zk:// and the path.
func (e *Ensemble) Hosts() string {
	addresses := make([]string, len(e.Servers))
	for i, s := range e.Servers {
		addresses[i] = s.Address
	}
	return strings.Join(addresses, ",")
}

// Await waits until the ensemble answers.
func (e *Ensemble) Await() {
	e.t.Helper()
	conn := e.Connect()
	defer conn.Close()
	done := make(chan error, 1)
	go func() {
		_, _, err := conn.Get("/")
		for err != nil && err != zk.ErrClosing {
			_, _, err = conn.Get("/")
		}
		done <- err
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		log, _ := os.ReadFile(e.Servers[0].log)
		e.t.Fatalf("ZooKeeper does not answer within a minute; log:\n%s", bytes.TrimSpace(log))
	}
}

// Connect opens a session of two seconds for the test's own use.
func (e *Ensemble) Connect() *zk.Conn {
	e.t.Helper()
	conn, _, err := zk.Connect(strings.Split(e.Hosts(), ","), 2*time.Second, zk.WithLogInfo(false), zk.WithLogger(quiet{}),
		zk.WithEventCallback(func(zk.Event) {}))
	if err != nil {
		e.t.Fatal(err)
	}
	return conn
}

type quiet struct{}

// Printf implements zk.Logger.
func (quiet) Printf(string, ...any) {}
