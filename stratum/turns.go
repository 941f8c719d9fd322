package stratum

import (
	"container/heap"
	"container/list"
	"math"
	"sync"
	"time"
)

// turns has the TLS handshakes of a server computed one after the other, with rests
// between them, so that all together they take no more than a part of the processors:
// what strangers may ask for as often as they like is to delay no miner's share.
//
// Whose turn is next goes by address. Each has a place in an order, and a handshake moves
// it back: the farther, the more of its handshakes brought no miner, and the fewer miners
// it has. An address that comes anew is at the front. So nobody waits for ever, whoever
// else does; who has handshaken in vain waits behind those that have not; and a farm that
// comes back gets on the faster, the more of it is there.
//
// Its lock may be held when that of the gate is taken.
type turns struct {
	cpus float64                // that handshakes may take; 0 or less: as many as there are
	step func(*visitor) float64 // by which a handshake moves an address back

	mu        sync.Mutex // guards the rest, and turnQueues
	finishing list.List  // *turn of handshakes that had one already: they go first
	exempt    list.List  // *turn of addresses without limits, which come next
	queues    turnQueues // the others, by address
	front     float64    // the farthest place of an address that had a turn
	last      uint64     // number of the last queue that was put into queues
	running   int
	next      time.Time // nobody begins before
	timer     *time.Timer
}

const (
	// slackTime is how much time for handshakes may be made up for that nobody used.
	slackTime = 2 * time.Millisecond
	// mostPerTurn is what a turn counts as at most. The dearest is 5 ms of a processor; one
	// that takes longer by the clock was not given one, and is not to keep out others for
	// that.
	mostPerTurn = 10 * time.Millisecond
)

// turn is one handshake's.
type turn struct {
	wake    func() // called when it has come, with the lock held; it must not wait
	queue   *turnQueue
	list    *list.List
	element *list.Element // in list; nil: it does not wait
	has     bool
}

// turnQueue are the turns of an address that wait.
type turnQueue struct {
	visitor *visitor
	waiting list.List
	place   float64
	number  uint64 // who came first is first, of those in the same place
	index   int    // in turns.queues
}

// turnQueues is a heap: the first has the next turn.
type turnQueues []*turnQueue

func (q turnQueues) Len() int { return len(q) }
func (q turnQueues) Less(i, j int) bool {
	return q[i].place < q[j].place || q[i].place == q[j].place && q[i].number < q[j].number
}

func (q turnQueues) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *turnQueues) Push(x any) {
	x.(*turnQueue).index = len(*q)
	*q = append(*q, x.(*turnQueue))
}

func (q *turnQueues) Pop() any {
	last := len(*q) - 1
	x := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return x
}

// ask has a handshake wait for its first turn; v is its address, nil: one without limits.
func (t *turns) ask(u *turn, v *visitor) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u.list = &t.exempt
	if v != nil {
		u.queue = &v.turns
		u.queue.visitor = v
		u.list = &u.queue.waiting
		if u.list.Len() == 0 {
			t.insert(u.queue)
		}
	}
	u.element = u.list.PushBack(u)
	t.start()
}

// again has a handshake wait for a further turn.
func (t *turns) again(u *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	u.queue, u.list = nil, &t.finishing
	u.element = u.list.PushBack(u)
	t.start()
}

// insert puts an address that has not waited into the order, before those whose turn is
// next, but no farther: what it did not use is gone.
func (t *turns) insert(q *turnQueue) {
	t.last++
	q.number, q.place = t.last, max(q.place, t.front-1)
	heap.Push(&t.queues, q)
}

// give ends a turn that began at a time, or the wait for it.
func (t *turns) give(u *turn, began time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case u.has:
		u.has = false
		t.running--
		t.charge(began, time.Now())
		t.start()
	case u.element != nil:
		t.remove(u)
	}
}

// charge counts a turn, and so sets when the next may begin.
func (t *turns) charge(began, now time.Time) {
	if t.cpus <= 0 {
		return
	}
	took := min(now.Sub(began), mostPerTurn)
	if least := began.Add(-slackTime); t.next.Before(least) {
		t.next = least
	}
	t.next = t.next.Add(time.Duration(float64(took) / t.cpus))
}

// isMine reports whether the turn has come.
func (t *turns) isMine(u *turn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return u.has
}

// remove takes a turn out of where it waits.
func (t *turns) remove(u *turn) {
	u.list.Remove(u.element)
	u.element = nil
	if q := u.queue; q != nil && q.waiting.Len() == 0 {
		heap.Remove(&t.queues, q.index)
	}
}

// start lets those begin whose turn it is.
func (t *turns) start() {
	for t.cpus <= 0 || t.running < int(math.Ceil(t.cpus)) {
		u := t.first()
		if u == nil {
			return
		}
		if rest := time.Until(t.next); rest > 0 && t.cpus > 0 {
			if t.timer == nil {
				t.timer = time.AfterFunc(rest, t.rested)
			}
			return
		}
		if q := u.queue; q != nil {
			t.front = max(t.front, q.place)
			q.place += t.step(q.visitor)
			heap.Fix(&t.queues, q.index)
		}
		t.remove(u)
		u.has = true
		t.running++
		u.wake()
	}
}

func (t *turns) rested() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timer = nil
	t.start()
}

// first is who has the next turn; nil: nobody waits.
func (t *turns) first() *turn {
	for _, l := range []*list.List{&t.finishing, &t.exempt} {
		if l.Len() > 0 {
			return l.Front().Value.(*turn)
		}
	}
	if len(t.queues) > 0 {
		return t.queues[0].waiting.Front().Value.(*turn)
	}
	return nil
}
