package version

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// Register adds what every process of Lode tells of itself: lode_build_info, and the
// usual metrics of the process and of Go's runtime.
func Register(r prometheus.Registerer) {
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "lode_build_info", Help: "1; the labels tell which program this is.",
		ConstLabels: prometheus.Labels{"version": String(), "goversion": runtime.Version()},
	})
	info.Set(1)
	r.MustRegister(info, collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewGoCollector())
}
