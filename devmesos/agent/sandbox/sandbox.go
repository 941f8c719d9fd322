// Package sandbox starts and destroys the processes of executors. A [Host] stands for
// the machine below an agent: its containers live on while the agent above it is killed
// and restarted, and none of them outlives the host. Call [NewHost], then
// [Host.Start]; [Container.Destroy] ends everything that a container started.
//
// A program that wants executors to run as on a real agent, below a small parent that
// leads their session, calls [Main] first thing in main and names itself as the
// host's launcher. Without a launcher an executor leads its session itself.
package sandbox

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"
)

// Spec says what a container runs.
type Spec struct {
	// ID names the container.
	ID string
	// Path is the program: looked up in PATH of Env if it has no slash, relative to Dir otherwise.
	Path string
	// Args is the whole argument vector; Args[0] is argv[0].
	Args []string
	// Env is the whole environment; nothing is inherited.
	Env []string
	// Dir is the sandbox: working directory, and where stdout and stderr are appended to.
	Dir string
	// User is who runs it; nil changes nothing.
	User *User
}

// Host owns all containers.
type Host struct {
	launcher string
	log      *slog.Logger
	forks    chan func()
	quit     chan struct{}
	forker   sync.WaitGroup

	mu         sync.Mutex
	containers map[string]*Container
	closed     bool
}

// ErrClosed is returned by Start once the host is closed.
var ErrClosed = errors.New("sandbox: host is closed")

// NewHost makes a host. Launcher is an executable that calls [Main] at its start, usually
// /proc/self/exe; with an empty launcher executors are started directly.
func NewHost(launcher string, log *slog.Logger) *Host {
	h := &Host{
		launcher:   launcher,
		log:        log,
		forks:      make(chan func()),
		quit:       make(chan struct{}),
		containers: make(map[string]*Container),
	}
	h.forker.Go(h.fork)
	return h
}

// Start runs a container. A program that cannot be executed is not an error here: as on a
// real agent, the container ends at once with [StatusCannotExecute].
func (h *Host) Start(spec Spec) (*Container, error) {
	c := &Container{id: spec.ID, dir: spec.Dir, log: h.log, done: make(chan struct{})}
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil, ErrClosed
	}
	if h.containers[spec.ID] != nil {
		h.mu.Unlock()
		return nil, fmt.Errorf("sandbox: container %s exists already", spec.ID)
	}
	h.containers[spec.ID] = c
	h.mu.Unlock()

	if err := h.run(c, spec); err != nil {
		h.forget(c)
		close(c.done)
		return nil, fmt.Errorf("sandbox: start container %s in %s: %w", spec.ID, spec.Dir, err)
	}
	go func() {
		c.reap()
		h.forget(c)
		close(c.done)
	}()
	return c, nil
}

// run forks on the thread that is kept for it: the kernel ties the death signal of a child to
// the thread that forked it, not to the process.
func (h *Host) run(c *Container, spec Spec) error {
	stdout, stderr, err := openOutputs(spec.Dir)
	if err != nil {
		return err
	}
	defer stdout.Close()
	defer stderr.Close()
	started := make(chan error, 1)
	fork := func() {
		if h.launcher != "" {
			started <- c.startLaunched(h.launcher, spec, stdout, stderr)
		} else {
			started <- c.startDirect(spec, stdout, stderr)
		}
	}
	select {
	case h.forks <- fork:
		return <-started
	case <-h.quit:
		return ErrClosed
	}
}

func (h *Host) fork() {
	runtime.LockOSThread()
	for {
		select {
		case fork := <-h.forks:
			fork()
		case <-h.quit:
			return
		}
	}
}

// Container is the running container of an id, or nil.
func (h *Host) Container(id string) *Container {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.containers[id]
}

// Close destroys every container and waits for their end.
func (h *Host) Close() {
	h.mu.Lock()
	already := h.closed
	h.closed = true
	h.mu.Unlock()
	all := h.all()
	for _, c := range all {
		c.Destroy()
	}
	for _, c := range all {
		<-c.done
	}
	if !already {
		close(h.quit)
	}
	h.forker.Wait()
}

// Containers are the ids of all containers.
func (h *Host) Containers() []string {
	var ids []string
	for _, c := range h.all() {
		ids = append(ids, c.id)
	}
	return ids
}

// DestroyExcept destroys all containers but those that keep says to keep.
func (h *Host) DestroyExcept(keep func(id string) bool) {
	for _, c := range h.all() {
		if !keep(c.id) {
			c.Destroy()
		}
	}
}

func (h *Host) all() []*Container {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Values(h.containers))
}

// WaitEmpty waits until no container is left, at most for so long. It says whether that came true.
func (h *Host) WaitEmpty(atMost time.Duration) bool {
	deadline := time.NewTimer(atMost)
	defer deadline.Stop()
	for {
		left := h.all()
		if len(left) == 0 {
			return true
		}
		select {
		case <-left[0].done:
		case <-deadline.C:
			return false
		}
	}
}

func (h *Host) forget(c *Container) {
	h.mu.Lock()
	delete(h.containers, c.id)
	h.mu.Unlock()
}

func openOutputs(dir string) (stdout, stderr *os.File, err error) {
	const mode = os.O_WRONLY | os.O_CREATE | os.O_APPEND
	if stdout, err = os.OpenFile(filepath.Join(dir, "stdout"), mode, 0o644); err != nil {
		return nil, nil, err
	}
	if stderr, err = os.OpenFile(filepath.Join(dir, "stderr"), mode, 0o644); err != nil {
		stdout.Close()
		return nil, nil, err
	}
	return stdout, stderr, nil
}
