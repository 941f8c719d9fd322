package history

import (
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Path is where a Recorder is served.
const Path = "/api/v1/history"

// Spans that can be asked for.
var spans = map[string]time.Duration{
	"1h": time.Hour, "24h": 24 * time.Hour, "7d": 7 * 24 * time.Hour, "30d": 30 * 24 * time.Hour,
}

const (
	defaultPoints = 360
	maxPoints     = 2000
)

// ServeHTTP answers ?range=1h|24h|7d|30d&points=N with
//
//	{"from":UNIX,"step":SECONDS,"series":{"NAME":[1.5,null,…],…}}
//
// where the first value of each series belongs to the step that begins at from.
func (r *Recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	span, points := spans["1h"], defaultPoints
	query := req.URL.Query()
	if text := query.Get("range"); text != "" {
		var ok bool
		if span, ok = spans[text]; !ok {
			http.Error(w, fmt.Sprintf("range=%.20q: want 1h, 24h, 7d or 30d", text), http.StatusBadRequest)
			return
		}
	}
	if text := query.Get("points"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxPoints {
			http.Error(w, fmt.Sprintf("points=%.20q: want a number from 1 to %d", text, maxPoints), http.StatusBadRequest)
			return
		}
		points = n
	}
	body := encode(r.Window(time.Now(), span, points))
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Vary", "Accept-Encoding")
	var out io.Writer = w
	if strings.Contains(req.Header.Get("Accept-Encoding"), "gzip") {
		w.Header().Set("Content-Encoding", "gzip")
		zip := gzip.NewWriter(w)
		defer zip.Close()
		out = zip
	}
	_, _ = out.Write(body) // the client may be gone
}

// encode writes a window in JSON with five digits a value: more cannot be seen.
func encode(w Window) []byte {
	n := 0
	for _, values := range w.Series {
		n = len(values)
		break
	}
	from := w.Last.Add(-time.Duration(max(n-1, 0)) * w.Step)
	b := fmt.Appendf(nil, `{"from":%d,"step":%d,"series":{`, from.Unix(), int64(w.Step/time.Second))
	for i, name := range slices.Sorted(maps.Keys(w.Series)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(strconv.AppendQuote(b, name), ":["...)
		for j, v := range w.Series[name] {
			if j > 0 {
				b = append(b, ',')
			}
			if v != v {
				b = append(b, "null"...)
				continue
			}
			b = strconv.AppendFloat(b, float64(v), 'g', 5, 32)
		}
		b = append(b, ']')
	}
	return append(b, "}}\n"...)
}
