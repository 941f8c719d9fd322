package e2e

import (
	"strings"
	"testing"

	"lode/scheduler/api"
)

// What an operator got wrong is told where operators look: in the status, and once in
// the scheduler's log. Nothing is mined meanwhile, and nothing restarts in a loop.
func TestMistakesAreTold(t *testing.T) {
	const mainnet = "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa" // of the genesis block
	for name, test := range map[string]struct {
		options options
		want    string
	}{
		"address of another network": {options{payout: mainnet}, "is for mainnet, but the node is on simnet"},
		"wrong password of the node": {options{password: "wrong"}, "the node refused user or password"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, test.options)
			status := w.until("the status of the proxy says what is wrong", func(s api.Status) bool {
				proxies := tasks(s, "proxy")
				return len(proxies) == 1 && proxies[0].Proxy != nil && strings.Contains(proxies[0].Proxy.Error, test.want)
			})
			if proxy := tasks(status, "proxy")[0]; proxy.Proxy.Ready || proxy.ID != "proxy-0-1" {
				t.Errorf("proxy %s, ready %t: want the first one, not ready", proxy.ID, proxy.Proxy.Ready)
			}
			eventually(t, "the scheduler's log says what is wrong", func() bool {
				return strings.Contains(w.scheduler.output(), test.want)
			}, w.scheduler.output)
			if height := w.height(); height != 0 {
				t.Errorf("height of the node: got %d, want 0", height)
			}
		})
	}
}
