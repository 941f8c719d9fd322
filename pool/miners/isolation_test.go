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

// TestLostLease: shares do not count any more when the place went to another connection.
func TestLostLease(t *testing.T) {
	b := newBench(t, easy)
	b.Publish(b.work(true))
	j := b.o.Jobs.Latest()
	s := b.loggedIn(everyHash)
	for i, want := range []int{0, stratum.CodeStale} {
		in := stratum.Submission{Share: stratum.Share{Worker: "w", JobID: j.Key(0).ID(), Extranonce2: make([]byte, 8), Time: j.Time, Nonce: uint32(i)}}
		b.submitBatch(s, []*stratum.Submission{&in})
		if code(in.Verdict) != want {
			t.Errorf("share %d: %v, want code %d", i, in.Verdict, want)
		}
		if _, err := b.o.Home.Take(b.now(), space.Request{Resume: s.lease.ID}); err != nil {
			t.Fatal(err)
		}
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

// TestResumedDifficulty: a session that is resumed goes on with its difficulty, and its
// jobs are judged as they were sent, also where the old connection is not dead yet.
func TestResumedDifficulty(t *testing.T) {
	for name, closed := range map[string]bool{"closed": true, "half open": false} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, easy)
			dial := b.serve(t)
			b.Publish(b.work(false))
			m := dial()
			m.send(`{"id":1,"method":"mining.subscribe","params":[]}` + "\n" + `{"id":2,"method":"mining.authorize","params":["w","x"]}` + "\n")
			var reply struct{ Result []json.RawMessage }
			var pairs [][]string
			if err := json.Unmarshal([]byte(m.until(`"id":1`)), &reply); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(reply.Result[0], &pairs); err != nil {
				t.Fatal(err)
			}
			easy := m.until("mining.notify")
			if r := m.submitted(easy, 1); !strings.Contains(r, "true") {
				t.Fatalf("share: %s", r)
			}
			m.send(`{"method":"mining.suggest_difficulty","params":[0.25]}` + "\n")
			m.until("mining.notify")
			if closed {
				_ = m.Close()
				for b.space.Load().Leased() > 0 && b.server.Stats().Connections.Load() > 0 {
					time.Sleep(time.Millisecond)
				}
			}
			back := dial()
			back.send(fmt.Sprintf(`{"id":1,"method":"mining.subscribe","params":["",%q]}`+"\n"+`{"id":2,"method":"mining.authorize","params":["w","x"]}`+"\n", pairs[0][1]))
			if line := back.until(`"id":1`); !strings.Contains(line, string(reply.Result[1])) {
				t.Errorf("not resumed: %s", line)
			}
			if line := back.until("set_difficulty"); !strings.Contains(line, "[0.25]") {
				t.Errorf("difficulty %s, want 0.25", line)
			}
			if r := back.submitted(easy, 2); !strings.Contains(r, "true") {
				t.Errorf("share of an easy job of before: %s", r)
			}
			if r := back.submitted(easy, 1); !strings.Contains(r, "[22,") {
				t.Errorf("share of before once more: %s", r)
			}
		})
	}
}

// TestCommonMask: each miner may roll what it asked for and BIP 323 allows.
func TestCommonMask(t *testing.T) {
	b := newBench(t, easy)
	dial := b.serve(t)
	w := b.work(false)
	w.Mask = stratum.WideVersionMask
	b.Publish(w)
	for asked, granted := range map[string]string{"ffffffff": "1fffffe0", "1fffe000": "1fffe000", "1fffffe0": "1fffffe0", "00ffffff": "00ffffe0"} {
		m := dial()
		m.send(`{"id":1,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"` + asked + `"}]}` + "\n")
		if reply := m.until(`"id":1`); !strings.Contains(reply, `"`+granted+`"`) {
			t.Errorf("asked for %s: %s", asked, reply)
		}
		m.login()
		var job struct{ Params []any }
		if err := json.Unmarshal([]byte(m.until("mining.notify")), &job); err != nil {
			t.Fatal(err)
		}
		for bits, want := range map[string]string{"00002000": "true", "00000020": "true", "00000010": "[20,"} {
			m.send(fmt.Sprintf(`{"id":"b","method":"mining.submit","params":["w",%q,"0000000000000000",%q,"00000001",%q]}`+"\n", job.Params[0], job.Params[7], bits))
			if reply := m.until(`"id":"b"`); !strings.Contains(reply, want) {
				t.Errorf("asked for %s, rolled %s: %s", asked, bits, reply)
			}
		}
	}
}

// TestBroadcastMeetsLogin: a miner that logged in while a job went to all others, and has it
// or a newer one, does not get it once more.
func TestBroadcastMeetsLogin(t *testing.T) {
	b := newBench(t, easy)
	dial := b.serve(t)
	b.Publish(b.work(true))
	before := b.o.Jobs.Latest()
	m, stranger := dial(), dial()
	m.login()
	m.until("mining.notify")
	late := func(j *jobs.Job) { b.server.Conns(func(c *stratum.Conn) { b.deliver(c, j) }) }
	late(before)
	m.silent()
	b.Publish(b.work(true))
	m.until("mining.notify")
	late(before)
	m.silent()
	// One that has not logged in gets no jobs.
	stranger.send(`{"id":1,"method":"mining.subscribe","params":[]}` + "\n")
	stranger.until(`"id":1`)
	b.Publish(b.work(true))
	stranger.silent()
	m.until("mining.notify")
	// Nor does one in the moment before it is told its difficulty.
	b.server.Conns(func(c *stratum.Conn) {
		s := sessionOf(c)
		s.mu.Lock()
		s.authorized = false
		s.mu.Unlock()
	})
	late(b.o.Jobs.Add(b.now(), b.work(true), false))
	m.silent()
}

// TestLeave: of a miner that leaves nothing stays but its lease, where it had a share.
func TestLeave(t *testing.T) {
	for name, c := range map[string]struct {
		share  bool
		leased int
	}{"without a share": {false, 0}, "with one": {true, 1}} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, easy)
			dial := b.serve(t)
			b.Publish(b.work(true))
			m := dial()
			m.login()
			notify := m.until("mining.notify")
			if c.share {
				m.submitted(notify, 1)
			}
			if r := b.o.Accounts.Worker("w").Report(); r.Connections != 1 {
				t.Errorf("%d connections", r.Connections)
			}
			_ = m.Close()
			for end := time.Now().Add(30 * time.Second); b.o.Accounts.Worker("w").Report().Connections > 0 || b.Space().Leased() != c.leased; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatalf("%d leases, worker %+v", b.Space().Leased(), b.o.Accounts.Worker("w").Report())
				}
			}
			b.advance(LeaseTime)
			other := dial()
			other.login()
			if n := b.Space().Leased(); n != 1 {
				t.Errorf("%d leases after their time", n)
			}
		})
	}
}

// TestResumedEarly: of a session that had not logged in there is no difficulty to go on with.
func TestResumedEarly(t *testing.T) {
	b := newBench(t, func(o *Options) { o.StartDifficulty = 0.25 })
	dial := b.serve(t)
	b.Publish(b.work(true))
	first, second := dial(), dial()
	first.send(`{"id":1,"method":"mining.subscribe","params":[]}` + "\n")
	var reply struct{ Result []json.RawMessage }
	var pairs [][]string
	if err := json.Unmarshal([]byte(first.until(`"id":1`)), &reply); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(reply.Result[0], &pairs); err != nil {
		t.Fatal(err)
	}
	second.send(fmt.Sprintf(`{"id":1,"method":"mining.subscribe","params":["",%q]}`+"\n"+`{"id":2,"method":"mining.authorize","params":["w",""]}`+"\n", pairs[0][1]))
	if line := second.until(`"id":1`); !strings.Contains(line, string(reply.Result[1])) {
		t.Fatalf("not resumed: %s", line)
	}
	if d := second.told(); d != 0.25 {
		t.Errorf("difficulty %g, want 0.25", d)
	}
}
