//go:build unix

package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A folder in which nothing can be written is told by the name of its flag before anything is done, by every command
// alike. Root may write everywhere, so that it is tried as nobody.
func TestFoldersThatAreNotOurs(t *testing.T) {
	dir := t.TempDir()
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(dir, "lode")
	copyProgram(t, program)
	if err := os.Mkdir(filepath.Join(dir, "theirs"), 0o555); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{
		"proxy --upstream=node:http://127.0.0.1:1 --listen=127.0.0.1:0 --payout-address=" + simnetAddress + " --state-dir=",
		"scheduler --master=http://127.0.0.1:1 --node=http://127.0.0.1:1 --listen=127.0.0.1:0 --executor=" + program + " --payout-address=" + simnetAddress + " --state-dir=",
		"dev --blocks=1 --state-dir=",
		"dev-mesos --listen=127.0.0.1:0 --work-dir=",
		"bench --plot=*.svg",
		"load --pool=127.0.0.1:1 --user=me --plot=*.svg",
		"neighbour --plot=*.svg",
	} {
		for _, where := range []string{"theirs", "theirs/new"} {
			name, file, _ := strings.Cut(command, "*")
			if file != "" && where != "theirs" {
				continue
			}
			path := where
			if file != "" {
				path += "/x" + file
			}
			args := strings.Fields(name + path)
			flag, _, _ := strings.Cut(args[len(args)-1], "=")
			cmd := exec.Command(program, args...)
			cmd.Dir = dir
			if os.Geteuid() == 0 {
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			}
			out, err := cmd.CombinedOutput()
			exit := new(exec.ExitError)
			if want := "lode: " + flag + ": we may not write into theirs: permission denied\n"; !errors.As(err, &exit) || exit.ExitCode() != exitUsage || string(out) != want {
				t.Errorf("lode %s: %v: %s; want code 2 and %s", strings.Join(args, " "), err, out, want)
			}
		}
	}
}

// copyProgram copies this test program, which is lode where it is called that.
func copyProgram(t *testing.T, to string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	file, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(file, from); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

// What the machine lacks for now is no mistake of the command line: systemd does not start again what ends with 2.
func TestFullDiskIsNoMistake(t *testing.T) {
	full := &os.PathError{Op: "write", Path: "state/blocks.journal", Err: syscall.ENOSPC}
	for _, err := range []error{full, usagef("--state-dir: %w", full), usagef("--token-file: %w", syscall.EMFILE)} {
		if !passes(err) {
			t.Errorf("%v is taken for a mistake", err)
		}
	}
	for _, err := range []error{usagef("--listen is empty"), usagef("--state-dir: %w", syscall.EACCES), usagef("--config: %w", os.ErrNotExist)} {
		if passes(err) {
			t.Errorf("%v is taken for none", err)
		}
	}
}
