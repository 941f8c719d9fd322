package pool

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"lode/pool/jobs"
	"lode/pool/space"
	"lode/pool/vardiff"
	"lode/stratum"
)

// setClock gives a Proxy that bench made a clock that may be set while it serves.
func setClock(p *Proxy) (advance func(time.Duration)) {
	var now atomic.Int64
	now.Store(p.now().UnixNano())
	p.now = func() time.Time { return time.Unix(0, now.Load()) }
	return func(d time.Duration) { now.Add(int64(d)) }
}

// submitted sends a share of the job in a notify line and returns the reply.
func (m *quietMiner) submitted(notify string, nonce uint32) string {
	m.t.Helper()
	var job struct{ Params []any }
	if err := json.Unmarshal([]byte(notify), &job); err != nil {
		m.t.Fatal(err)
	}
	m.send(fmt.Sprintf(`{"id":"s%d","method":"mining.submit","params":["w",%q,"0000000000000000",%q,"%08x"]}`+"\n", nonce, job.Params[0], job.Params[7], nonce))
	return m.until(fmt.Sprintf(`"id":"s%d"`, nonce))
}

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
			p, now := bench(t, Config{MinDifficulty: 1e-10, StartDifficulty: 1e-10})
			advance := setClock(p)
			dial := serveBench(t, p)
			(&report{p, 0}).work(quietWork(p, *now))
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
			before := p.jobs.Made()
			for i := range 1200 {
				m := hostile[i%len(hostile)]
				m.send(line(i) + "\n")
				if i%100 == 99 {
					advance(25 * time.Second)
				}
			}
			for _, m := range hostile {
				m.send(`{"id":"the end","method":"mining.ping"}` + "\n")
			}
			reading.Wait()
			if made := p.jobs.Made(); made != before {
				t.Errorf("%d jobs were made", made-before)
			}
			if n := p.jobs.Latest().Variants(); n > jobs.Editions {
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
	p, now := bench(t, Config{MinDifficulty: 1e-10, StartDifficulty: 1e-10})
	advance := setClock(p)
	dial := serveBench(t, p)
	(&report{p, 0}).work(quietWork(p, *now))
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
		advance(30 * time.Second)
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
	advance(21 * time.Second)
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
			p, now := bench(t, Config{MinDifficulty: 1e-10, StartDifficulty: 1e-10})
			advance := setClock(p)
			dial := serveBench(t, p)
			if kind == "pool" {
				(&report{p, 0}).work(quietWork(p, *now))
			} else {
				notify(t, p, templateReply(0))
				p.jobs.Latest().Space = p.home
			}
			m := dial()
			m.login()
			lines := []string{m.until("mining.notify")}
			for i := 1; i < jobs.Editions; i++ {
				advance(20 * time.Second)
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
			advance(20 * time.Second)
			m.send(`{"method":"mining.suggest_difficulty","params":[0.007]}` + "\n")
			m.silent()
			p.publishing.Lock()
			p.broadcast(p.jobs.Add(p.now(), p.jobs.Latest().Again(p.now()), false))
			p.publishing.Unlock()
			m.until(`set_difficulty","params":[0.007]`)
			m.until("mining.notify")
		})
	}
}

// TestBlockInAnyCase: no bookkeeping keeps a hash from being a block.
func TestBlockInAnyCase(t *testing.T) {
	v := vectors(t)[2]
	for name, change := range map[string]func(p *Proxy, s *session, in *stratum.Share){
		"the difficulty is not known":       func(p *Proxy, s *session, _ *stratum.Share) { s.vardiff = vardiff.New(p.vardiff, p.now(), 1e12, 0) },
		"the worker is not of this session": func(_ *Proxy, s *session, in *stratum.Share) { in.Worker, s.workers = "x", nil },
		"the extranonce is another miner's now": func(p *Proxy, s *session, _ *stratum.Share) {
			if _, err := p.home.Take(p.now(), space.Request{Resume: s.lease.ID}); err != nil {
				t.Error(err)
			}
		},
		"there is no upstream":               func(p *Proxy, _ *session, _ *stratum.Share) { p.working.Store(false) },
		"the job was replaced, and replaced": func(p *Proxy, _ *session, _ *stratum.Share) { replace(t, p, v, 500) },
	} {
		t.Run(name, func(t *testing.T) {
			p, _ := bench(t, Config{})
			j := inject(t, p, &v.job, v.mask, true)
			s := loggedIn(p, 1e-9)
			s.lease.Extranonce = unhex(t, v.e1)
			in := v.share
			in.Worker, in.JobID, in.Extranonce2 = "w", j.Key(0).ID(), unhex(t, v.e2)
			change(p, s, &in)
			if in.Worker == "x" {
				p.strayShare(s, &in)
			} else {
				p.submitBatch(s, []*stratum.Submission{{Share: in}})
			}
			if b := p.keeper.Blocks(); len(b) != 1 || b[0].Hash != v.hash || b[0].Finder != in.Worker {
				t.Errorf("blocks %+v", b)
			}
			// Once more is not one more: there is a bound on blocks for one tip.
			for range 2 * candidatesPerTip {
				p.strayShare(s, &in)
				p.submitBatch(s, []*stratum.Submission{{Share: in}})
			}
			if p.brake.count > 1 {
				t.Errorf("the block was counted %d times", p.brake.count)
			}
		})
	}
}

// TestLostLease: shares do not count any more when the place went to another connection.
func TestLostLease(t *testing.T) {
	p, _ := bench(t, Config{})
	v := vectors(t)[2]
	j := inject(t, p, &v.job, v.mask, true)
	s := loggedIn(p, 1e-9)
	s.lease.Extranonce = unhex(t, v.e1)
	for i, want := range []int{0, stratum.CodeStale} {
		in := stratum.Submission{Share: v.share}
		in.Worker, in.JobID, in.Extranonce2 = "w", j.Key(0).ID(), unhex(t, v.e2)
		in.Nonce += uint32(i)
		p.submitBatch(s, []*stratum.Submission{&in})
		if code(in.Verdict) != want {
			t.Errorf("share %d: %v, want code %d", i, in.Verdict, want)
		}
		if _, err := p.home.Take(p.now(), space.Request{Resume: s.lease.ID}); err != nil {
			t.Fatal(err)
		}
	}
}

// replace retires the present job and many after it.
func replace(t *testing.T, p *Proxy, v vector, times int) {
	next := v.job
	for i := range times {
		binary.LittleEndian.PutUint32(next.PrevBlock[:], uint32(i))
		inject(t, p, &next, v.mask, true)
	}
}

// TestResumedDifficulty: a session that is resumed goes on with its difficulty, and its
// jobs are judged as they were sent, also where the old connection is not dead yet.
func TestResumedDifficulty(t *testing.T) {
	for name, closed := range map[string]bool{"closed": true, "half open": false} {
		t.Run(name, func(t *testing.T) {
			p, now := bench(t, Config{MinDifficulty: 1e-10, StartDifficulty: 1e-10})
			setClock(p)
			dial := serveBench(t, p)
			(&report{p, 0}).work(quietWork(p, *now))
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
				for p.space.Load().Leased() > 0 && p.server.Stats().Connections.Load() > 0 {
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
	p, now := bench(t, Config{MinDifficulty: 1e-10, StartDifficulty: 1e-10})
	dial := serveBench(t, p)
	w := quietWork(p, *now)
	w.Mask = p.mask()
	(&report{p, 0}).work(w)
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
