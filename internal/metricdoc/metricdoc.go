// Package metricdoc describes metrics for the reference: what a registry gathers, without
// the values.
package metricdoc

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Metric is one that a process has.
type Metric struct {
	Name, Kind, Help string
	Labels           []string
}

// Of describes what a collector gathers, in the order of the names.
func Of(collectors ...prometheus.Collector) ([]Metric, error) {
	registry := prometheus.NewRegistry()
	for _, c := range collectors {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("describe metrics: %w", err)
		}
	}
	families, err := registry.Gather()
	if err != nil {
		return nil, fmt.Errorf("describe metrics: %w", err)
	}
	var list []Metric
	for _, f := range families {
		m := Metric{Name: f.GetName(), Kind: strings.ToLower(f.GetType().String()), Help: f.GetHelp()}
		for _, one := range f.GetMetric() {
			for _, label := range one.GetLabel() {
				if !slices.Contains(m.Labels, label.GetName()) {
					m.Labels = append(m.Labels, label.GetName())
				}
			}
		}
		list = append(list, m)
	}
	return list, nil
}

// Write writes a table in Markdown.
func Write(w io.Writer, metrics []Metric) {
	fmt.Fprint(w, "| metric | kind | labels | meaning |\n|---|---|---|---|\n")
	for _, m := range metrics {
		labels := ""
		if len(m.Labels) > 0 {
			labels = "`" + strings.Join(m.Labels, "`, `") + "`"
		}
		fmt.Fprintf(w, "| `%s` | %s | %s | %s |\n", m.Name, m.Kind, labels, strings.NewReplacer("|", `\|`, "\n", " ").Replace(m.Help))
	}
}
