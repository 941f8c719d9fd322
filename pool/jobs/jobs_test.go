package jobs_test

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/pool/jobs"
	"lode/pool/template"
	"lode/stratum"
)

func TestJobKeys(t *testing.T) {
	for _, number := range []uint64{1, 2, 35, 1 << 32, 1<<32 + 12345} {
		for edition := range jobs.Editions {
			key := jobs.KeyOf(number, edition)
			got, ok := jobs.ParseID(key.ID())
			if !ok || got != key || got.Number() != number || got.Edition() != edition || len(key.ID()) > 16 {
				t.Errorf("job %d, edition %d: id %s is %d (%v)", number, edition, key.ID(), got, ok)
			}
		}
	}
	for _, id := range []string{"", "0", "01", "A", "1 ", "1.5", "-1", "zzzzzzzzzzzzz", strings.Repeat("1", 64), "\x00", "é"} {
		if key, ok := jobs.ParseID(id); ok {
			t.Errorf("%q is job %d", id, key)
		}
	}
	known := true
	if n := testing.AllocsPerRun(100, func() { _, known = jobs.ParseID("no such job") }); n > 0 || known {
		t.Errorf("%v allocations for an id that is none, known: %v", n, known)
	}
}

// origin is a pool's, or a node's where own is set. It refuses extranonces of 13 bytes.
type origin struct {
	own   bool
	bytes int // of its coinbase
}

func (o origin) Make(size int, key jobs.Key) (template.Work, error) {
	if size == 13 {
		return nil, errors.New("unlucky")
	}
	return block(key.ID() + strings.Repeat("x", o.bytes)), nil
}
func (o origin) OwnCoinbase() bool               { return o.own }
func (o origin) CapDifficulty(d float64) float64 { return d }

// block is known by the end of its coinbase.
type block string

func (b block) Coinbase() (before, after []byte) { return []byte("1"), []byte(b) }
func (b block) Branch() []chainhash.Hash         { return nil }
func (b block) Solve([80]byte, []byte) []byte    { return nil }

// TestTable: jobs are found by all their ids for ten minutes, and are worthless from the
// next clean one on.
func TestTable(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	table := jobs.NewTable(1000, time.Hour)
	if table.Latest() != nil || table.Made() != 0 {
		t.Error("an empty table is not")
	}
	var made []*jobs.Job
	for i := range 30 {
		made = append(made, table.Add(now, &jobs.Work{Origin: origin{own: true}}, i%10 == 0))
		now = now.Add(30 * time.Second)
	}
	now = now.Add(-30 * time.Second)
	for i, j := range made {
		for edition := range jobs.Editions {
			found, key := table.Get(j.Key(edition).ID())
			if remembered := 29-i <= 20; (found == j) != remembered || remembered && key != j.Key(edition) {
				t.Errorf("job %d, edition %d: found %v", i, edition, found != nil)
			}
		}
		if j.Retired(now, 0) != (i < 20) || j.Retired(now, 5*time.Minute) != (i < 10) || j.Tip != uint64(i/10+1) {
			t.Errorf("job %d: retired %v, tip %d", i, j.Retired(now, 0), j.Tip)
		}
	}
	if table.Latest() != made[29] || table.Last() != 1030 || table.Made() != 30 {
		t.Errorf("latest %d, %d made", table.Latest().Number, table.Made())
	}
	if j, _ := table.Get("zzzz"); j != nil {
		t.Error("an unknown job was found")
	}
	for range 2000 {
		table.Add(now, &jobs.Work{Origin: origin{}}, false)
	}
	if j, _ := table.Get(made[29].Key(0).ID()); j != nil {
		t.Error("the table has no bound")
	}
}

// TestVariants: each edition is other work, made once for a size.
func TestVariants(t *testing.T) {
	for _, own := range []bool{true, false} {
		j := jobs.NewTable(1, 0).Add(time.Now(), &jobs.Work{Time: 100, Origin: origin{own: own}}, true)
		for edition := range jobs.Editions {
			v, err := j.Variant(12, edition)
			if err != nil {
				t.Fatal(err)
			}
			want := uint32(100)
			if !own {
				want += uint32(edition)
			}
			if v.Job.ID != j.Key(edition).ID() || v.Job.Time != want || !v.Line(true).Clean() || v.Line(false).Clean() {
				t.Errorf("edition %d: %+v", edition, v.Job)
			}
			if _, err := j.Variant(8, edition); err != nil {
				t.Fatal(err)
			}
			if again, err := j.Variant(12, edition); err != nil || again != v {
				t.Errorf("edition %d is made twice (%v)", edition, err)
			}
		}
		if _, err := j.Variant(13, 0); err == nil {
			t.Error("no error of the origin")
		}
		if n := j.Variants(); n != 2*jobs.Editions {
			t.Errorf("%d variants", n)
		}
	}
}

// TestGreatJobs: jobs with great coinbases, as fast as they may come, are remembered as far
// as there is memory for them, the last ones in any case; and their lines only as long as
// they are sent.
func TestGreatJobs(t *testing.T) {
	for kilobytes, c := range map[int]struct{ jobs, kept int }{1: {250, 250}, 160: {250, 205}, 4 << 10: {20, 17}} {
		now := time.Unix(1_700_000_000, 0)
		table := jobs.NewTable(1, 0)
		var made []*jobs.Job
		var first *stratum.EncodedJob
		for range c.jobs {
			j := table.Add(now, &jobs.Work{Origin: origin{bytes: kilobytes << 10}}, false)
			v, err := j.Variant(12, 0)
			if err != nil {
				t.Fatal(err)
			}
			line := v.Line(false)
			if v.Line(false) != line || v.Line(true) == line || len(line.Line()) < 2*kilobytes<<10 {
				t.Fatal("a line is made more than once, or none")
			}
			if made = append(made, j); len(made) == 1 {
				first = line
			}
			now = now.Add(500 * time.Millisecond)
		}
		known := 0
		for _, j := range made {
			if found, _ := table.Get(j.Key(0).ID()); found != nil {
				known++
			}
		}
		if known > c.kept || known < c.kept*9/10 {
			t.Errorf("coinbases of %d KB: %d of %d jobs are remembered, want %d", kilobytes, known, c.jobs, c.kept)
		}
		v, err := made[0].Variant(12, 0)
		if err != nil || v.Line(false) == first || string(v.Line(false).Line()) != string(first.Line()) {
			t.Errorf("the line of a former job was kept, or is another one (%v)", err)
		}
	}
}

// constant is an origin as a pool is: all editions have one coinbase.
type constant struct {
	origin
	all block
}

func (c constant) Make(int, jobs.Key) (template.Work, error) { return c.all, nil }

// TestEditionsPushNothingOut: whoever sends shares for all editions of great jobs, which are
// built for it then, has no job forgotten sooner.
func TestEditionsPushNothingOut(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	table := jobs.NewTable(1, 0)
	work := &jobs.Work{Origin: constant{all: block(strings.Repeat("x", 160<<10))}}
	var made []*jobs.Job
	for range 100 {
		j := table.Add(now, work, false)
		for edition := range jobs.Editions {
			if _, err := j.Variant(12, edition); err != nil {
				t.Fatal(err)
			}
		}
		made = append(made, j)
		now = now.Add(500 * time.Millisecond)
	}
	for i, j := range made {
		if found, _ := table.Get(j.Key(0).ID()); found != j {
			t.Fatalf("job %d of %d, %v old, is forgotten", i, len(made), time.Duration(len(made)-i)*500*time.Millisecond)
		}
	}
}

// keeper is an origin that keeps much.
type keeper struct {
	origin
	memory int64
}

func (k keeper) Memory() int64 { return k.memory }

// TestTemplatesWithoutEnd: a node that has another template all the time, as two behind a
// balancer have, does not fill memory with what is kept of each.
func TestTemplatesWithoutEnd(t *testing.T) {
	for memory, kept := range map[int64]int{1 << 10: 1024, 500 << 10: 131, 30 << 20: 16} {
		now := time.Unix(1_700_000_000, 0)
		table := jobs.NewTable(1, 0)
		var made []*jobs.Job
		for range 1150 {
			made = append(made, table.Add(now, &jobs.Work{Origin: keeper{memory: memory}}, false))
			now = now.Add(500 * time.Millisecond)
		}
		known := 0
		for _, j := range made {
			if found, _ := table.Get(j.Key(0).ID()); found != nil {
				known++
			}
		}
		if known != kept {
			t.Errorf("%d bytes for each: %d jobs are remembered, want %d", memory, known, kept)
		}
	}
}

// TestRetiredJobs: jobs of another tip are forgotten sooner, but not while their shares
// count.
func TestRetiredJobs(t *testing.T) {
	for grace, kept := range map[time.Duration]time.Duration{0: 2 * time.Minute, 5 * time.Minute: 5 * time.Minute} {
		now := time.Unix(1_700_000_000, 0)
		table := jobs.NewTable(1, grace)
		old := table.Add(now, &jobs.Work{Origin: origin{}}, true)
		present := table.Add(now, &jobs.Work{Origin: origin{}}, true)
		table.Forget(now.Add(kept - 1))
		if j, _ := table.Get(old.Key(0).ID()); j != old {
			t.Errorf("grace %v: forgotten too soon", grace)
		}
		table.Forget(now.Add(kept))
		if j, _ := table.Get(old.Key(0).ID()); j != nil {
			t.Errorf("grace %v: not forgotten", grace)
		}
		table.Forget(now.Add(time.Hour))
		if j, _ := table.Get(present.Key(0).ID()); j != present {
			t.Errorf("grace %v: the present job was forgotten", grace)
		}
	}
}

// TestRetiredWhileClockIsSet: for how long a job has been worthless is no matter of what time it
// is said to be.
func TestRetiredWhileClockIsSet(t *testing.T) {
	const grace = 5 * time.Second
	for _, off := range []time.Duration{-time.Hour, time.Hour} {
		now := time.Now()
		table := jobs.NewTable(1, grace)
		old := table.Add(now, &jobs.Work{Origin: origin{}}, true)
		table.Add(now.Add(time.Second), &jobs.Work{Origin: origin{}}, true)
		for after, want := range map[time.Duration]bool{time.Second: false, time.Minute: true} {
			then := setClock(now.Add(time.Second+after), off)
			if got := old.Retired(then, grace); got != want {
				t.Errorf("clock set by %v: after %v retired is %v", off, after, got)
			}
		}
		table.Forget(setClock(now.Add(time.Minute), off))
		if j, _ := table.Get(old.Key(0).ID()); j != old {
			t.Errorf("clock set by %v: the job is forgotten", off)
		}
	}
}

// setClock is t as the clock shows it after it was set by d.
func setClock(t time.Time, d time.Duration) time.Time {
	// The seconds stand above 30 bits of nanoseconds, as long as t was read from a clock.
	*(*uint64)(unsafe.Pointer(&t)) += uint64(d/time.Second) << 30
	return t
}

// TestAgain: a node's work is sent again as it is, with another coinbase; a pool's at a later
// time, when the editions of before have not taken that, and not later than it may be.
func TestAgain(t *testing.T) {
	begin := time.Unix(1_700_000_000, 0)
	for name, c := range map[string]struct {
		own   bool
		max   uint32 // seconds after the job's time; 0: none
		after time.Duration
		want  uint32 // the same
		none  bool
	}{
		"of a node":                   {own: true, after: time.Minute},
		"of a node, at once":          {own: true},
		"of a pool, at once":          {none: true},
		"editions are in use":         {after: 16*time.Second - 1, none: true},
		"editions are free again":     {after: 16 * time.Second, want: 16},
		"as time goes":                {after: 45*time.Second + 999*time.Millisecond, want: 45},
		"up to its end":               {max: 60, after: 45 * time.Second, want: 45},
		"not beyond":                  {max: 60, after: 46 * time.Second, want: 45},
		"the last editions are taken": {max: 30, after: time.Hour, none: true},
		"there are just as many":      {max: 31, after: time.Hour, want: 16},
		"years later":                 {after: 50 * 365 * 24 * time.Hour, want: 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			w := &jobs.Work{Time: 1_700_000_000, MinTime: 1_699_999_000, Since: begin, Origin: origin{own: c.own}}
			if c.max > 0 {
				w.MaxTime = w.Time + c.max
			}
			before := *w
			next := w.Again(begin.Add(c.after))
			if *w != before {
				t.Error("the work itself was changed")
			}
			if (next == nil) != c.none {
				t.Fatalf("sent again: %v", next != nil)
			}
			if next == nil {
				return
			}
			if next == w || next.Time != w.Time+c.want || next.MinTime != w.MinTime || next.MaxTime != w.MaxTime {
				t.Errorf("%d s later, want %d", next.Time-w.Time, c.want)
			}
			// From then on the same holds for the next one.
			if !c.own && next.Again(begin.Add(c.after)) != nil {
				t.Error("sent twice at one time")
			}
		})
	}
}
