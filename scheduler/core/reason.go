package core

import (
	"fmt"
	"time"
)

// Reason is why an offer was not used, or miners are not wanted.
type Reason struct {
	Code reasonCode
	Text string
}

// reasonCode is of bounded variety: a label for metrics.
type reasonCode string

const (
	reasonNone         reasonCode = ""
	reasonRole         reasonCode = "role"
	reasonMaintenance  reasonCode = "maintenance"
	reasonAgentBackoff reasonCode = "agent_backoff"
	reasonReconciling  reasonCode = "reconciling"
	reasonProxyBackoff reasonCode = "proxy_backoff"
	reasonProxyUnfit   reasonCode = "proxy_does_not_fit"
	reasonSpread       reasonCode = "proxy_is_there"
	reasonNoProxy      reasonCode = "no_proxy"
	reasonStarting     reasonCode = "proxy_starts"
	reasonNoWork       reasonCode = "no_work"
	reasonEnough       reasonCode = "enough_miners"
	reasonMinerBackoff reasonCode = "miner_backoff"
	reasonPace         reasonCode = "pace"
	reasonMinerUnfit   reasonCode = "miner_does_not_fit"
	reasonNoCPUs       reasonCode = "no_cpus"
	reasonHeldBack     reasonCode = "held_back"
	reasonNotRevocable reasonCode = "not_revocable"
	reasonPaused       reasonCode = "paused"
	reasonBounded      reasonCode = "bounded"
	reasonDrained      reasonCode = "drained"
	reasonBusy         reasonCode = "agent_busy"
	reasonConstraint   reasonCode = "constraint"
	reasonCrowded      reasonCode = "constraint_for_now"
	reasonRescinded    reasonCode = "rescinded"
)

// soon says that the reason is expected to pass within seconds, without a change of
// anything that an offer could bring.
func (r reasonCode) soon() bool {
	switch r {
	case reasonReconciling, reasonStarting, reasonNoProxy, reasonPace, reasonSpread:
		return true
	}
	return false
}

func because(code reasonCode, format string, args ...any) Reason {
	return Reason{code, fmt.Sprintf(format, args...)}
}

// explain puts a reason of minersWanted into words. detail is what minersWanted gave
// with it.
func (c *Core) explain(code reasonCode, detail string) Reason {
	text := ""
	switch code {
	case reasonReconciling:
		text = "tasks of before are being reconciled"
	case reasonNoProxy:
		text = "there is no proxy"
	case reasonStarting:
		text = "the proxy is starting"
	case reasonNoWork:
		text = "the proxy has no work"
		if detail != "" {
			text += ": " + detail
		}
	case reasonEnough:
		text = fmt.Sprintf("there are %d miners, and no more are wanted", c.sums.live)
	case reasonPaused:
		text = "mining is paused " + c.pausedWhy()
	case reasonBounded:
		text = "there are miners on all cpus that an operator wants used"
	case reasonMinerBackoff:
		wait, _ := c.causes.wait(KindMiner, c.clock)
		text = "miners failed lately"
		if k := c.causes.worst(KindMiner); k != nil {
			text += " (" + k.text() + ")"
		}
		text += fmt.Sprintf(", the next one waits %v", wait.Round(time.Second))
	case reasonPace:
		text = fmt.Sprintf("%d miners are on their way, as many as may be at a time", c.sums.flight)
	}
	return Reason{code, text}
}
