package main

import (
	"bytes"
	"os"
	"strconv"
	"strings"
)

// wipe overwrites a variable's value where the kernel put it when the program was
// started: that is what it shows in /proc/PID/environ, and no unsetting changes it. It
// does what it can: a system that hides its processes' memory hides their environment.
func wipe(name string) {
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	const first, begin, end = 3, 50, 51 // proc(5): env_start and env_end
	if len(fields) <= end-first {
		return
	}
	from, err1 := strconv.ParseInt(fields[begin-first], 10, 64)
	to, err2 := strconv.ParseInt(fields[end-first], 10, 64)
	const most = 16 << 20
	if err1 != nil || err2 != nil || to <= from || to-from > most {
		return
	}
	memory, err := os.OpenFile("/proc/self/mem", os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer memory.Close()
	block := make([]byte, to-from)
	if _, err := memory.ReadAt(block, from); err != nil {
		return
	}
	at := 0
	for entry := range bytes.SplitSeq(block, []byte{0}) {
		if value, ok := bytes.CutPrefix(entry, []byte(name+"=")); ok {
			_, _ = memory.WriteAt(make([]byte, len(value)), from+int64(at+len(entry)-len(value)))
		}
		at += len(entry) + 1
	}
}
