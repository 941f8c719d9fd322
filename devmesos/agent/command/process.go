package command

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	mesos "github.com/mesos/mesos-go/api/v1/lib"

	"lode/devmesos/agent/sandbox"
)

// exit is how a command ended.
type exit struct {
	pid    int
	status syscall.WaitStatus
}

func (e exit) String() string {
	if !e.status.Signaled() {
		return fmt.Sprintf("Command exited with status %d", e.status.ExitStatus())
	}
	name := e.status.Signal().String()
	text := "Command terminated with signal " + strings.ToUpper(name[:1]) + name[1:]
	if e.status.CoreDump() {
		text += " (core dumped)"
	}
	return text
}

// start runs a command as the leader of a session of its own, which dies with the calling
// thread. Its end is sent to exited, which has room for it.
func start(command *mesos.CommandInfo, exited chan<- exit) (pid int, err error) {
	cmd, err := sandbox.StartWritten(func() *exec.Cmd {
		cmd := exec.Command("/bin/sh", "-c", command.GetValue())
		cmd.Args[0] = "sh"
		if !command.GetShell() {
			cmd = exec.Command(command.GetValue())
			if len(command.Arguments) > 0 {
				cmd.Args = command.Arguments
			}
			if errors.Is(cmd.Err, exec.ErrDot) {
				cmd.Err = nil // PATH is the task's own affair
			}
		}
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
		return cmd
	})
	if err != nil {
		return 0, err
	}
	go func() {
		_ = cmd.Wait() // what it says is in ProcessState
		status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
		exited <- exit{cmd.Process.Pid, status}
	}()
	return cmd.Process.Pid, nil
}
