package agent

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	mesos "github.com/mesos/mesos-go/api/v1/lib"
	mesostime "github.com/mesos/mesos-go/api/v1/lib/time"
	"pgregory.net/rapid"
)

func TestFormatDuration(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"0ns":      0,
		"15ns":     15,
		"30ms":     30 * time.Millisecond,
		"1.5ms":    1500 * time.Microsecond,
		"2secs":    2 * time.Second,
		"6secs":    6 * time.Second,
		"1mins":    time.Minute,
		"1.25mins": 75 * time.Second,
		"15mins":   15 * time.Minute,
		"1hrs":     time.Hour,
		"1weeks":   7 * 24 * time.Hour,
		"-2secs":   -2 * time.Second,
	} {
		if got := formatDuration(d); got != want {
			t.Errorf("%v is %s, want %s", d, got, want)
		}
	}
}

// TestDurationsCanBeRead: what executors find in their environment is read by mesos-go's parser.
func TestDurationsCanBeRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, int64(100*24*time.Hour)).Draw(t, "duration"))
		back, err := mesostime.ParseDuration(formatDuration(d))
		if diff := (back - d).Abs(); err != nil || diff > time.Microsecond {
			t.Fatalf("%v is written %s and read %v, %v", d, formatDuration(d), back, err)
		}
	})
}

// TestJournalSurvivesACrash: whatever the length at which writing stopped, all complete records are read.
func TestJournalSurvivesACrash(t *testing.T) {
	j := journal{filepath.Join(t.TempDir(), "task.updates")}
	status := mesos.TaskStatus{TaskID: mesos.TaskID{Value: "t"}, State: mesos.TASK_RUNNING.Enum(), UUID: []byte("0123456789abcdef")}
	for range 3 {
		if err := j.Update(status); err != nil {
			t.Fatal(err)
		}
		if err := j.Acknowledged(status.UUID); err != nil {
			t.Fatal(err)
		}
	}
	whole, err := os.ReadFile(j.path)
	if err != nil {
		t.Fatal(err)
	}
	last := 0
	for n := range len(whole) + 1 {
		if err := os.WriteFile(j.path, whole[:n], 0o644); err != nil {
			t.Fatal(err)
		}
		statuses, acked, err := j.read()
		if err != nil {
			t.Fatalf("cut at %d: %v", n, err)
		}
		if got := len(statuses) + len(acked); got < last {
			t.Fatalf("cut at %d: %d records, there were %d before", n, got, last)
		} else {
			last = got
		}
	}
	if last != 6 {
		t.Errorf("%d records", last)
	}
}

func FuzzJournal(f *testing.F) {
	j := journal{filepath.Join(f.TempDir(), "seed")}
	status := mesos.TaskStatus{TaskID: mesos.TaskID{Value: "t"}, State: mesos.TASK_RUNNING.Enum(), UUID: []byte("0123456789abcdef")}
	if err := j.Update(status); err != nil {
		f.Fatal(err)
	}
	seed, err := os.ReadFile(j.path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte{recordAck, 3, 0, 0, 0, 'a', 'b', 'c'})
	f.Add([]byte{7, 0, 0, 0, 0})
	f.Add([]byte{0, 255, 255, 255, 255})
	path := filepath.Join(f.TempDir(), "task.updates")
	f.Fuzz(func(t *testing.T, content []byte) {
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
		_, acked, err := journal{path}.read()
		for _, a := range acked {
			if err == nil && !bytes.Contains(content, a) {
				t.Errorf("%x came from nowhere", a)
			}
		}
	})
}

// TestFilesStayInside: names that lead out of a sandbox are not found.
func TestFilesStayInside(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.runOne("run")
	var dir string
	b.agent.ask(func(p *process) { dir = p.frameworks[frameworkID].executor("e1").directory })
	outside := filepath.Join(b.agent.config.WorkDir, "secret")
	if err := os.WriteFile(outside, []byte("secret"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "way-out")); err != nil {
		t.Fatal(err)
	}
	p := b.agent.current()
	for _, name := range []string{
		outside, "/etc/passwd", "/", "", dir + "/../../../../../../../../../secret", dir + "/way-out", "/frameworks/" + frameworkID,
	} {
		if found, err := p.resolve(name); err == nil {
			t.Errorf("%q leads to %s", name, found)
		}
	}
	for _, name := range []string{dir, dir + "/", dir + "/stderr", "/frameworks/" + frameworkID + "/executors/e1/runs/latest/stdout"} {
		if _, err := p.resolve(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}
