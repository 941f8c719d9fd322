package yield

// Quota finds the share of the threads' time that the control group pays for. The
// kernel stops all threads of a group that has used up its quota until the next
// period, for up to 100 ms; who keeps below it is never stopped. The zero value
// takes it that there is no limit.
type Quota struct {
	known              bool
	periods, throttled uint64
	cut                float64 // taken off the whole share
}

const (
	leastShare = 0.01
	giveBack   = 0.005 // a sample without a stop
)

// Sample takes nr_periods and nr_throttled of cpu.stat, about once a second, and
// returns the share, from leastShare to 1.
func (q *Quota) Sample(periods, throttled uint64) float64 {
	if q.known && periods >= q.periods && throttled >= q.throttled {
		stopped := float64(throttled - q.throttled)
		if stopped > 0 {
			rate := min(1, stopped/max(1, float64(periods-q.periods)))
			q.cut = min(1-leastShare, q.cut+(1-q.cut)*rate/4)
		} else {
			q.cut = max(0, q.cut-giveBack)
		}
	}
	q.known, q.periods, q.throttled = true, periods, throttled
	return 1 - q.cut
}

// Spread turns a share of the time of n threads into whole threads and the share of
// time that each of these hashes: few that run are better than many that are stopped.
func Spread(n int, share float64) (threads int, duty float64) {
	wanted := share * float64(n)
	threads = min(n, max(1, int(wanted)))
	if float64(threads) < wanted && threads < n {
		threads++
	}
	return threads, min(1, wanted/float64(threads))
}
