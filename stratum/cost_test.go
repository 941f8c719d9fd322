package stratum

import (
	"strings"
	"testing"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
)

// messages are what a miner that has logged in may send as often as it likes, one of each
// kind, the dearest that is known.
var messages = map[string]string{
	"submit":         string(shareLine),
	"submit refused": `{"id":4,"method":"mining.submit","params":["you","4f1a","0102030405060708","6553f100","10015793"]}`,
	"subscribe":      `{"id":1,"method":"mining.subscribe"}`,
	"authorize":      `{"id":2,"method":"mining.authorize","params":["me"]}`,
	"authorize bad":  `{"id":2,"method":"mining.authorize","params":[""]}`,
	"configure":      `{"id":3,"method":"mining.configure","params":[["version-rolling","minimum-difficulty","info","x"],{"minimum-difficulty.value":"x"}]}`,
	"suggest":        `{"id":5,"method":"mining.suggest_difficulty","params":[7]}`,
	"transactions":   `{"id":6,"method":"mining.get_transactions","params":["4f1a"]}`,
	"ping":           `{"id":7,"method":"mining.ping"}`,
	"xnsub":          `{"id":8,"method":"mining.extranonce.subscribe"}`,
	"unknown":        `{"id":9,"method":"x"}`,
	"no method":      `{"id":0}`,
	"long id":        `{"id":"` + strings.Repeat("i", 1000) + `","method":"x"}`,
	"nested":         `{"id":1,"method":"x","params":` + strings.Repeat("[", 30) + strings.Repeat("]", 30) + `}`,
}

// strangerOf is a connection that has logged in, whose repeated subscribe brings about a
// job as on a chain with full blocks.
func strangerOf(t testing.TB) *Conn {
	job := simnetJob()
	job.Coinbase2 = make([]byte, 200)
	job.MerkleBranch = append(job.MerkleBranch, make([]chainhash.Hash, 12)...)
	encoded := EncodeJob(job)
	return loggedIn(t, &testPool{authorized: func(c *Conn) { c.SetDifficulty(1); c.Notify(encoded) }}, ServerOptions{})
}

// For every message its tokens bound what can be had for them: bytes sent, and bytes read.
func TestTokensBoundWhatIsSent(t *testing.T) {
	for name, line := range messages {
		c := strangerOf(t)
		c.buffer.b = c.buffer.b[:0]
		tokens, queued := c.tokens, c.queued
		const n = 100
		for range n {
			c.tokens-- // as throttle does
			submitOnce(t, c, []byte(line))
		}
		spent, out := (tokens-c.tokens)/n, float64(c.queued-queued)/n
		if spent < 1 || out > bytesPerToken*spent || float64(len(line)) > 2*bytesPerToken*spent {
			t.Errorf("%s: %.1f tokens for %d bytes in and %.0f out", name, spent, len(line), out)
		}
	}
}

// BenchmarkMessages tells what each message costs, without the socket.
func BenchmarkMessages(b *testing.B) {
	for name, line := range messages {
		b.Run(name, func(b *testing.B) {
			c := strangerOf(b)
			queued, raw := c.queued, []byte(line)
			b.ReportAllocs()
			for b.Loop() {
				submitOnce(b, c, raw)
			}
			b.ReportMetric(float64(c.queued-queued)/float64(b.N)/float64(len(line)), "out/in")
			b.ReportMetric((float64(c.server.opts.MessageBurst)-c.tokens)/float64(b.N)+1, "tokens")
		})
	}
}
