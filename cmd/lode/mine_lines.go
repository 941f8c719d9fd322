package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"lode/executor/mining"
	"lode/miner"
	"lode/scheduler/api"
	"lode/web"
)

// mineLines prints what happens to a miner, a line each: for people, or as JSON.
type mineLines struct {
	out   io.Writer
	json  bool
	quiet bool
	began time.Time

	mu     sync.Mutex // guards the rest, and the order of lines
	height int64
	pool   string
	asked  float64 // difficulty of shares
	shares uint64
}

// mineLine is a line of JSON; fields that say nothing about an event are left out.
type mineLine struct {
	Time       time.Time        `json:"time"`
	Event      string           `json:"event"`
	Threads    int              `json:"threads,omitempty"`
	Kernel     string           `json:"kernel,omitempty"`
	Page       string           `json:"page,omitempty"`
	Pool       string           `json:"pool,omitempty"`
	Height     int64            `json:"height,omitempty"`
	Network    float64          `json:"network_difficulty,omitempty"`
	Difficulty float64          `json:"difficulty,omitempty"`
	Verdict    string           `json:"verdict,omitempty"`
	Reached    float64          `json:"reached,omitempty"`
	Block      bool             `json:"block,omitempty"`
	Code       int              `json:"code,omitempty"`
	Reason     string           `json:"reason,omitempty"`
	Took       float64          `json:"seconds,omitempty"`
	Hashrate   *float64         `json:"hashrate,omitempty"`
	Shares     *web.ProxyShares `json:"shares,omitempty"`
	Best       *float64         `json:"best_share,omitempty"`
	Uptime     float64          `json:"uptime,omitempty"`
	Error      string           `json:"error,omitempty"`
}

func sharesOf(s *mining.Status) web.ProxyShares {
	return web.ProxyShares{Accepted: s.Accepted, Rejected: s.Rejected, Stale: s.Stale, Difficulty: s.Accounted}
}

// print prints a line; text is what people get. It is called with mu held.
func (l *mineLines) print(line mineLine, format string, args ...any) {
	now := time.Now()
	if l.json {
		line.Time = now.UTC()
		_ = json.NewEncoder(l.out).Encode(line) // output ends the command when nobody reads it
		return
	}
	fmt.Fprintf(l.out, "%s  %s\n", now.Format(time.TimeOnly), fmt.Sprintf(format, args...))
}

func (l *mineLines) start(s *miner.Stats, page string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	where := ""
	if page != "" {
		where = "; page at " + page
	}
	l.print(mineLine{Event: "start", Threads: s.Threads, Kernel: s.Kernel, Page: page},
		"mining with %s of kernel %s%s", counted(s.Threads, "thread"), s.Kernel, where)
}

// job tells of a new block to search, another pool or another difficulty.
func (l *mineLines) job(j mining.Job) {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := j.Height == l.height && j.Pool == l.pool && j.Difficulty == l.asked
	l.height, l.pool, l.asked = j.Height, j.Pool, j.Difficulty
	if known || l.quiet {
		return
	}
	height := "unknown height"
	if j.Height > 0 {
		height = fmt.Sprintf("height %d", j.Height)
	}
	l.print(mineLine{Event: "block", Pool: j.Pool, Height: j.Height, Network: j.Network, Difficulty: j.Difficulty},
		"block     %s, difficulty %s; shares of difficulty %s for %s", height, amount(j.Network), amount(j.Difficulty), j.Pool)
}

func (l *mineLines) share(s mining.Share) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shares++
	if l.quiet && !s.Block {
		return
	}
	text := fmt.Sprintf("%-8s  share %d: difficulty %s, asked for %s; %.0f ms", s.Verdict, l.shares, amount(s.Reached), amount(s.Difficulty), s.Took.Seconds()*1000)
	if s.Reason != "" {
		text += "; " + s.Reason
	}
	if s.Block {
		text += "; IT IS A BLOCK"
	}
	l.print(mineLine{
		Event: "share", Verdict: string(s.Verdict), Difficulty: s.Difficulty, Reached: s.Reached, Block: s.Block,
		Code: s.Code, Reason: s.Reason, Took: s.Took.Seconds(),
	}, "%s", text)
}

// report prints a line of progress at each interval until ctx ends.
func (l *mineLines) report(ctx context.Context, m *mining.Miner, speed *speed, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		status := m.Status()
		l.progress("progress", &status, speed.rate())
	}
}

// end prints the last line: sums, and the hashrate over the whole time.
func (l *mineLines) end(s mining.Status) {
	rate := 0.0
	if up := time.Since(l.began).Seconds(); up > 0 {
		rate = float64(s.Engine.Hashes) / up
	}
	l.progress("end", &s, rate)
}

func (l *mineLines) progress(event string, s *mining.Status, rate float64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	up := time.Since(l.began)
	shares := sharesOf(s)
	state := s.Pool
	switch {
	case event == "end":
		state = "ended"
	case s.Pool == "" && s.LastErr != "":
		state = "no work: " + s.LastErr
	case s.Pool == "":
		state = "no work yet"
	}
	l.print(mineLine{
		Event: event, Pool: s.Pool, Height: s.Job.Height, Network: s.Job.Network, Difficulty: s.Job.Difficulty, Error: s.LastErr,
		Hashrate: &rate, Shares: &shares, Best: &s.Best, Uptime: up.Seconds(),
	}, "%-9s accepted %d (%s)  rejected %d  stale %d  best %s  height %d  up %s  %s", api.Hashrate(rate),
		s.Accepted, amount(s.Accounted), s.Rejected, s.Stale, amount(s.Best), s.Job.Height, up.Round(time.Second), state)
}

// amount is a difficulty for people: four digits, and k, M, G …
func amount(d float64) string {
	prefix := ""
	for _, p := range []string{"k", "M", "G", "T", "P", "E"} {
		if d < 9999.5 {
			break
		}
		d, prefix = d/1000, p
	}
	return fmt.Sprintf("%.4g%s", d, prefix)
}

// speed measures the hashrate of the last seconds.
type speed struct {
	mu     sync.Mutex // guards points
	points []speedPoint
}

type speedPoint struct {
	at     time.Time
	hashes uint64
}

// The hashrate is that of so many intervals.
const (
	speedInterval = time.Second
	speedPoints   = 10
)

func newSpeed(now time.Time) *speed { return &speed{points: []speedPoint{{at: now}}} }

// measure looks at the hashes until ctx ends.
func (s *speed) measure(ctx context.Context, hashes func() uint64) {
	ticker := time.NewTicker(speedInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			s.add(now, hashes())
		}
	}
}

func (s *speed) add(now time.Time, hashes uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.points = append(s.points, speedPoint{now, hashes})
	if n := len(s.points) - speedPoints - 1; n > 0 {
		s.points = s.points[n:]
	}
}

// rate is in hashes per second; 0: nothing is measured yet.
func (s *speed) rate() float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	first, last := s.points[0], s.points[len(s.points)-1]
	if passed := last.at.Sub(first.at).Seconds(); passed > 0 {
		return float64(last.hashes-first.hashes) / passed
	}
	return 0
}
