package api

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// WhyReason is what became of offers, and why, with how often that was so lately.
type WhyReason struct {
	// Outcome is as in a Decision.
	Outcome string `json:"outcome"`
	// Reason is why; of accepted offers it says that tasks were launched.
	Reason  string    `json:"reason"`
	Count   int       `json:"count"` // of offers
	Last    time.Time `json:"last"`
	Agents  int       `json:"agents"`
	Example string    `json:"example"` // hostname of the agent of the last one
	// Hosts are the agents, the latest first, at most mostHosts of them.
	Hosts []string `json:"hosts"`
}

// mostHosts bounds WhyReason.Hosts.
const mostHosts = 8

// launched is the reason of offers that were used.
const launched = "tasks were launched"

// Reasons groups what became of offers by outcome and reason, the latest first. It is what
// lode why, lode status, lode top and the page show.
func Reasons(decisions []Decision) []WhyReason {
	type key struct{ outcome, reason string }
	groups, agents := map[key]*WhyReason{}, map[key]map[string]bool{}
	newest := slices.Clone(decisions)
	slices.SortStableFunc(newest, func(a, b Decision) int { return b.At.Compare(a.At) })
	for i := range newest {
		d := &newest[i]
		k := key{d.Outcome, cmp.Or(d.Reason, d.Outcome)}
		if len(d.Tasks) > 0 {
			k.reason = launched
		}
		g := groups[k]
		if g == nil {
			g = &WhyReason{Outcome: k.outcome, Reason: k.reason, Last: d.At, Example: d.Hostname, Hosts: []string{}}
			groups[k], agents[k] = g, map[string]bool{}
		}
		g.Count++
		if agent := cmp.Or(d.AgentID, d.Hostname); !agents[k][agent] {
			agents[k][agent] = true
			g.Agents++
			if len(g.Hosts) < mostHosts {
				g.Hosts = append(g.Hosts, d.Hostname)
			}
		}
	}
	reasons := make([]WhyReason, 0, len(groups))
	for _, g := range groups {
		reasons = append(reasons, *g)
	}
	slices.SortFunc(reasons, func(a, b WhyReason) int {
		return cmp.Or(b.Last.Compare(a.Last), b.Count-a.Count, strings.Compare(a.Outcome, b.Outcome), strings.Compare(a.Reason, b.Reason))
	})
	return reasons
}
