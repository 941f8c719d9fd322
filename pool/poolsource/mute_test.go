package poolsource

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"

	"lode/pool/jobs"
	"lode/stratum"
)

// farm mines for a source: a share a second.
type farm struct {
	answers
	mu        sync.Mutex
	work      *jobs.Work
	condemned []time.Time
}

func (f *farm) set(w *jobs.Work) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.work = w
}

func (f *farm) Work(w *jobs.Work) { f.set(w) }
func (f *farm) Lost(error)        { f.set(nil) }
func (f *farm) Condemned(error) {
	f.set(nil)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.condemned = append(f.condemned, time.Now())
}

func (f *farm) mine() {
	f.mu.Lock()
	w := f.work
	f.mu.Unlock()
	if w != nil {
		w.Taker.Take(&stratum.Share{Extranonce2: make([]byte, 6)}, 0, []byte{1, 2, 3, 4, 0, 0}, &chainhash.Hash{})
	}
}

// TestMute: a pool that gives work and says nothing to any share is left; one that does so for
// a while, or is not reached, is not.
func TestMute(t *testing.T) {
	for name, c := range map[string]struct {
		answers func(connection, share int) bool
		drops   int // each so manieth connection ends at a share that is not answered; 0: none
		want    bool
	}{
		"mute":                   {func(int, int) bool { return false }, 0, true},
		"mute after some shares": {func(connection, share int) bool { return connection < 2 && share < 20 }, 0, true},
		"mute at every other":    {func(connection, share int) bool { return connection%2 == 0 && share < 5 }, 2, false},
		"mute once":              {func(connection, _ int) bool { return connection > 1 }, 0, false},
		"mute now and then":      {func(_, share int) bool { return share < 20 }, 0, false},
		"restarted all the time": {func(int, int) bool { return false }, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, func(o *Options) { o.Now = time.Now })
				connections := 0
				o := b.options
				o.Dialer = func(context.Context, string, string) (net.Conn, error) {
					connections++
					here, there := net.Pipe()
					go talk(there, connections, c.answers, c.drops)
					return here, nil
				}
				var err error
				if b.client, err = stratum.NewClient(o); err != nil {
					t.Fatal(err)
				}
				ctx, end := context.WithCancel(t.Context())
				defer end()
				f := &farm{}
				go b.Run(ctx, f)
				for range 240 {
					f.mine()
					time.Sleep(time.Second)
				}
				if got := len(f.condemned) > 0; got != c.want {
					t.Errorf("condemned: %v, want %v, after %d connections", got, c.want, connections)
				}
				end()
				synctest.Wait()
			})
		})
	}
}

// talk is a pool.
func talk(c net.Conn, connection int, answers func(connection, share int) bool, drops int) {
	defer c.Close()
	say := func(line string) { _, _ = fmt.Fprintln(c, line) }
	shares := 0
	for lines := bufio.NewScanner(c); lines.Scan(); {
		var request struct {
			ID     int
			Method string
		}
		if json.Unmarshal(lines.Bytes(), &request) != nil {
			return
		}
		switch request.Method {
		case "mining.subscribe":
			say(fmt.Sprintf(`{"id":%d,"result":[[["mining.notify","s1"]],"01020304",8],"error":null}`, request.ID))
		case "mining.authorize":
			say(fmt.Sprintf(`{"id":%d,"result":true,"error":null}`, request.ID))
			say(fmt.Sprintf(`{"id":null,"method":"mining.notify","params":["j","%064x","01","02",[],"20000000","1d00ffff","%08x",true]}`, 7, time.Now().Unix()))
		case "mining.submit":
			shares++
			if answers(connection, shares) {
				say(fmt.Sprintf(`{"id":%d,"result":true,"error":null}`, request.ID))
			} else if drops > 0 && connection%drops == 0 {
				return
			}
		}
	}
}
