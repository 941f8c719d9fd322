package pool_test

import (
	"fmt"
	"testing"
	"time"

	"lode/pool"
)

// TestRestlessPool: a pool that gives ever new extranonces has miners begin anew with each:
// it is left for the next upstream. Some changes are no reason.
func TestRestlessPool(t *testing.T) {
	node, up := startFakeNode(t), startFakePool(t)
	up.notify(poolJob("0", node, nil))
	p := startProxy(t, easy(pool.Config{Upstreams: []pool.Upstream{{URL: up.url(), User: "me"}, {URL: "node:" + node.URL}}}))
	p.eventually("the pool is mined for", func() bool { return p.Status().Upstream == up.url() })
	moves := 0
	for deadline := time.Now().Add(minerTimeout); p.Status().Upstream == up.url(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it is still mined for after %d other extranonces", moves)
		}
		moves++
		up.mu.Lock()
		up.extranonces = fmt.Sprintf(`{"id":null,"method":"mining.set_extranonce","params":["%08x",%d]}`+"\n", moves, 4+moves%8)
		up.mu.Unlock()
		up.notify(poolJob(fmt.Sprint(moves), node, nil))
	}
	if moves < 10 {
		t.Errorf("it was left after %d", moves)
	}
	p.eventually("the node is mined for", func() bool { return p.Status().Upstream == "node:"+node.URL })
}
