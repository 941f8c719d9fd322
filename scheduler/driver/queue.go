package driver

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/mesos/mesos-go/api/v1/lib/scheduler"
)

// class orders calls: those of a lower class go first, within one they keep their
// order. What others wait for comes first: agents hold back further updates until one
// is acknowledged, and offers run out. A KILL never overtakes the ACCEPT that launches
// its task, nor a RECONCILE either of them.
type class int

const (
	first  class = iota // ACKNOWLEDGE, ACCEPT, and all that is about offers
	second              // KILL, SHUTDOWN, RECONCILE
	last                // MESSAGE: best effort in Mesos, too
	classes
)

func classOf(t scheduler.Call_Type) class {
	switch t {
	case scheduler.Call_KILL, scheduler.Call_SHUTDOWN, scheduler.Call_RECONCILE:
		return second
	case scheduler.Call_MESSAGE, scheduler.Call_REQUEST:
		return last
	}
	return first
}

// free says that a call may be sent whatever is not stored yet: it says nothing about
// tasks. So offers go back though a disk is full.
func free(t scheduler.Call_Type) bool {
	switch t {
	case scheduler.Call_DECLINE, scheduler.Call_REVIVE, scheduler.Call_SUPPRESS,
		scheduler.Call_ACCEPT_INVERSE_OFFERS, scheduler.Call_DECLINE_INVERSE_OFFERS, scheduler.Call_TEARDOWN:
		return true
	}
	return false
}

// sheddable says that a call that is dropped is made again by itself: agents repeat
// updates until they are acknowledged, and the core repeats the rest.
func sheddable(t scheduler.Call_Type) bool {
	switch t {
	case scheduler.Call_ACKNOWLEDGE, scheduler.Call_KILL, scheduler.Call_SHUTDOWN,
		scheduler.Call_RECONCILE, scheduler.Call_MESSAGE, scheduler.Call_REQUEST:
		return true
	}
	return false
}

const (
	// mostWaiting is how many calls may wait; what is sheddable is dropped then.
	mostWaiting = 100_000
	// mostWaitingBytes bounds the data of MESSAGE calls that wait.
	mostWaitingBytes = 64 << 20
	// mostDeclined is how many offers one DECLINE takes back.
	mostDeclined = 1000
)

// entry is a call that waits or is on its way.
type entry struct {
	*scheduler.Call
	number uint64 // in the order in which they were made
	after  uint64 // number of what has to be stored first
	key    string // of a call that need not wait twice; "": there is none
	tries  int    // that failed
}

// queue holds the calls of one subscription that are not sent yet. It is bounded, and
// what waits already is not queued again: as long as a master takes no calls, the
// repetitions of one KILL are one KILL.
type queue struct {
	wake chan struct{} // has room for one: there may be something to send

	mu      sync.Mutex
	ready   [classes][]*entry
	held    []*entry // until something is stored; in their order
	keys    map[string]bool
	decline *entry // that waits and takes further offers; nil: none
	filter  float64
	size    int // entries of ready and held
	bytes   int // data of MESSAGE calls
	number  uint64
	durable uint64
	dropped uint64
	open    int // entries that are on their way
	closed  bool
	idle    *sync.Cond // size and open changed
}

func newQueue() *queue {
	q := &queue{wake: make(chan struct{}, 1), keys: make(map[string]bool)}
	q.idle = sync.NewCond(&q.mu)
	return q
}

// add queues calls that may be sent when what has the number after is stored.
func (q *queue) add(calls []*scheduler.Call, after uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	for _, c := range calls {
		q.addOne(c, after)
	}
	q.signal()
}

func (q *queue) addOne(c *scheduler.Call, after uint64) {
	switch c.Type {
	case scheduler.Call_DECLINE:
		if q.join(c.Decline) {
			return
		}
	case scheduler.Call_REVIVE, scheduler.Call_SUPPRESS:
		q.decline = nil // what is declined after a REVIVE must not come before it
	}
	e := &entry{Call: c, key: key(c)}
	if e.key != "" && q.keys[e.key] {
		return
	}
	if c.Type == scheduler.Call_SHUTDOWN && q.keys[killKey(c.GetShutdown().GetExecutorID().Value)] {
		return // it is for a KILL that had no effect, and that one is not even sent (a task's executor has its id)
	}
	n := len(c.GetMessage().GetData())
	if sheddable(c.Type) && (q.size >= mostWaiting || q.bytes+n > mostWaitingBytes) {
		q.dropped++
		return
	}
	q.number++
	e.number = q.number
	if !free(c.Type) {
		e.after = after
	}
	if c.Type == scheduler.Call_DECLINE && c.Decline != nil {
		// Offers will be added to it: it must not be the caller's.
		own, decline := *c, *c.Decline
		decline.OfferIDs = slices.Clone(decline.OfferIDs)
		own.Decline = &decline
		e.Call = &own
		q.decline, q.filter = e, decline.GetFilters().GetRefuseSeconds()
	}
	q.put(e)
}

// join adds the offers of a DECLINE to one that waits already.
func (q *queue) join(c *scheduler.Call_Decline) bool {
	if q.decline == nil || c == nil || q.filter != c.GetFilters().GetRefuseSeconds() ||
		len(q.decline.Decline.OfferIDs)+len(c.OfferIDs) > mostDeclined {
		return false
	}
	d := q.decline.Decline
	d.OfferIDs = append(d.OfferIDs, c.OfferIDs...)
	return true
}

// key names what a call asks for, if asking twice is of no use.
func key(c *scheduler.Call) string {
	switch c.Type {
	case scheduler.Call_ACKNOWLEDGE:
		return "ack " + string(c.GetAcknowledge().GetUUID()) + c.GetAcknowledge().GetTaskID().Value
	case scheduler.Call_KILL:
		return killKey(c.GetKill().GetTaskID().Value)
	case scheduler.Call_SHUTDOWN:
		return "shutdown " + c.GetShutdown().GetExecutorID().Value
	case scheduler.Call_RECONCILE:
		if len(c.GetReconcile().GetTasks()) == 0 {
			return "reconcile"
		}
	}
	return ""
}

func killKey(task string) string { return "kill " + task }

// put enters an entry where it belongs: by its number, for it may have been on its
// way already.
func (q *queue) put(e *entry) {
	if e.key != "" {
		q.keys[e.key] = true
	}
	q.size++
	q.bytes += len(e.GetMessage().GetData())
	if e.after <= q.durable {
		insert(&q.ready[classOf(e.Type)], e)
	} else {
		insert(&q.held, e)
	}
}

func insert(list *[]*entry, e *entry) {
	i, _ := slices.BinarySearchFunc(*list, e.number, func(o *entry, n uint64) int { return cmp.Compare(o.number, n) })
	*list = slices.Insert(*list, i, e)
}

// stored lets go of what waited for it.
func (q *queue) stored(n uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n <= q.durable {
		return
	}
	q.durable = n
	still := q.held[:0]
	for _, e := range q.held {
		if e.after <= n {
			insert(&q.ready[classOf(e.Type)], e)
		} else {
			still = append(still, e)
		}
	}
	clear(q.held[len(still):])
	q.held = still
	q.signal()
}

// take returns the next call to send; nil: there is none.
func (q *queue) take() *entry {
	q.mu.Lock()
	defer q.mu.Unlock()
	for c := range q.ready {
		list := q.ready[c]
		if len(list) == 0 {
			continue
		}
		e := list[0]
		list[0] = nil
		q.ready[c] = list[1:]
		if e.key != "" {
			delete(q.keys, e.key)
		}
		if e == q.decline {
			q.decline = nil
		}
		q.size--
		q.open++
		q.bytes -= len(e.GetMessage().GetData())
		return e
	}
	return nil
}

// done says that a call that was taken is answered, or given up.
func (q *queue) done(*entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open--
	q.idle.Broadcast()
}

// again puts back a call that was taken.
func (q *queue) again(e *entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.open--
	if q.closed || e.key != "" && q.keys[e.key] {
		q.idle.Broadcast()
		return
	}
	q.put(e)
	q.signal()
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// sendable is how many calls may be sent now.
func (q *queue) sendable() (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, list := range q.ready {
		n += len(list)
	}
	return n
}

// len is how many calls wait.
func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.size
}

// clear drops what waits, for it does not matter any more.
func (q *queue) clear() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.held, q.ready, q.decline = nil, [classes][]*entry{}, nil
	q.size, q.bytes = 0, 0
	clear(q.keys)
}

// close ends the queue: nothing comes out of it any more.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed, q.held, q.ready = true, nil, [classes][]*entry{}
	q.idle.Broadcast()
}

// flush waits until every call is answered or given up.
func (q *queue) flush(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		q.mu.Lock()
		q.idle.Broadcast()
		q.mu.Unlock()
	})
	defer stop()
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.size+q.open > 0 {
		if q.closed {
			return errSubscriptionLost
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		q.idle.Wait()
	}
	return nil
}
