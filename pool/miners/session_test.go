package miners

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"lode/pool/jobs"
	"lode/pool/space"
	"lode/stratum"
)

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

// TestMoveOfTheGone: a connection that has gone, or whose session another one has resumed, takes
// no place where an upstream's work is searched, though a job is on its way to it.
func TestMoveOfTheGone(t *testing.T) {
	for name, resumed := range map[string]bool{"gone": false, "resumed": true} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, easy)
			dial := b.serve(t)
			b.Publish(b.work(false))
			m := dial()
			m.send(`{"id":0,"method":"mining.extranonce.subscribe","params":[]}` + "\n")
			m.login()
			if reply := m.submitted(m.until("mining.notify"), 1); !strings.Contains(reply, "true") {
				t.Fatal(reply)
			}
			var conn *stratum.Conn
			b.server.Conns(func(c *stratum.Conn) { conn = c })
			s := sessionOf(conn)
			if resumed {
				if _, err := b.o.Home.Take(b.now(), space.Request{Resume: s.lease.ID}); err != nil {
					t.Fatal(err)
				}
			} else {
				_ = m.Close()
				for b.server.Stats().Connections.Load() > 0 {
					time.Sleep(time.Millisecond)
				}
				b.server.Close() // it returns when Disconnected has
			}
			w := b.work(false)
			var err error
			if w.Space, err = space.New([]byte{1}, 2, 6, LeaseTime); err != nil {
				t.Fatal(err)
			}
			b.space.Store(w.Space)
			b.deliver(conn, b.o.Jobs.Add(b.now(), w, true))
			if n := w.Space.Leased(); n != 0 {
				t.Errorf("%d places are taken", n)
			}
		})
	}
}

// TestCheapPlaces: who fills all places with shares that cost nothing keeps no miner out.
func TestCheapPlaces(t *testing.T) {
	b := newBench(t, easy)
	dial := b.serve(t)
	w := b.work(false)
	var err error
	if w.Space, err = space.New([]byte{1}, 1, 3, LeaseTime); err != nil {
		t.Fatal(err)
	}
	b.Publish(w)
	for i := range w.Space.Capacity() {
		m := dial()
		m.login()
		var job struct{ Params []any }
		if err := json.Unmarshal([]byte(m.until("mining.notify")), &job); err != nil {
			t.Fatal(err)
		}
		m.send(fmt.Sprintf(`{"id":"s","method":"mining.submit","params":["w",%q,"000000",%q,"%08x"]}`+"\n", job.Params[0], job.Params[7], i))
		if reply := m.until(`"id":"s"`); !strings.Contains(reply, "true") {
			t.Fatalf("share: %s", reply)
		}
	}
	b.advance(time.Minute)
	for _, agent := range []string{"cgminer/4.11", "something", "NerdMinerV2"} {
		m := dial()
		m.send(fmt.Sprintf(`{"id":1,"method":"mining.subscribe","params":[%q]}`+"\n", agent))
		if reply := m.until(`"id":1`); strings.Contains(reply, "full") || !strings.Contains(reply, `"error":null`) {
			t.Errorf("%s: %s", agent, reply)
		}
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
			b.advance(5 * time.Minute)
			back := dial()
			back.send(fmt.Sprintf(`{"id":1,"method":"mining.subscribe","params":["",%q]}`+"\n"+`{"id":2,"method":"mining.authorize","params":["w","x"]}`+"\n", pairs[0][1]))
			if line := back.until(`"id":1`); !strings.Contains(line, string(reply.Result[1])) {
				t.Errorf("not resumed: %s", line)
			}
			if line := back.until("set_difficulty"); !strings.Contains(line, "[0.25]") {
				t.Errorf("difficulty %s, want 0.25", line)
			}
			// The time in which it was away says nothing of how fast it is.
			back.until("mining.notify")
			b.Tick(b.now())
			back.silent()
			if r := back.submitted(easy, 2); !strings.Contains(r, "true") {
				t.Errorf("share of an easy job of before: %s", r)
			}
			if r := back.submitted(easy, 1); !strings.Contains(r, "[22,") {
				t.Errorf("share of before once more: %s", r)
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

// TestAuthorize: who is refused is, and is no worker of the session.
func TestAuthorize(t *testing.T) {
	b := newBench(t, func(o *Options) {
		easy(o)
		o.Stratum.Limits.GuessTime = -1 // not what is tried
		o.Authorize = func(user, password string) error {
			if user != "w" || password != "x" {
				return errors.New("no")
			}
			return nil
		}
	})
	dial := b.serve(t)
	b.Publish(b.work(true))
	m := dial()
	m.send(`{"id":1,"method":"mining.subscribe","params":[]}` + "\n")
	for i, c := range []struct{ user, password, reply string }{{"w", "y", "[24,"}, {"v", "x", "[24,"}, {"w", "x", "true"}} {
		m.send(fmt.Sprintf(`{"id":"a%d","method":"mining.authorize","params":[%q,%q]}`+"\n", i, c.user, c.password))
		if reply := m.until(fmt.Sprintf(`"a%d"`, i)); !strings.Contains(reply, c.reply) {
			t.Errorf("%s, %s: %s", c.user, c.password, reply)
		}
	}
	if reply := m.submitted(m.until("mining.notify"), 1); !strings.Contains(reply, "true") {
		t.Errorf("share: %s", reply)
	}
	if n := len(b.o.Accounts.Ranking()); n != 1 {
		t.Errorf("%d accounts", n)
	}
}

// listed is an origin that knows its transactions.
type listed struct{ given }

func (listed) Transactions(most int) ([][]byte, bool) { return [][]byte{{1, 2}, {3}}, most > 1000 }

// TestTransactions: a node's are known, a pool's are not, and unknown jobs have none.
func TestTransactions(t *testing.T) {
	b := newBench(t, easy)
	w := b.work(true)
	w.Origin = listed{w.Origin.(given)}
	b.Publish(w)
	id := b.o.Jobs.Latest().Key(3).ID()
	if txs, err := b.Transactions(nil, id); err != nil || len(txs) != 2 || string(txs[0]) != "\x01\x02" {
		t.Errorf("%x, %v", txs, err)
	}
	b.Publish(b.work(false))
	for _, id := range []string{b.o.Jobs.Latest().Key(0).ID(), "zzzz", ""} {
		if txs, err := b.Transactions(nil, id); err == nil {
			t.Errorf("job %q has transactions: %x", id, txs)
		}
	}
}
