package pool_test

import (
	"encoding/hex"
	"strconv"
	"strings"
	"testing"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/pool"
	"lode/stratum"
)

// seenBy is the hash of a share as a pool works it out from its own job and what it was sent.
func seenBy(t *testing.T, p *fakePool, job, share []any) chainhash.Hash {
	t.Helper()
	text := func(v any) string {
		s, ok := v.(string)
		if !ok {
			t.Fatalf("%v is no text", v)
		}
		return s
	}
	bytes := func(v any) []byte {
		b, err := hex.DecodeString(text(v))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	number := func(v any) uint32 {
		n, err := strconv.ParseUint(text(v), 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		return uint32(n)
	}
	j := stratum.Job{Coinbase1: bytes(job[2]), Coinbase2: bytes(job[3]), Bits: number(job[6])}
	for i, b := range bytes(job[1]) {
		j.PrevBlock[i^3] = b
	}
	version := number(job[5])
	if len(share) > 5 {
		mask, bits := number(p.mask), number(share[5])
		if bits&^mask != 0 {
			t.Errorf("version bits %08x, the mask is %08x", bits, mask)
		}
		version = version&^mask | bits
	}
	e2 := bytes(share[2])
	if len(e2) != p.e2size {
		t.Errorf("extranonce2 of %d bytes, want %d", len(e2), p.e2size)
	}
	header, _ := j.HeaderBytes(nil, bytes(p.e1), e2, version, number(share[3]), number(share[4]))
	return chainhash.DoubleHashH(header[:])
}

// TestPoolSeesTheSameHash: whatever a pool gives, the share that reaches it is the one that
// the miner found.
func TestPoolSeesTheSameHash(t *testing.T) {
	version := func(v string) func(job []any) { return func(job []any) { job[5] = v } }
	for name, c := range map[string]struct {
		pool  func(p *fakePool)
		job   func(job []any)
		id    string // of the job; "": 1
		whole bool
	}{
		"as usual":                      {},
		"no extranonce1":                {pool: func(p *fakePool) { p.e1 = "" }},
		"extranonce1 of 32 bytes":       {pool: func(p *fakePool) { p.e1 = strings.Repeat("ab", 32) }},
		"extranonce2 of 2 bytes":        {pool: func(p *fakePool) { p.e2size = 2 }},
		"extranonce2 of 16 bytes":       {pool: func(p *fakePool) { p.e2size = 16 }},
		"extranonce2 of 1 byte, whole":  {pool: func(p *fakePool) { p.e2size = 1 }, whole: true},
		"no version rolling":            {pool: func(p *fakePool) { p.mask = "" }},
		"one bit":                       {pool: func(p *fakePool) { p.mask = "00002000" }},
		"all bits":                      {pool: func(p *fakePool) { p.mask = "ffffffff" }},
		"some of the mask are set":      {job: version("30400000")},
		"all of the mask are set":       {job: version("3fffe000")},
		"version 1":                     {job: version("00000001")},
		"a long id":                     {id: strings.Repeat("x", 64)},
		"an id of all kinds of letters": {id: "a b\"\\é中\t/"},
		"its own words": {pool: func(p *fakePool) {
			p.login = `"result":"welcome","error":{"code":0,"message":"ok"}`
			p.answer = `"method":"mining.submit","params":[],"result":"share accepted","error":"none"`
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			up, node := startFakePool(t), startFakeNode(t)
			node.bits = "1f00ffff" // shares are no blocks
			if c.pool != nil {
				c.pool(up)
			}
			id := c.id
			if id == "" {
				id = "1"
			}
			job := poolJob(id, node, c.job)
			up.notify(job)
			p := startProxy(t, easy(pool.Config{HTTPListen: "127.0.0.1:0", Upstreams: []pool.Upstream{{URL: up.url(), User: "me"}}, WholeExtranonce: c.whole}))
			m := p.miner("rig.1")
			j, err := m.job(anyJob)
			if err != nil {
				t.Fatal(err)
			}
			free := m.mask & j.mask
			s := m.solve(j, free&-free)
			if err := m.submit(s); err != nil {
				t.Fatal(err)
			}
			p.eventually("the pool's answer is counted", func() bool {
				return strings.Contains(get(t, p, "/metrics"), `answer="accepted",upstream="1",url="`+up.url()+`"} 1`)
			})
			up.mu.Lock()
			defer up.mu.Unlock()
			if len(up.submits) != 1 || up.submits[0][1] != id {
				t.Fatalf("the pool was sent %q", up.submits)
			}
			if hash := seenBy(t, up, job, up.submits[0]); hash != s.hash {
				t.Errorf("the miner found %v, the pool sees %v in %q", s.hash, hash, up.submits[0])
			}
		})
	}
}
