package command

import (
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
)

func TestSummary(t *testing.T) {
	t.Parallel()
	for want, command := range map[string]*mesos.CommandInfo{
		"(Command: sh -c 'fifteen letters')": {Value: value("fifteen letters")},
		"(Command: sh -c 'sixteen lett...')": {Value: value("sixteen letters!")},
		"(Command: [/bin/echo, a])":          {Shell: new(bool), Value: value("/bin/echo"), Arguments: []string{"a"}},
		"(Command: [/bin/echo, e...])":       {Shell: new(bool), Value: value("/bin/echo"), Arguments: []string{"echo", "b"}},
		"(Command: NO COMMAND)":              {},
		"(Command: NO EXECUTABLE)":           {Shell: new(bool)},
	} {
		if got := summary(command); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func value(s string) *string { return &s }

func TestReadDuration(t *testing.T) {
	const name, before = "LODE_TEST_DURATION", 7 * time.Hour
	read := func(text string) (time.Duration, error) {
		t.Setenv(name, text)
		d := before
		err := readDuration(name, &d)
		return d, err
	}
	for text, want := range map[string]time.Duration{
		"5secs": 5 * time.Second, "1.5mins": 90 * time.Second, "15mins": 15 * time.Minute, "0ns": 0, "2weeks": 14 * 24 * time.Hour,
		"": before,
	} {
		if got, err := read(text); err != nil || got != want {
			t.Errorf("%q is %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"5", "secs", "5 secs", "5parsecs"} {
		if got, err := read(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}
