package agent

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/gogo/protobuf/proto"
	"github.com/google/renameio/v2"
	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

// The layout below the work directory is that of Mesos (src/slave/paths.cpp): sandboxes in slaves/, and beside it
// meta/slaves/ with the same tree of what a restarted agent needs. Files with one message hold its length as four bytes, low
// byte first, and the message in protobuf; task.updates holds records of its own form.

func (p *process) metaDir() string { return filepath.Join(p.config.WorkDir, "meta") }

func (p *process) agentMeta() string {
	return filepath.Join(p.metaDir(), "slaves", p.info.ID.GetValue())
}

func (p *process) frameworkMeta(f *framework) string {
	return filepath.Join(p.agentMeta(), "frameworks", f.id())
}

func (p *process) executorMeta(e *executor) string {
	return filepath.Join(p.frameworkMeta(e.framework), "executors", e.id())
}

func (p *process) runMeta(e *executor) string {
	return filepath.Join(p.executorMeta(e), "runs", e.container)
}

func (p *process) taskMeta(e *executor, task string) string {
	return filepath.Join(p.runMeta(e), "tasks", task)
}

func (p *process) sandboxPath(e *executor) string {
	return filepath.Join(p.config.WorkDir, "slaves", p.info.ID.GetValue(), "frameworks", e.framework.id(),
		"executors", e.id(), "runs", e.container)
}

// noted logs an error of writing a checkpoint: a real agent aborts, this one goes on and has forgotten after a restart.
func (p *process) noted(what string, err error) {
	if err != nil {
		p.log.Error("cannot checkpoint", "what", what, "error", err)
	}
}

func (p *process) checkpointAgent() error {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err == nil {
		if err := writeFile(filepath.Join(p.metaDir(), "boot_id"), trimNewline(boot)); err != nil {
			return err
		}
	}
	if err := writeMessage(filepath.Join(p.agentMeta(), "slave.info"), &p.info); err != nil {
		return err
	}
	return relink(p.agentMeta(), filepath.Join(p.metaDir(), "slaves", "latest"))
}

func (p *process) checkpointFramework(f *framework) {
	dir := p.frameworkMeta(f)
	err := writeMessage(filepath.Join(dir, "framework.info"), &f.info)
	if err == nil {
		err = writeFile(filepath.Join(dir, "framework.pid"), []byte("@0.0.0.0:0"))
	}
	p.noted("framework "+f.id(), err)
}

func (p *process) removeFrameworkCheckpoint(f *framework) {
	p.noted("end of framework "+f.id(), os.RemoveAll(p.frameworkMeta(f)))
}

// generatedName is the file that says whether the agent made up an executor.
const generatedName = "executor_generated_for_command_task"

func (p *process) checkpointExecutor(e *executor) {
	run := p.runMeta(e)
	generated := "0"
	if e.generated {
		generated = "1"
	}
	err := errors.Join(
		writeMessage(filepath.Join(p.executorMeta(e), "executor.info"), &e.info),
		writeFile(filepath.Join(p.executorMeta(e), generatedName), []byte(generated)),
		os.MkdirAll(filepath.Join(run, "tasks"), 0o755),
		os.MkdirAll(filepath.Join(run, "pids"), 0o755),
		os.Chmod(run, 0o750),
		relink(run, filepath.Join(filepath.Dir(run), "latest")),
	)
	p.noted("executor "+e.id(), err)
}

func (p *process) checkpointPid(e *executor) {
	p.noted("pid of executor "+e.id(), writeFile(filepath.Join(p.runMeta(e), "pids", "forked.pid"), []byte(strconv.Itoa(e.pid))))
}

func (p *process) checkpointHTTP(e *executor) {
	p.noted("subscription of executor "+e.id(), os.WriteFile(filepath.Join(p.runMeta(e), "http.marker"), nil, 0o644))
}

func (p *process) checkpointCompleted(e *executor) {
	p.noted("end of executor "+e.id(), os.WriteFile(filepath.Join(p.runMeta(e), "executor.sentinel"), nil, 0o644))
}

func (p *process) checkpointTask(e *executor, t *task) {
	info := t.info
	info.Data = nil // can be huge, and secret
	p.noted("task "+info.TaskID.Value, writeMessage(filepath.Join(p.taskMeta(e, info.TaskID.Value), "task.info"), &info))
}

func (p *process) checkpointDrain() {
	path := filepath.Join(p.agentMeta(), "drain_config")
	if p.draining == nil {
		if err := os.Remove(path); !errors.Is(err, os.ErrNotExist) {
			p.noted("end of draining", err)
		}
		return
	}
	b, err := json.Marshal(p.draining)
	if err == nil {
		err = writeFile(path, b)
	}
	p.noted("draining", err)
}

// journal is the file task.updates.
type journal struct{ path string }

// The kinds of records in task.updates. A record is its kind, its length in four bytes, low byte first, and
// a TaskStatus in protobuf or the acknowledged uuid.
const (
	recordUpdate = 0
	recordAck    = 1
)

func (p *process) journal(e *executor, t *task) journal {
	return journal{filepath.Join(p.taskMeta(e, t.info.TaskID.Value), "task.updates")}
}

func (j journal) Update(status mesos.TaskStatus) error {
	b, err := proto.Marshal(&status)
	if err != nil {
		return err
	}
	return j.append(recordUpdate, b)
}

func (j journal) Acknowledged(uuid []byte) error { return j.append(recordAck, uuid) }

func (j journal) append(kind byte, content []byte) error {
	f, err := os.OpenFile(j.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	record := binary.LittleEndian.AppendUint32([]byte{kind}, uint32(len(content))) //nolint:gosec // far below 4 GiB
	if _, err := f.Write(append(record, content...)); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// read gives all updates and acknowledged uuids. A record that is cut off ends the journal: the agent died while writing it.
func (j journal) read() (statuses []mesos.TaskStatus, acked [][]byte, err error) {
	b, err := os.ReadFile(j.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	for len(b) >= 5 {
		kind, n := b[0], int(binary.LittleEndian.Uint32(b[1:]))
		b = b[5:]
		if n > len(b) {
			break
		}
		switch kind {
		case recordUpdate:
			var status mesos.TaskStatus
			if err := proto.Unmarshal(b[:n], &status); err != nil {
				return nil, nil, fmt.Errorf("record in %s: %w", j.path, err)
			}
			statuses = append(statuses, status)
		case recordAck:
			acked = append(acked, b[:n])
		default:
			return nil, nil, fmt.Errorf("record in %s: kind %d is unknown", j.path, kind)
		}
		b = b[n:]
	}
	return statuses, acked, nil
}

// writeFile replaces a file atomically.
func writeFile(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return renameio.WriteFile(path, content, 0o600, renameio.WithTempDir(filepath.Dir(path)))
}

func writeMessage(path string, m proto.Message) error {
	b, err := proto.Marshal(m)
	if err != nil {
		return err
	}
	return writeFile(path, append(binary.LittleEndian.AppendUint32(nil, uint32(len(b))), b...)) //nolint:gosec // far below 4 GiB
}

func readMessage(path string, m proto.Message) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if len(b) < 4 || int(binary.LittleEndian.Uint32(b)) != len(b)-4 {
		return fmt.Errorf("%s: %w", path, io.ErrUnexpectedEOF)
	}
	if err := proto.Unmarshal(b[4:], m); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func trimNewline(b []byte) []byte {
	for len(b) > 0 && b[len(b)-1] == '\n' {
		b = b[:len(b)-1]
	}
	return b
}
