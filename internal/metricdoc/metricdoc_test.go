package metricdoc

import (
	"bytes"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestTable(t *testing.T) {
	shares := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "shares_total", Help: "Shares: a|b.\nAll."}, []string{"outcome"})
	shares.WithLabelValues("accepted").Inc()
	shares.WithLabelValues("stale").Inc()
	list, err := Of(shares, prometheus.NewGauge(prometheus.GaugeOpts{Name: "height", Help: "Height."}))
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	Write(&got, list)
	want := "| metric | kind | labels | meaning |\n|---|---|---|---|\n| `height` | gauge |  | Height. |\n| `shares_total` | counter | `outcome` | Shares: a\\|b. All. |\n"
	if got.String() != want {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
}

func TestTwiceTheSame(t *testing.T) {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "height"})
	if _, err := Of(g, g); err == nil {
		t.Error("a collector was taken twice")
	}
}
