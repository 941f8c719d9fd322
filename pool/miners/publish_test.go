package miners

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"lode/pool/jobs"
	"lode/pool/space"
	"lode/stratum"
)

// TestClean: miners throw away what they have when it is worth nothing any more, and only
// then.
func TestClean(t *testing.T) {
	for name, c := range map[string]struct {
		change func(b *bench, w *jobs.Work)
		want   bool
	}{
		"the same tip":          {func(*bench, *jobs.Work) {}, false},
		"another tip":           {func(_ *bench, w *jobs.Work) { w.Prev[0]++ }, true},
		"another upstream":      {func(_ *bench, w *jobs.Work) { w.Source++ }, true},
		"the upstream wants it": {func(_ *bench, w *jobs.Work) { w.Clean = true }, true},
		"after a pause":         {func(b *bench, _ *jobs.Work) { b.Pause() }, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, easy)
			dial := b.serve(t)
			b.Publish(b.work(true))
			first := b.o.Jobs.Latest()
			m := dial()
			m.login()
			m.until("mining.notify")
			next := b.work(true)
			c.change(b, next)
			b.Publish(next)
			var line struct{ Params []any }
			if err := json.Unmarshal([]byte(m.until("mining.notify")), &line); err != nil || line.Params[8] != c.want {
				t.Errorf("clean: %v, %v; want %v", line.Params[8], err, c.want)
			}
			if first.Retired(b.now(), 0) != c.want {
				t.Errorf("the job before is retired: %v, want %v", !c.want, c.want)
			}
		})
	}
}

// TestMove: where the space changes with the upstream's extranonce, miners that can be told
// are, with a job that is clean for them, and what they have found before still counts;
// others have to come again.
func TestMove(t *testing.T) {
	b := newBench(t, func(o *Options) { easy(o); o.Vardiff.Max = everyHash })
	dial := b.serve(t)
	spaceOf := func(e1 byte) *space.Space {
		s, err := space.New([]byte{e1}, 3, 8, LeaseTime)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	publish := func(s *space.Space) {
		w := b.work(false)
		w.Space = s
		b.Publish(w)
	}
	publish(spaceOf(0xa0))
	m, other := dial(), dial()
	m.send(`{"id":9,"method":"mining.extranonce.subscribe","params":[]}` + "\n")
	m.login()
	before := []string{m.until("mining.notify")}
	other.login()
	other.until("mining.notify")
	nonce := uint32(0)
	share := func(notify string) string {
		nonce++
		return m.submitted(notify, nonce)
	}
	for i := range byte(maxFormer + 1) {
		publish(spaceOf(0xa1 + i))
		if line := m.until("mining.set_extranonce"); !strings.Contains(line, fmt.Sprintf(`"%02x`, 0xa1+i)) {
			t.Fatalf("move %d: %s", i, line)
		}
		notify := m.until("mining.notify")
		var job struct{ Params []any }
		if err := json.Unmarshal([]byte(notify), &job); err != nil || job.Params[8] != true {
			t.Errorf("move %d: the job is not clean: %s", i, notify)
		}
		if reply := share(notify); !strings.Contains(reply, "true") {
			t.Errorf("move %d: a share there: %s", i, reply)
		}
		if reply := share(before[len(before)-1]); !strings.Contains(reply, "true") {
			t.Errorf("move %d: a share of the space before: %s", i, reply)
		}
		before = append(before, notify)
	}
	if b.o.Jobs.Latest().Clean {
		t.Error("the job is clean for all")
	}
	// Of all that there were some are remembered.
	if reply := share(before[1]); !strings.Contains(reply, "true") {
		t.Errorf("a share of %d spaces before: %s", maxFormer, reply)
	}
	if reply := share(before[0]); !strings.Contains(reply, fmt.Sprint("[", stratum.CodeStale)) {
		t.Errorf("a share of %d spaces before: %s", maxFormer+1, reply)
	}
	_ = other.SetReadDeadline(time.Now().Add(30 * time.Second))
	if line, err := other.r.ReadString('\n'); err == nil {
		t.Errorf("one that cannot be told got %s", line)
	}
	// Work of nodes can be searched in any space.
	b.Publish(b.work(true))
	if line := m.until(""); strings.Contains(line, "set_extranonce") {
		t.Errorf("moved without need: %s", line)
	}
}
