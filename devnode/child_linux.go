package devnode

import (
	"runtime"
	"syscall"
)

// startChild starts the process in a group of its own, ended by the kernel should
// this program die without a word. The kernel ties that promise to the thread that
// forked, so one thread stays with the child until it has been reaped.
func startChild(p *process) error {
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
			close(p.done)
		}
	}()
	return <-started
}
