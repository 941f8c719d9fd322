package miner

import "time"

// Load is what a machine did in the time between two measurements.
type Load struct {
	// Others is how many cpus other processes, and the host of a virtual machine, used:
	// those of ordinary priority, for what is nice gives way to them, other miners as well.
	Others float64
	Watts  float64 // of its processors; 0: not known
}

// LoadMeter measures the Load since it was last asked. The zero value is ready.
type LoadMeter struct {
	last counters
	load Load
}

// counters only rise, but for wraps.
type counters struct {
	at         time.Time
	busy, ours time.Duration   // cpu time of ordinary priority of all, of this process
	energy     map[string]zone // by zone of powercap
}

// zone is an energy counter, in microjoules.
type zone struct{ used, wrap uint64 }

// leastLoad is the shortest time that is measured: the counters tick 100 times a second.
const leastLoad = time.Second

// Measure returns the load since the measurement before, the same one again if that was
// a moment ago, and none at first. hashed is the cpu time of this process' threads that
// are nice.
func (m *LoadMeter) Measure(now time.Time, hashed time.Duration) Load {
	if now.Sub(m.last.at) >= leastLoad {
		c := readCounters("/")
		c.at = now
		c.ours -= hashed
		if !m.last.at.IsZero() {
			m.load = between(m.last, c)
		}
		m.last = c
	}
	return m.load
}

// mostWatts is more than any processor takes. A counter that began anew, as after a suspend,
// looks like one that came round.
const mostWatts = 5000

// between is the load from one reading to the next.
func between(a, b counters) (l Load) {
	seconds := b.at.Sub(a.at).Seconds()
	if seconds <= 0 {
		return l
	}
	if b.busy > a.busy {
		l.Others = max(0, ((b.busy-a.busy)-(b.ours-a.ours)).Seconds()/seconds)
	}
	for name, now := range b.energy {
		was, ok := a.energy[name]
		if !ok {
			continue
		}
		used := now.used - was.used
		if now.used < was.used {
			used = now.used + now.wrap - was.used
		}
		if watts := float64(used) * 1e-6 / seconds; watts <= mostWatts {
			l.Watts += watts
		}
	}
	return l
}
