package driver

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"strings"
)

// eraseEnv removes a variable from this process' environment, and overwrites its
// value in the block that the kernel shows as /proc/<pid>/environ: that is read
// by everybody with the same user id, and by `ps e`.
func eraseEnv(name, value string) error {
	if err := os.Unsetenv(name); err != nil {
		return err
	}
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return err
	}
	// The second field is the command in parentheses and may hold anything;
	// env_start and env_end are fields 50 and 51 (proc_pid_stat(5)).
	_, rest, ok := strings.Cut(string(stat[max(0, bytes.LastIndexByte(stat, ')')):]), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 49 {
		return errors.New("/proc/self/stat has an unexpected form")
	}
	start, err1 := strconv.ParseInt(fields[47], 10, 64)
	end, err2 := strconv.ParseInt(fields[48], 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if start <= 0 || end <= start || end-start > 16<<20 {
		return errors.New("the environment block is not where /proc/self/stat says")
	}
	mem, err := os.OpenFile("/proc/self/mem", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer mem.Close()
	block := make([]byte, end-start)
	if _, err := mem.ReadAt(block, start); err != nil {
		return err
	}
	want := []byte(name + "=" + value)
	for offset := 0; ; {
		i := bytes.Index(block[offset:], want)
		if i < 0 {
			return nil
		}
		at := offset + i + len(name) + 1
		if _, err := mem.WriteAt(bytes.Repeat([]byte{'x'}, len(value)), start+int64(at)); err != nil {
			return err
		}
		offset = at + len(value)
	}
}
