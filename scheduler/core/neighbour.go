package core

// hosts sums up what miners' machines do for others, of the newest reports.
type hosts struct {
	cpus                int64
	others, consumption int64 // thousandths of a cpu that others used, and of a watt
}

// count enters a report into the sums (n = 1) or takes it out (n = -1).
func (s *hosts) count(r *Report, n int64) {
	if r == nil || r.Miner == nil || r.Miner.Host == nil {
		return
	}
	h := r.Miner.Host
	s.cpus += n * int64(h.Cpus)
	s.others += n * int64(h.OthersMilli)
	s.consumption += n * int64(min(h.Milliwatts, 1<<40))
}

// Foreign is what miners' machines do for others: the share of their cpus that others
// used, and the power of their processors, in watts. known says whether any miner told.
func (c *Core) Foreign() (others, watts float64, known bool) {
	if c.hosts.cpus == 0 {
		return 0, 0, false
	}
	return float64(c.hosts.others) / 1000 / float64(c.hosts.cpus), float64(c.hosts.consumption) / 1000, true
}
