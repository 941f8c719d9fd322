package miners

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/pool/jobs"
	"lode/pool/space"
	"lode/pool/vardiff"
	"lode/stratum"
)

// TestNobodyElse: what one session does a thousand times is nothing to the others, and
// nothing of it stays.
func TestNobodyElse(t *testing.T) {
	for name, line := range map[string]func(i int) string{
		"suggest_difficulty": func(i int) string {
			return fmt.Sprintf(`{"id":1,"method":"mining.suggest_difficulty","params":[%g]}`, 1e-9*float64(i+1))
		},
		"two in turn": func(i int) string {
			return fmt.Sprintf(`{"id":1,"method":"mining.suggest_difficulty","params":[%g]}`, []float64{1e-3, 1e-6}[i%2])
		},
		"suggest_target": func(i int) string {
			return fmt.Sprintf(`{"id":1,"method":"mining.suggest_target","params":["%08x%s"]}`, 0x100000+i, strings.Repeat("f", 56))
		},
		"minimum-difficulty": func(i int) string {
			return fmt.Sprintf(`{"id":1,"method":"mining.configure","params":[["minimum-difficulty"],{"minimum-difficulty.value":%g}]}`, 1e-9*float64(i+1))
		},
		"passwords": func(i int) string {
			return fmt.Sprintf(`{"id":1,"method":"mining.authorize","params":["w","d=%g"]}`, 1e-9*float64(i+1))
		},
		"names": func(i int) string {
			return fmt.Sprintf(`{"id":1,"method":"mining.authorize","params":["w%d",""]}`, i)
		},
		"masks": func(i int) string {
			return fmt.Sprintf(`{"id":1,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"%08x"}]}`, i<<13)
		},
		"subscribe":            func(int) string { return `{"id":1,"method":"mining.subscribe","params":[]}` },
		"extranonce.subscribe": func(int) string { return `{"id":1,"method":"mining.extranonce.subscribe","params":[]}` },
		"unknown jobs": func(i int) string {
			return fmt.Sprintf(`{"id":1,"method":"mining.submit","params":["w","%x","0000000000000000","00000000","00000000"]}`, i)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, func(o *Options) {
				easy(o)
				// The limits are not what is tried.
				o.Stratum.Limits = stratum.Limits{MessageRate: -1, LightRate: -1, SharedRate: -1, Names: -1, NameBytes: -1, UnreadBytes: -1, UnreadTotal: -1}
			})
			dial := b.serve(t)
			b.Publish(b.work(false))
			honest, hostile := dial(), []*quietMiner{dial(), dial()}
			honest.login()
			notify := honest.until("mining.notify")
			var reading sync.WaitGroup
			for _, m := range hostile {
				m.login()
				reading.Go(func() { // what it is sent it may well read
					for {
						line, err := m.r.ReadString('\n')
						if err != nil || strings.Contains(line, "the end") {
							return
						}
					}
				})
			}
			before := b.o.Jobs.Made()
			for i := range 1200 {
				m := hostile[i%len(hostile)]
				m.send(line(i) + "\n")
				if i%100 == 99 {
					b.advance(25 * time.Second)
				}
			}
			for _, m := range hostile {
				m.send(`{"id":"the end","method":"mining.ping"}` + "\n")
			}
			reading.Wait()
			if made := b.o.Jobs.Made(); made != before {
				t.Errorf("%d jobs were made", made-before)
			}
			if n := b.o.Jobs.Latest().Variants(); n > jobs.Editions {
				t.Errorf("%d variants of the job, want at most %d", n, jobs.Editions)
			}
			if reply := honest.submitted(notify, 1); !strings.Contains(reply, "true") {
				t.Errorf("the honest miner's share: %s", reply)
			}
			honest.silent()
		})
	}
}

// TestRefusedWork: what is refused weighs what its hash was worth, not what the session wished
// its difficulty to be: nobody makes up more work than all others do.
func TestRefusedWork(t *testing.T) {
	b := newBench(t, nil)
	b.Publish(b.work(true))
	j := b.o.Jobs.Latest()
	for i, in := range []stratum.Share{
		{JobID: j.Key(0).ID()},
		{JobID: "zzzz"},
		{JobID: j.Key(0).ID(), VersionBits: 1, HasVersionBits: true},
		{JobID: j.Key(0).ID(), Extranonce2: []byte{1}},
	} {
		s := b.loggedIn(1e12)
		in.Worker, in.Time, in.Nonce = "w", j.Time, uint32(i)
		if in.Extranonce2 == nil {
			in.Extranonce2 = make([]byte, 8)
		}
		one := &stratum.Submission{Share: in}
		b.submitBatch(s, []*stratum.Submission{one})
		if one.Verdict == nil {
			t.Errorf("share %d was accepted", i)
		}
	}
	n := uint64(0)
	for outcome, tally := range b.o.Accounts.Total().Tallies {
		n += tally.Shares
		if tally.Difficulty > 1 {
			t.Errorf("%s: %+v", outcome, tally)
		}
	}
	if n != 4 {
		t.Errorf("%d shares were counted, want 4", n)
	}
}

// TestWorthOfBlock: a block weighs what its hash was worth, where that is less than what the
// session wished its difficulty to be.
func TestWorthOfBlock(t *testing.T) {
	b := newBench(t, nil)
	j := b.inject(t, easyJob(b), 0, true)
	s := b.loggedIn(1e12)
	in := stratum.Share{Worker: "w", JobID: j.Key(0).ID(), Extranonce2: make([]byte, 8), Time: j.Time}
	in.Nonce = nonceOfBlock(t, j, s, in)
	one := &stratum.Submission{Share: in}
	b.submitBatch(s, []*stratum.Submission{one})
	if one.Verdict != nil || len(b.found) != 1 {
		t.Fatalf("%v, blocks %v", one.Verdict, b.found)
	}
	if work := b.o.Accounts.Total().Tallies["accepted"]; work.Shares != 1 || work.Difficulty > 1 || one.Worth > 1 {
		t.Errorf("counted as %+v, worth %g", work, float64(one.Worth))
	}
}

// TestSameWish: a wish that is repeated, as some devices do, changes nothing and is
// answered with nothing but the reply; changed ones are granted 20 s apart.
func TestSameWish(t *testing.T) {
	b := newBench(t, easy)
	dial := b.serve(t)
	b.Publish(b.work(false))
	m := dial()
	m.login()
	m.until("mining.notify")
	wish := func(d float64) {
		m.send(fmt.Sprintf(`{"method":"mining.suggest_difficulty","params":[%g]}`+"\n", d))
	}
	wish(1e-5)
	if line := m.until("set_difficulty"); !strings.Contains(line, "0.00001]") {
		t.Errorf("wished for 1e-5, got %s", line)
	}
	m.until("mining.notify")
	for range 10 {
		b.advance(30 * time.Second)
		wish(1e-5)
		m.silent()
	}
	wish(1e-4)
	if line := m.until("set_difficulty"); !strings.Contains(line, "0.0001]") {
		t.Errorf("wished for 1e-4, got %s", line)
	}
	m.until("mining.notify")
	for i := range 100 {
		wish(1e-5 * float64(i+1))
	}
	m.silent()
	b.advance(21 * time.Second)
	wish(2e-3)
	if line := m.until("set_difficulty"); !strings.Contains(line, "0.002]") {
		t.Errorf("wished for 2e-3, got %s", line)
	}
}

// TestEditions: a new difficulty comes with a job that is other work under another id,
// and each share is judged by what its own edition was sent with.
func TestEditions(t *testing.T) {
	for _, kind := range []string{"pool", "node"} {
		t.Run(kind, func(t *testing.T) {
			b := newBench(t, easy)
			dial := b.serve(t)
			b.Publish(b.work(kind == "node"))
			m := dial()
			m.login()
			lines := []string{m.until("mining.notify")}
			for i := 1; i < jobs.Editions; i++ {
				b.advance(20 * time.Second)
				m.send(fmt.Sprintf(`{"method":"mining.suggest_difficulty","params":[%g]}`+"\n", 1e-3*float64(1+i%2)))
				m.until("set_difficulty")
				lines = append(lines, m.until("mining.notify"))
				if i > 1 {
					continue
				}
				// This share was easy enough for what it was sent with.
				if reply := m.submitted(lines[0], 1); !strings.Contains(reply, "true") {
					t.Errorf("share of the job before: %s", reply)
				}
				if reply := m.submitted(lines[1], 2); !strings.Contains(reply, "[23,") {
					t.Errorf("too easy for the edition that it is for: %s", reply)
				}
			}
			seen := map[string]bool{}
			for i, line := range lines {
				var job struct{ Params []any }
				if err := json.Unmarshal([]byte(line), &job); err != nil {
					t.Fatal(err)
				}
				id, body := fmt.Sprint(job.Params[0]), fmt.Sprint(job.Params[2:8])
				if seen[id] || seen[body] || job.Params[8] != false && i > 0 {
					t.Errorf("edition %d: %s", i, line)
				}
				seen[id], seen[body] = true, true
			}
			// There are no more of them: the wish waits for the next job.
			b.advance(20 * time.Second)
			m.send(`{"method":"mining.suggest_difficulty","params":[0.007]}` + "\n")
			m.silent()
			b.broadcast(b.o.Jobs.Add(b.now(), b.o.Jobs.Latest().Again(b.now()), false))
			m.until(`set_difficulty","params":[0.007]`)
			m.until("mining.notify")
		})
	}
}

// nonceOfBlock is one with which a share of a session is a block.
func nonceOfBlock(t *testing.T, j *jobs.Job, s *session, in stratum.Share) uint32 {
	t.Helper()
	v, err := j.Variant(s.size(), 0)
	if err != nil {
		t.Fatal(err)
	}
	for nonce := uint32(0); ; nonce++ {
		header, _ := v.Job.HeaderBytes(s.lease.Extranonce, in.Extranonce2, nil, j.Version, in.Time, nonce)
		if hash := chainhash.DoubleHashH(header[:]); j.Network.MetBy(&hash) {
			return nonce
		}
	}
}

// easyJob is of a network where every second hash is a block.
func easyJob(b *bench) *stratum.Job {
	return &stratum.Job{Coinbase1: make([]byte, 60), Coinbase2: make([]byte, 60), Version: 0x20000000, Bits: 0x207fffff, Time: uint32(b.now().Unix())}
}

// TestBlockInAnyCase: no bookkeeping keeps a hash from being a block, and none is one twice.
func TestBlockInAnyCase(t *testing.T) {
	for name, change := range map[string]func(b *bench, s *session, in *stratum.Share){
		"the difficulty is not known":       func(b *bench, s *session, _ *stratum.Share) { s.vardiff = vardiff.New(b.o.Vardiff, b.now(), 1e12, 0) },
		"the worker is not of this session": func(_ *bench, s *session, in *stratum.Share) { in.Worker, s.workers = "x", nil },
		"the extranonce is another miner's now": func(b *bench, s *session, _ *stratum.Share) {
			if _, err := b.o.Home.Take(b.now(), space.Request{Resume: s.lease.ID}); err != nil {
				t.Error(err)
			}
		},
		"there is no upstream":               func(b *bench, _ *session, _ *stratum.Share) { b.working.Store(false) },
		"the job was replaced, and replaced": func(b *bench, _ *session, _ *stratum.Share) { b.replace(t, 500) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			j := b.inject(t, easyJob(b), 0, true)
			s := b.loggedIn(1e-9)
			in := stratum.Share{Worker: "w", JobID: j.Key(0).ID(), Extranonce2: make([]byte, 8), Time: j.Time}
			in.Nonce = nonceOfBlock(t, j, s, in)
			change(b, s, &in)
			submit := func() {
				if in.Worker == "x" {
					b.strayShare(s, &in)
				} else {
					b.submitBatch(s, []*stratum.Submission{{Share: in}})
				}
			}
			submit()
			if len(b.found) != 1 || b.found[0].finder != in.Worker {
				t.Errorf("blocks %+v", b.found)
			}
			for range 20 {
				submit()
				b.strayShare(s, &in)
			}
			if len(b.found) > 1 {
				t.Errorf("the block was found %d times", len(b.found))
			}
		})
	}
}

// replace retires the present job and many after it.
func (b *bench) replace(t *testing.T, times int) {
	next := easyJob(b)
	for i := range times {
		binary.LittleEndian.PutUint32(next.PrevBlock[:], uint32(i))
		b.inject(t, next, 0, true)
	}
}
