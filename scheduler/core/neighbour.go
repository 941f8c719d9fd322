package core

// Foreign is what miners' machines do for others: the share of their cpus that others
// used, and the power of their processors, in watts. known says whether any miner told.
func (c *Core) Foreign() (others, watts float64, known bool) {
	cpus := 0.0
	for _, t := range c.tasks {
		r := t.run
		if r.report == nil || r.report.Miner == nil || r.report.Miner.Host == nil {
			continue
		}
		h := r.report.Miner.Host
		others += float64(h.OthersMilli) / 1000
		watts += float64(h.Milliwatts) / 1000
		cpus += float64(h.Cpus)
	}
	if cpus == 0 {
		return 0, 0, false
	}
	return others / cpus, watts, true
}
