package scheduler

import (
	"maps"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"lode/internal/metricdoc"
	"lode/scheduler/core"
	"lode/version"
)

// metrics are those of one scheduler; most are read from the core when asked for.
type metrics struct {
	registry *prometheus.Registry
	persist  prometheus.Histogram
	fetches  prometheus.Counter
	launch   prometheus.Histogram
}

func newMetrics(s *Scheduler) *metrics {
	m := newInstruments()
	m.registry = prometheus.NewRegistry()
	m.registry.MustRegister(m.persist, m.fetches, m.launch, &collector{look: s.measure})
	version.Register(m.registry)
	return m
}

// newInstruments are the metrics that somebody counts up.
func newInstruments() *metrics {
	return &metrics{
		persist: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "lode_scheduler_persist_seconds",
			Help:    "Time to put the state on disk.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 12),
		}),
		fetches: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lode_scheduler_artifact_fetches_total",
			Help: "Complete downloads of the executor.",
		}),
		launch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "lode_scheduler_launch_seconds",
			Help:    "Time from the launch of a task to TASK_RUNNING.",
			Buckets: prometheus.ExponentialBuckets(0.1, 2, 12),
		}),
	}
}

// DescribeMetrics tells which metrics a scheduler has, for the reference.
func DescribeMetrics() ([]metricdoc.Metric, error) {
	m := newInstruments()
	example := measured{
		tasks:    map[[2]string]int{{core.KindMiner, "TASK_RUNNING"}: 1},
		declined: map[string]uint64{}, ended: map[string]uint64{}, launched: map[string]uint64{core.KindMiner: 0},
	}
	return metricdoc.Of(m.persist, m.fetches, m.launch, &collector{look: func() measured { return example }})
}

// measured is what the collector reads, of one moment.
type measured struct {
	core                               core.Snapshot
	tasks                              map[[2]string]int // by kind and state
	hashrate                           float64
	slowest                            float64 // to give a cpu to others, in seconds
	counters                           core.Counters
	declined, launched, ended, refused map[string]uint64 // copies of those of the counters
	sums                               counts
	failing                            bool // the store
	waiting                            int  // calls to the master
}

func (s *Scheduler) measure() measured {
	m := measured{tasks: make(map[[2]string]int)}
	s.eachTask(m.see)
	s.mu.Lock()
	m.core, m.counters = s.core.Snapshot(time.Now()), s.core.Counters()
	m.refused, m.declined = maps.Clone(m.counters.Refused), maps.Clone(m.counters.OffersDeclined)
	m.launched, m.ended = maps.Clone(m.counters.Launched), maps.Clone(m.counters.Ended)
	s.mu.Unlock()
	m.sums, m.waiting = s.tally.sums(), s.driver.Waiting()
	_, err := s.ledger.trouble()
	m.failing = err != nil
	return m
}

// see takes in one task.
func (m *measured) see(t *core.TaskView) {
	m.tasks[[2]string{t.Kind, t.State}]++
	if t.Report == nil || t.Report.Miner == nil {
		return
	}
	if !t.Silent {
		m.hashrate += t.Report.Hashrate
	}
	if y := yieldedOf(t.Report.Miner.Yielded); y != nil {
		m.slowest = max(m.slowest, y.P99)
	}
}

// collector reads the core. Its labels are of bounded variety: no task or agent ids.
type collector struct{ look func() measured }

// Describe sends nothing: the collector is unchecked, because which labels there are
// depends on what happened.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	m := c.look()
	status, counters, declined, launched, ended, refused := &m.core, m.counters, m.declined, m.launched, m.ended, m.refused
	gauge := func(name, help string, v float64, labels ...string) {
		emit(ch, prometheus.GaugeValue, name, help, v, labels)
	}
	counter := func(name, help string, v uint64, labels ...string) {
		emit(ch, prometheus.CounterValue, name, help, float64(v), labels)
	}
	connected := 0.0
	if status.Connected {
		connected = 1
	}
	gauge("lode_scheduler_connected", "Whether there is a subscription at a Mesos master.", connected)
	paused := 0.0
	if status.Paused != "" {
		paused = 1
	}
	gauge("lode_paused", "Whether mining is paused, by an operator or by the rule of --pause-when.", paused)
	gauge("lode_hashrate", "Hashes per second of all miners, as they report.", m.hashrate)
	suppressed := 0.0
	if status.Suppressed {
		suppressed = 1
	}
	gauge("lode_scheduler_suppressed", "Whether offers are suppressed because nothing is needed.", suppressed)

	sums := m.sums
	for outcome, n := range map[string]float64{"accepted": sums.accepted, "rejected": sums.rejected, "stale": sums.stale} {
		emit(ch, prometheus.CounterValue, "lode_shares_total", "Shares of miners, by what became of them.", n, []string{"outcome", outcome})
	}
	emit(ch, prometheus.CounterValue, "lode_share_difficulty_total", "Summed difficulty (pdiff) of accepted shares.", sums.difficulty, nil)
	emit(ch, prometheus.CounterValue, "lode_hashes_total", "Hashes of miners.", sums.hashes, nil)
	emit(ch, prometheus.CounterValue, "lode_cores_given_total", "Times that miners gave a core to somebody.", sums.given, nil)
	for use, n := range map[string]float64{"harvested": sums.cpu, "away": sums.away, "parked": sums.parked} {
		emit(ch, prometheus.CounterValue, "lode_core_seconds_total", "Time of the miners' threads.", n, []string{"use", use})
	}
	gauge("lode_yield_p99_seconds", "Greatest upper bound, over the running miners, of how long a thread goes on after somebody wants its cpu.", m.slowest)
	for k, n := range m.tasks {
		gauge("lode_tasks", "Tasks that have not ended.", float64(n), "kind", k[0], "state", k[1])
	}
	blocks := map[string]float64{"submitted": 0, "confirmed": 0, "orphaned": 0}
	for _, b := range status.Blocks {
		blocks[b.State]++
	}
	for state, n := range blocks {
		gauge("lode_blocks", "Blocks found.", n, "state", state)
	}

	counter("lode_scheduler_offers_received_total", "Offers received.", counters.OffersReceived)
	counter("lode_scheduler_offers_accepted_total", "Offers accepted.", counters.OffersAccepted)
	counter("lode_scheduler_offers_rescinded_total", "Offers taken back by the master.", counters.OffersRescinded)
	counter("lode_scheduler_offers_expired_total", "Offers held for too long.", counters.OffersExpired)
	declined["enough_miners"] += 0 // there from the start, so that the first one is a rise
	for reason, n := range declined {
		counter("lode_scheduler_offers_declined_total", "Offers declined.", n, "reason", reason)
	}
	for kind, n := range launched {
		counter("lode_scheduler_launched_total", "Tasks launched.", n, "kind", kind)
	}
	for _, state := range endStates {
		ended[state] += 0 // there from the start, so that the first end is a rise
	}
	for state, n := range ended {
		counter("lode_scheduler_ended_total", "Tasks ended.", n, "state", state)
	}
	failing := 0.0
	if m.failing {
		failing = 1
	}
	gauge("lode_scheduler_store_failing", "Whether the state cannot be stored.", failing)
	gauge("lode_scheduler_calls_waiting", "Calls that wait to be sent to the master.", float64(m.waiting))
	counter("lode_scheduler_updates_total", "Status updates received.", counters.Updates)
	counter("lode_scheduler_acknowledged_total", "Status updates acknowledged.", counters.Acknowledged)
	counter("lode_scheduler_orphans_total", "Unknown tasks killed.", counters.Orphans)
	counter("lode_scheduler_messages_total", "Framework messages received.", counters.Messages)
	counter("lode_scheduler_bad_messages_total", "Framework messages that made no sense.", counters.BadMessages)
	if len(refused) == 0 {
		refused = make(map[string]uint64)
		refused["forged"] = 0
	}
	for kind, n := range refused {
		counter("lode_scheduler_refused_messages_total", "Framework messages that were not believed.", n, "kind", kind)
	}
	problems := map[string]float64{"blocks": 0, "proxy": 0, "miner": 0}
	for _, p := range status.Problems {
		problems[p.Kind] = 1
	}
	for kind, n := range problems {
		gauge("lode_scheduler_problem", "Whether something is wrong that does not mend by itself.", n, "kind", kind)
	}
	counter("lode_scheduler_subscriptions_total", "Subscriptions.", counters.Subscriptions)
	counter("lode_scheduler_reconciliations_total", "Rounds of reconciliation.", counters.Reconciliations)
}

// endStates are those in which a task ends.
var endStates = []string{
	"TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_ERROR", "TASK_LOST", "TASK_DROPPED", "TASK_GONE", "TASK_GONE_BY_OPERATOR",
}

// emit sends one metric; labels are names and values in turn.
func emit(ch chan<- prometheus.Metric, kind prometheus.ValueType, name, help string, v float64, labels []string) {
	var names, values []string
	for i := 0; i+1 < len(labels); i += 2 {
		names, values = append(names, labels[i]), append(values, labels[i+1])
	}
	ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, names, nil), kind, v, values...)
}
