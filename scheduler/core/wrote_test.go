package core

import (
	"fmt"
	"strings"
	"testing"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

func TestWhatAnExecutorWrote(t *testing.T) {
	const ended, foreign = "executor_terminated", "the executor is for machines of another kind"
	for _, test := range []struct {
		name, text, cause, output string
		last                      string // what problems say of it; "": nothing
	}{
		{"another architecture", "Failed to execute './lode-executor': Exec format error\n", foreign, "Failed to execute './lode-executor': Exec format error", "Exec format error"},
		{"noexec", "I0101 fetched\nFailed to execute './lode-executor': Permission denied\n", "the executor may not be run", "I0101 fetched\nFailed to execute './lode-executor': Permission denied", "Permission denied"},
		{"a library, and more behind it", "./x: error while loading shared libraries: libfoo.so\nbye\n", "a library is missing", "./x: error while loading shared libraries: libfoo.so\nbye", "libfoo.so"},
		{"something else", "panic: oh\n\n", ended, "panic: oh", "panic: oh"},
		{"nothing", "\n \n", ended, "", ""},
		{"a terminal's controls", "\x1b[2J\x07no\r\n", ended, "?[2J?no", "?[2J?no"},
		{"very long", strings.Repeat("x", 10<<10) + "\nend", ended, strings.Repeat("x", 500) + "\nend", "end"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScript(t)
			var last string
			for i := range hopelessAfter {
				last = s.launchOne(fmt.Sprint("S", i))
				s.update(last, mesos.TASK_FAILED, mesos.REASON_EXECUTOR_TERMINATED)
				if i == 0 {
					s.step(Wrote{last, test.text})
					got := s.c.ended.newest()[0]
					if got.Cause != test.cause || got.Output != test.output {
						t.Errorf("cause %q, output %q", got.Cause, got.Output)
					}
				}
				s.c.proxies.reset()
				s.c.causes.openAgain()
			}
			var told []string
			for _, p := range s.c.Problems() {
				told = append(told, p.Text)
			}
			if text := strings.Join(told, "\n"); text == "" || !strings.Contains(text, test.last) {
				t.Errorf("problems are %q, want %q in them", text, test.last)
			}
			s.step(Wrote{"no such task", "x"})
			if s.c.ended.newest()[0].ID != last {
				t.Error("what an unknown task wrote is taken for another's")
			}
		})
	}
}

// openAgain lets launches go on at once.
func (cs causes) openAgain() {
	for _, k := range cs {
		k.until = 0
	}
}
