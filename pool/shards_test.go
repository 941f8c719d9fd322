package pool_test

import (
	"bytes"
	"fmt"
	"testing"

	"lode/pool"
)

// Proxies of one node never search the same: what their miners may set in a coinbase
// begins with the shard, at the same place in all of them. And should two have one
// shard, as one that was given up and comes back may, their coinbases differ all the
// same.
func TestShardsDoNotOverlap(t *testing.T) {
	node := startFakeNode(t)
	type space struct {
		who, before, extranonce1, after string
	}
	var spaces []space
	for i, shard := range []uint8{0, 1, 2, 7, 255, 7} {
		p := startProxy(t, easy(pool.Config{Shard: shard, Upstreams: []pool.Upstream{{URL: "node:" + node.URL}}}))
		for n := range 3 {
			m := p.miner(fmt.Sprintf("rig%d.%d", i, n))
			j, err := m.job(anyJob)
			if err != nil {
				t.Fatal(err)
			}
			if len(j.e1) != 4 || j.e2size != 8 || j.e1[0] != shard {
				t.Errorf("shard %d: extranonce1 %x with %d bytes of extranonce2", shard, j.e1, j.e2size)
			}
			if !bytes.Contains(j.Coinbase2, append([]byte{8}, shard)) {
				t.Errorf("shard %d: it is not in the coinbase %x", shard, j.Coinbase2)
			}
			if err := m.submit(m.solve(j, 0)); err != nil {
				t.Error(err)
			}
			spaces = append(spaces, space{fmt.Sprintf("miner %d of proxy %d, shard %d", n, i, shard), string(j.Coinbase1), string(j.e1), string(j.Coinbase2)})
		}
	}
	for i, a := range spaces {
		for _, b := range spaces[:i] {
			if len(a.before) != len(b.before) {
				t.Fatalf("the coinbases of %s and %s begin with %d and %d bytes", a.who, b.who, len(a.before), len(b.before))
			}
			if a.before == b.before && a.extranonce1 == b.extranonce1 && a.after == b.after {
				t.Errorf("%s and %s search the same", a.who, b.who)
			}
		}
	}
}
