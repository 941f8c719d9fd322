// Package accounts counts shares for each worker: by outcome and reason, weighted
// with difficulty, with hash rates over one minute, five minutes and an hour. The
// counts outlive a restart: Save writes them, Load reads them.
package accounts

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"net/netip"
	"os"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"lode/disk"
)

// Outcome is what became of a share.
type Outcome int

// Outcomes.
const (
	Accepted Outcome = iota
	Stale
	Duplicate
	LowDifficulty
	Malformed // wrong extranonce length, version bits, time
	outcomes
)

var names = [outcomes]string{"accepted", "stale", "duplicate", "low_difficulty", "malformed"}

func (o Outcome) String() string { return names[o] }

// Outcomes lists all.
func Outcomes() []Outcome {
	return []Outcome{Accepted, Stale, Duplicate, LowDifficulty, Malformed}
}

// maxWorkers bounds the memory that names of strangers can take. Beyond it the least of
// some (sampled of them) gives way to a worker that has done as much: names that never
// had a share accepted take nobody's account away.
const (
	maxWorkers = 20_000
	sampled    = 32
	// forgetAfter is how long a worker without shares is kept.
	forgetAfter = 7 * 24 * time.Hour
)

// hashesPerDifficulty is the mean number of hashes for a share of difficulty 1.
const hashesPerDifficulty = 0x1p48 / 0xffff

// Tally is a number of shares and the sum of their difficulties (pdiff).
type Tally struct {
	Shares     uint64  `json:"shares"`     // that many
	Difficulty float64 `json:"difficulty"` // pdiff, their sum
}

func (t *Tally) add(difficulty float64) {
	t.Shares++
	t.Difficulty += difficulty
}

// Report is a snapshot of a worker, or of all.
type Report struct {
	Worker         string           `json:"worker,omitempty"`         // its name; of all: ""
	Tallies        map[string]Tally `json:"shares"`                   // by outcome
	Hashrate1m     float64          `json:"hashrate_1m"`              // H/s, from accepted shares of a minute
	Hashrate5m     float64          `json:"hashrate_5m"`              // H/s, of five minutes
	Hashrate1h     float64          `json:"hashrate_1h"`              // H/s, of an hour
	BestShare      float64          `json:"best_share"`               // pdiff that an accepted share has reached
	Blocks         uint64           `json:"blocks"`                   // found
	LastShare      time.Time        `json:"last_share,omitzero"`      // when it came
	LastDifficulty float64          `json:"last_difficulty"`          // pdiff, set for the worker most lately
	Connections    int              `json:"connections"`              // that are logged in with the name
	ConnectedSince time.Time        `json:"connected_since,omitzero"` // since when there has been one; zero: there is none
}

// Sums are the tallies by what became of the shares: for their makers all refusals but
// that of a late share are alike.
func (r *Report) Sums() (accepted, rejected, stale Tally) {
	for name, t := range r.Tallies {
		switch name {
		case names[Accepted]:
			accepted = t
		case names[Stale]:
			stale = t
		default:
			rejected.Shares += t.Shares
			rejected.Difficulty += t.Difficulty
		}
	}
	return accepted, rejected, stale
}

// Book holds all accounts.
type Book struct {
	now func() time.Time

	mu      sync.Mutex // guards workers; a Worker has its own lock
	workers map[string]*Worker
	total   *Worker
}

// New makes an empty book; now is its clock.
func New(now func() time.Time) *Book {
	b := &Book{now: now, workers: make(map[string]*Worker)}
	b.total = &Worker{book: b}
	return b
}

// Worker is the account of one worker.
type Worker struct {
	book   *Book
	name   string
	listed atomic.Bool // it is in the book; changed under Book.mu
	// other is the account of the same name that was opened after this one had lost its
	// place in the book: it stands for both. nil: none.
	other atomic.Pointer[Worker]

	mu             sync.Mutex // guards the rest
	tallies        [outcomes]Tally
	rates          [3]decaying
	best           float64
	blocks         uint64
	last           time.Time
	lastDifficulty float64
	start          start
	connections    int
	since          time.Time
}

// Device is what is known of a worker's device: where it is, and of what kind it says that it
// is. Many have one name, all of somebody who mines alone for example.
type Device struct {
	Address netip.Addr // invalid: not known
	Kind    string     // "": not known
}

// start is what the worker's next connection begins with, and what it goes by: the last
// accepted share from a device. Others that use the worker's name do not change it, as long
// as there are shares from that.
type start struct {
	difficulty float64
	from       Device
	at         time.Time
}

// startMemory is for how long after its last share a start is the first device's.
const startMemory = time.Hour

// isFor reports whether the start is that of a device.
func (s *start) isFor(from Device) bool { return s.from == from || !s.from.Address.IsValid() }

var spans = [3]time.Duration{time.Minute, 5 * time.Minute, time.Hour}

// decaying is an average over about a span, corrected for a short history.
type decaying struct {
	rate float64 // difficulty per second
	at   time.Time
	from time.Time
}

func (d *decaying) add(now time.Time, span time.Duration, difficulty float64) {
	if d.from.IsZero() {
		d.from, d.at = now, now
	}
	d.decay(now, span)
	d.rate += difficulty / span.Seconds()
}

// decay forgets what the time since the last call takes. Steps of less than a
// thousandth of the span wait for the next one: shares come faster than that.
func (d *decaying) decay(now time.Time, span time.Duration) {
	if passed := now.Sub(d.at); passed > span/1000 {
		d.rate *= math.Exp(-passed.Seconds() / span.Seconds())
		d.at = now
	}
}

// value is the rate in difficulty per second. A history shorter than the span is
// taken for what it is, from a tenth of the span on.
func (d *decaying) value(now time.Time, span time.Duration) float64 {
	if d.from.IsZero() {
		return 0
	}
	age := max(now.Sub(d.from), span/10).Seconds() / span.Seconds()
	return d.rate * math.Exp(-max(now.Sub(d.at), 0).Seconds()/span.Seconds()) / (1 - math.Exp(-age))
}

// Worker finds or opens an account.
func (b *Book) Worker(name string) *Worker {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := b.workers[name]
	if w == nil {
		w = &Worker{book: b, name: name}
		b.list(w)
	}
	return w
}

// list puts an account into the book, if there is room for it or something less to take
// out. The caller holds b.mu.
func (b *Book) list(w *Worker) {
	if len(b.workers) >= maxWorkers && !b.makeRoom(w.done()) {
		return
	}
	b.workers[w.name] = w
	w.listed.Store(true)
}

// makeRoom takes out an account that has not done more.
func (b *Book) makeRoom(done float64) bool {
	var least *Worker
	looked, leastDone := 0, 0.0
	for _, w := range b.workers { // in random order
		if d := w.done(); least == nil || d < leastDone {
			least, leastDone = w, d
		}
		if looked++; looked == sampled {
			break
		}
	}
	if leastDone > done {
		return false
	}
	b.remove(least)
	return true
}

func (b *Book) remove(w *Worker) {
	delete(b.workers, w.name)
	w.listed.Store(false)
}

// relist gives an account that lost its place in the book another chance, now that it
// has done more.
func (b *Book) relist(w *Worker) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if other := b.workers[w.name]; other == nil {
		b.list(w)
	} else if other != w {
		w.mu.Lock()
		connections := w.connections
		w.connections = 0
		w.mu.Unlock()
		other.mu.Lock()
		other.connections += connections
		other.mu.Unlock()
		w.other.Store(other)
	}
}

// done is the accepted work of the account.
func (w *Worker) done() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tallies[Accepted].Difficulty
}

// self is the account that stands for this one.
func (w *Worker) self() *Worker {
	if other := w.other.Load(); other != nil {
		return other
	}
	return w
}

// Share counts a share that came in now: difficulty is what it weighs, reached
// what its hash reached (0: unknown), from its miner.
func (w *Worker) Share(now time.Time, o Outcome, difficulty, reached float64, from Device) {
	w = w.self()
	w.share(now, o, difficulty, reached, from)
	w.book.total.share(now, o, difficulty, reached, from)
	if o == Accepted && !w.listed.Load() {
		w.book.relist(w)
	}
}

func (w *Worker) share(now time.Time, o Outcome, difficulty, reached float64, from Device) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tallies[o].add(difficulty)
	if o != Accepted {
		return
	}
	w.last, w.lastDifficulty = now, difficulty
	if w.start.isFor(from) || now.Sub(w.start.at) >= startMemory {
		w.start = start{difficulty, from, now}
	}
	w.best = max(w.best, reached)
	for i := range w.rates {
		w.rates[i].add(now, spans[i], difficulty)
	}
}

// Block counts a found block.
func (w *Worker) Block() {
	for _, a := range []*Worker{w.self(), w.book.total} {
		a.mu.Lock()
		a.blocks++
		a.mu.Unlock()
	}
}

// Connected and Disconnected count the worker's connections.
func (w *Worker) Connected() {
	for _, a := range []*Worker{w.self(), w.book.total} {
		a.mu.Lock()
		if a.connections++; a.connections == 1 {
			a.since = a.book.now()
		}
		a.mu.Unlock()
	}
}

// Disconnected is the end of one.
func (w *Worker) Disconnected() {
	for _, a := range []*Worker{w.self(), w.book.total} {
		a.mu.Lock()
		if a.connections--; a.connections == 0 {
			a.since = time.Time{}
		}
		a.mu.Unlock()
	}
}

// StartDifficulty is that of the worker's last accepted share from a device, a good start for
// its next connection; 0: unknown.
func (w *Worker) StartDifficulty(from Device) float64 {
	w = w.self()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.start.isFor(from) {
		return 0
	}
	return w.start.difficulty
}

// Name is the worker's.
func (w *Worker) Name() string { return w.name }

// Report is a snapshot of the worker.
func (w *Worker) Report() Report { return w.report(w.book.now()) }

func (w *Worker) report(now time.Time) Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := Report{
		Worker: w.name, Tallies: make(map[string]Tally, outcomes), BestShare: w.best, Blocks: w.blocks,
		LastShare: w.last, LastDifficulty: w.lastDifficulty, Connections: w.connections, ConnectedSince: w.since,
	}
	for o, t := range w.tallies {
		r.Tallies[names[o]] = t
	}
	for i, rate := range []*float64{&r.Hashrate1m, &r.Hashrate5m, &r.Hashrate1h} {
		*rate = w.rates[i].value(now, spans[i]) * hashesPerDifficulty
	}
	return r
}

// Total reports all workers together.
func (b *Book) Total() Report { return b.total.report(b.now()) }

// Ranking is all workers, the fastest first.
func (b *Book) Ranking() []*Worker {
	now := b.now()
	b.mu.Lock()
	workers := make([]*Worker, 0, len(b.workers))
	for _, w := range b.workers {
		workers = append(workers, w)
	}
	b.mu.Unlock()
	type ranked struct {
		*Worker
		rate float64
	}
	order := make([]ranked, len(workers))
	for i, w := range workers {
		w.mu.Lock()
		order[i] = ranked{w, w.rates[1].value(now, spans[1])}
		w.mu.Unlock()
	}
	slices.SortFunc(order, func(a, b ranked) int {
		return cmp.Or(cmp.Compare(b.rate, a.rate), strings.Compare(a.name, b.name))
	})
	for i := range order {
		workers[i] = order[i].Worker
	}
	return workers
}

// saved is a worker on disk. Rates begin anew after a restart, except for the one
// over an hour.
type saved struct {
	Name           string           `json:"name"`
	Tallies        map[string]Tally `json:"shares"`
	Best           float64          `json:"best_share"`
	Blocks         uint64           `json:"blocks"`
	Last           time.Time        `json:"last_share"`
	LastDifficulty float64          `json:"last_difficulty"`
	Start          float64          `json:"start_difficulty,omitempty"`
	StartFrom      netip.Addr       `json:"start_address,omitzero"`
	StartKind      string           `json:"start_kind,omitempty"`
	Rate1h         float64          `json:"rate_1h"` // difficulty per second at At
	From           time.Time        `json:"rate_1h_from"`
	At             time.Time        `json:"rate_1h_at"`
}

type savedBook struct {
	Version int     `json:"version"`
	Total   saved   `json:"total"`
	Workers []saved `json:"workers"`
}

func (w *Worker) save() saved {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := saved{
		Name: w.name, Tallies: make(map[string]Tally, outcomes), Best: w.best, Blocks: w.blocks, Last: w.last,
		LastDifficulty: w.lastDifficulty, Start: w.start.difficulty, StartFrom: w.start.from.Address, StartKind: w.start.from.Kind, Rate1h: w.rates[2].rate, From: w.rates[2].from, At: w.rates[2].at,
	}
	for o, t := range w.tallies {
		s.Tallies[names[o]] = t
	}
	return s
}

// impossible says whether there are numbers that cannot have been counted. Great ones become
// infinite, which no file and no reply can hold.
func impossible(s saved) bool {
	const most = 1e100
	numbers := []float64{s.Best, s.LastDifficulty, s.Start, s.Rate1h}
	for _, t := range s.Tallies {
		numbers = append(numbers, t.Difficulty)
	}
	return slices.ContainsFunc(numbers, func(n float64) bool { return n < 0 || n > most })
}

// load takes over what was saved. A time that is still to come was written by a clock that
// has been set since: a rate that began then would not decay before.
func (w *Worker) load(s saved, now time.Time) {
	w.best, w.blocks, w.last, w.lastDifficulty = s.Best, s.Blocks, s.Last, s.LastDifficulty
	if w.last.After(now) {
		w.last = now
	}
	if w.start = (start{s.Start, Device{s.StartFrom, s.StartKind}, w.last}); s.Start == 0 {
		w.start.difficulty = s.LastDifficulty // of an older version
	}
	for o := range w.tallies {
		w.tallies[o] = s.Tallies[names[o]]
	}
	if !s.At.After(now) && !s.From.After(now) {
		w.rates[2] = decaying{rate: s.Rate1h, at: s.At, from: s.From}
	}
}

// Save writes the book to path, replacing it whole. Of workers that never had a share
// accepted there is nothing to remember: those may be as many names as a stranger made up.
// No worker is held up meanwhile.
func (b *Book) Save(path string) error {
	b.mu.Lock()
	workers := slices.Collect(maps.Values(b.workers))
	b.mu.Unlock()
	book := savedBook{Version: 1, Total: b.total.save()}
	oldest := b.now().Add(-forgetAfter)
	for _, w := range workers {
		switch last, active := w.state(); {
		case last.Before(oldest) && !active:
			b.mu.Lock()
			if b.workers[w.name] == w {
				b.remove(w) // it is in the total all the same
			}
			b.mu.Unlock()
		case !last.IsZero():
			book.Workers = append(book.Workers, w.save())
		}
	}
	sort.Slice(book.Workers, func(i, j int) bool { return book.Workers[i].Name < book.Workers[j].Name })
	data, err := json.MarshalIndent(book, "", "\t")
	if err == nil {
		err = disk.Replace(disk.OS, path, data)
	}
	if err != nil {
		return fmt.Errorf("save accounts: %w", err)
	}
	return nil
}

// state is when the worker had its last accepted share, and whether it is connected.
func (w *Worker) state() (last time.Time, active bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last, w.connections > 0
}

// Load reads what Save wrote. A file that is not there is an empty book.
func (b *Book) Load(path string) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var book savedBook
	if err == nil {
		err = json.Unmarshal(data, &book)
	}
	switch {
	case err != nil:
	case book.Version != 1:
		err = fmt.Errorf("version %d, want 1", book.Version)
	case slices.ContainsFunc(append(book.Workers, book.Total), impossible):
		err = errors.New("it holds numbers that cannot have been counted")
	}
	if err != nil {
		return fmt.Errorf("load accounts from %s: %w", path, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	b.total.load(book.Total, now)
	for _, s := range book.Workers {
		if len(b.workers) >= maxWorkers {
			break
		}
		w := &Worker{book: b, name: s.Name}
		w.load(s, now)
		w.listed.Store(true)
		b.workers[s.Name] = w
	}
	return nil
}
