package node

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/btcsuite/btcd/chaincfg/chainhash"
	"golang.org/x/time/rate"

	"lode/internal/sleep"
	"lode/pool/template"
)

// Pace of Watch.
const (
	pollInterval    = 700 * time.Millisecond // of getbestblockhash
	pollTimeout     = 1200 * time.Millisecond
	refreshInterval = 30 * time.Second // of templates on an unchanged tip
	retryMin        = 250 * time.Millisecond
	retryMax        = 8 * time.Second
	longPollPause   = time.Second // after a longpoll that failed
	// A node, or what stands in front of it, may have news all the time: templates are
	// asked for askBurst times at once at most and each askInterval after that; longpolls
	// that answer at once are paced, too.
	askBurst         = 4
	askInterval      = 500 * time.Millisecond
	longPollBurst    = 2
	longPollInterval = 2 * time.Second
	// patience is how many polls in a row may fail before the node counts as lost:
	// a node that connects a block may answer late.
	patience = 2
)

// Events are called by Watch, one at a time.
type Events struct {
	// Template is called for each new template.
	Template func(*template.Template)
	// Lost is called when the node stops giving work, and at each failed attempt to
	// get some again.
	Lost func(error)
}

// Notify says that the node probably has a new block (from -blocknotify, say).
func (n *Node) Notify() {
	select {
	case n.notes <- struct{}{}:
	default: // one that waits is as good as two
	}
}

// Watch delivers templates until ctx ends: a fresh one at once when the tip changes,
// and one each 30 s otherwise.
//
// A tip change is noticed by longpoll, by btcd's websocket or Core's ZMQ, by Notify
// and by polling, whichever is first: each of them can fail without a sign.
func (n *Node) Watch(ctx context.Context, events Events) {
	var helpers sync.WaitGroup
	defer helpers.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	w := &watcher{node: n, events: events, polled: make(chan *template.Template), pollFrom: make(chan string, 1)}
	helpers.Go(func() { w.longPoll(ctx) })
	helpers.Go(func() { n.listen(ctx) })
	w.run(ctx)
}

// pace lets something happen burst times at once, and each interval after that.
func pace(burst int, interval time.Duration) *rate.Limiter {
	return rate.NewLimiter(rate.Every(interval), burst)
}

type watcher struct {
	node     *Node
	events   Events
	last     *template.Template      // last one delivered; nil: none since the node was lost
	polled   chan *template.Template // from longPoll
	pollFrom chan string             // longpoll ids to longPoll
	failures int                     // polls failed in a row
	// toldNoTip: people know why the tip is not asked for.
	toldNoTip bool
}

func (w *watcher) run(ctx context.Context) {
	pause := retryMin
	turn := pace(askBurst, askInterval)
	for turn.Wait(ctx) == nil {
		t, err := w.node.Template(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			w.last = nil
			w.node.Forget()
			w.events.Lost(err)
			w.wait(ctx, pause)
			pause = min(2*pause, retryMax)
			continue
		}
		pause = retryMin
		w.deliver(t)
		w.idle(ctx)
	}
}

// wait pauses after a failure, cut short by a notice.
func (w *watcher) wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-w.node.notes:
	}
}

func (w *watcher) deliver(t *template.Template) {
	repeated := w.last != nil && sameWork(w.last, t)
	w.last, w.failures = t, 0
	if t.LongPollID != "" {
		select { // replace an id that longPoll has not taken yet
		case <-w.pollFrom:
		default:
		}
		w.pollFrom <- t.LongPollID
	}
	if !repeated {
		w.events.Template(t)
	}
}

// sameWork tells whether a template, brought by a second way, says nothing new.
func sameWork(a, b *template.Template) bool {
	return a.PreviousHash == b.PreviousHash && a.WorkID == b.WorkID && a.CoinbaseValue == b.CoinbaseValue && a.Bits == b.Bits &&
		len(a.Transactions) == len(b.Transactions) && b.CurrentTime-a.CurrentTime < uint32(refreshInterval/time.Second)/2
}

// refreshAfter is when a template is replaced on an unchanged tip: well before it expires.
func refreshAfter(t *template.Template) time.Duration {
	if t.Expires > 0 {
		return min(t.Expires/2, refreshInterval)
	}
	return refreshInterval
}

// idle returns when a new template is to be asked for.
func (w *watcher) idle(ctx context.Context) {
	refresh := time.NewTimer(refreshAfter(w.last))
	defer refresh.Stop()
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.node.notes:
			if tip, err := w.tip(ctx); err == nil {
				w.early(ctx, tip)
			}
			return
		case <-refresh.C:
			return
		case t := <-w.polled:
			if t.Height < w.last.Height && t.PreviousHash != w.last.PreviousHash {
				return // older than what another way brought, or a reorganisation: ask
			}
			w.deliver(t)
			refresh.Reset(refreshAfter(t))
		case <-poll.C:
			pollCtx, cancel := context.WithTimeout(ctx, pollTimeout)
			tip, err := w.node.BestBlock(pollCtx)
			cancel()
			switch {
			case err == nil && tip == w.last.PreviousHash:
				w.failures = 0
			case err == nil:
				w.early(ctx, tip)
				return
			case ctx.Err() != nil:
				return
			case errors.Is(err, ErrForbidden), errors.Is(err, ErrNoMethod): // but it answers
				w.failures = 0
				if !w.toldNoTip {
					w.toldNoTip = true
					w.node.log.Warn("the node does not tell its tip: new blocks are found by longpoll and notices alone, or after half a minute", "error", err)
				}
			default:
				if w.failures++; w.failures >= patience {
					// A hanging node would let a request for a template wait long.
					w.last = nil
					w.node.Forget()
					w.events.Lost(err)
					return
				}
			}
		}
	}
}

// tip is the node's, asked for only where early needs it.
func (w *watcher) tip(ctx context.Context) (chainhash.Hash, error) {
	if !w.node.empty {
		return chainhash.Hash{}, errNotWanted
	}
	return w.node.BestBlock(ctx)
}

var errNotWanted = errors.New("not wanted")

// early delivers a template for an empty block on a new tip, where it can be made of
// the tip's header: that is there at once, while the node selects transactions.
func (w *watcher) early(ctx context.Context, tip chainhash.Hash) {
	if !w.node.empty || tip == w.last.PreviousHash {
		return
	}
	id, err := w.node.Identify(ctx)
	if err != nil {
		return
	}
	h, err := w.node.Header(ctx, tip)
	height := h.Height + 1
	if err != nil || h.Confirmations != 1 || h.MedianTime == 0 || h.Bits != w.last.Bits || !id.Network.steadyBits(height) {
		return
	}
	w.events.Template(w.last.Next(tip, height, id.Network.subsidy(height), h.MedianTime, uint32(time.Now().Unix())))
}

// longPoll keeps one longpoll open, never a second one: with Core each of them
// occupies one of few RPC threads until the next block, even when we are gone.
func (w *watcher) longPoll(ctx context.Context) {
	turn := pace(longPollBurst, longPollInterval)
	for {
		var id string
		select {
		case <-ctx.Done():
			return
		case id = <-w.pollFrom:
		}
		for id != "" && turn.Wait(ctx) == nil {
			t, err := w.node.template(ctx, w.node.polls, id)
			if err != nil {
				w.node.log.Debug("longpoll failed", "error", err)
				_ = sleep.For(ctx, longPollPause)
				break // go on from the next template
			}
			select {
			case <-ctx.Done():
				return
			case w.polled <- t:
			}
			select { // the id of the template that run has just delivered
			case id = <-w.pollFrom:
			case <-time.After(longPollPause):
				id = ""
			case <-ctx.Done():
				return
			}
		}
	}
}
