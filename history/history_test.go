package history

import (
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var start = time.Unix(1_700_000_000, 0)

func TestWindow(t *testing.T) {
	r := New()
	for i := range 60 { // ten minutes
		r.Add(start.Add(time.Duration(i)*10*time.Second), map[string]float64{"a": float64(i)})
	}
	now := start.Add(590 * time.Second)
	w := r.Window(now, time.Hour, 360)
	if w.Step != 10*time.Second || len(w.Series["a"]) != 360 {
		t.Fatalf("step %v, %d values; want 10s, 360", w.Step, len(w.Series["a"]))
	}
	a := w.Series["a"]
	if a[359] != 59 || a[300] != 0 || !math.IsNaN(float64(a[299])) {
		t.Errorf("values %v %v %v, want 59, 0, NaN", a[359], a[300], a[299])
	}
	if want := now.Truncate(10 * time.Second).UTC(); !w.Last.Equal(want) {
		t.Errorf("last step %v, want %v", w.Last, want)
	}
}

func TestWindowOfAWeekAverages(t *testing.T) {
	r := New()
	for i := range 7 * 24 * 60 {
		r.Add(start.Add(time.Duration(i)*time.Minute), map[string]float64{"a": 5})
	}
	w := r.Window(start.Add(7*24*time.Hour-time.Minute), 7*24*time.Hour, 336)
	if w.Step != 30*time.Minute || len(w.Series["a"]) != 336 {
		t.Fatalf("step %v, %d values; want 30m, 336", w.Step, len(w.Series["a"]))
	}
	for i, v := range w.Series["a"] {
		if v != 5 {
			t.Fatalf("value %d is %v, want 5", i, v)
		}
	}
}

func TestOldValuesAreForgotten(t *testing.T) {
	r := New()
	r.Add(start, map[string]float64{"old": 1})
	r.Add(start.Add(25*time.Hour), map[string]float64{"new": 2})
	day := r.Window(start.Add(25*time.Hour), 24*time.Hour, 8640)
	if _, there := day.Series["old"]; there {
		t.Error("a series of yesterday is in the window of today")
	}
	month := r.Window(start.Add(25*time.Hour), 30*24*time.Hour, 8640)
	if !slices.Contains(month.Series["old"], 1) {
		t.Error("a series of yesterday is not in the window of the month")
	}
}

func TestClockSetBack(t *testing.T) {
	r := New()
	r.Add(start, map[string]float64{"a": 1})
	r.Add(start.Add(-time.Hour), map[string]float64{"a": 3})
	w := r.Window(start, time.Hour, 360)
	if got := w.Series["a"][359]; got != 2 {
		t.Errorf("newest value %v, want the mean 2", got)
	}
}

func TestSeriesAreBounded(t *testing.T) {
	r := New()
	values := make(map[string]float64)
	for i := range 1000 {
		values[fmt.Sprint(i)] = 1
	}
	values[strings.Repeat("x", 300)] = 1
	values[""] = 1
	values["nan"], values["inf"] = math.NaN(), math.Inf(1)
	r.Add(start, values)
	for _, span := range spans {
		if n := len(r.Window(start, span, 10).Series); n > MaxSeries {
			t.Errorf("%d series in a window of %v, want at most %d", n, span, MaxSeries)
		}
	}
}

// The mean of a window's steps is that of the values that were added to them.
func TestWindowIsTheMean(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := New()
		type point struct {
			unix  int64
			value float64
		}
		var points []point
		unix := start.Unix()
		for range rapid.IntRange(1, 60).Draw(t, "points") {
			unix += rapid.Int64Range(10, 400).Draw(t, "gap") // one value a step: means of means would differ
			points = append(points, point{unix, float64(rapid.IntRange(0, 1000).Draw(t, "value"))})
			r.Add(time.Unix(unix, 0), map[string]float64{"a": points[len(points)-1].value})
		}
		w := r.Window(time.Unix(unix, 0), time.Hour, rapid.IntRange(1, 360).Draw(t, "width"))
		values := w.Series["a"]
		for i, got := range values {
			from := w.Last.Add(-time.Duration(len(values)-1-i) * w.Step).Unix()
			sums := make(map[int64][2]float64) // by step of the ring
			for _, p := range points {
				if p.unix >= from && p.unix < from+int64(w.Step/time.Second) {
					s := sums[p.unix/10]
					sums[p.unix/10] = [2]float64{s[0] + p.value, s[1] + 1}
				}
			}
			want, n := 0.0, 0
			for _, s := range sums {
				want += s[0] / s[1]
				n++
			}
			if n == 0 {
				if got == got {
					t.Fatalf("value %d is %v, want none", i, got)
				}
				continue
			}
			if want /= float64(n); math.Abs(float64(got)-want) > 1e-3 {
				t.Fatalf("value %d is %v, want %v", i, got, want)
			}
		}
	})
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	r := New()
	if err := r.Load(path); err != nil {
		t.Fatalf("no file: %v", err)
	}
	r.Add(start, map[string]float64{"a": 1, "b": 2})
	if err := r.Save(path); err != nil {
		t.Fatal(err)
	}
	again := New()
	if err := again.Load(path); err != nil {
		t.Fatal(err)
	}
	again.Add(start.Add(10*time.Second), map[string]float64{"a": 3})
	w := again.Window(start.Add(10*time.Second), time.Hour, 360)
	if a := w.Series["a"]; a[358] != 1 || a[359] != 3 {
		t.Errorf("values after a restart: %v, want 1, 3", a[358:])
	}

	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, damaged := range map[string][]byte{
		"empty": {}, "cut": b[:len(b)/2], "bit": append(slices.Clone(b[:100]), append([]byte{b[100] ^ 1}, b[101:]...)...),
		"other": []byte("something else"),
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			r := New()
			if err := r.Load(path); err == nil {
				t.Error("a damaged file was taken")
			}
			r.Add(start, map[string]float64{"a": 1})
			if w := r.Window(start, time.Hour, 1); w.Series["a"][0] != 1 {
				t.Error("the recorder does not work after a damaged file")
			}
		})
	}
}

func TestHTTP(t *testing.T) {
	r := New()
	r.Add(time.Now(), map[string]float64{"hashrate": 12345678})
	get := func(target, accept string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		req := httptest.NewRequest("GET", target, nil)
		req.Header.Set("Accept-Encoding", accept)
		r.ServeHTTP(w, req)
		return w
	}
	for name, target := range map[string]string{
		"range": "/?range=1y", "no number": "/?points=x", "too many": "/?points=1000000", "none": "/?points=0",
	} {
		t.Run(name, func(t *testing.T) {
			if w := get(target, ""); w.Code != 400 || !strings.Contains(w.Body.String(), "want") {
				t.Errorf("%d %q, want 400 and what was expected", w.Code, w.Body)
			}
		})
	}
	w := get("/?range=24h&points=100", "gzip")
	zip, err := gzip.NewReader(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(zip)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		From, Step int64
		Series     map[string][]*float64
	}
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	values := got.Series["hashrate"]
	if len(values) == 0 || values[0] != nil || values[len(values)-1] == nil || *values[len(values)-1] != 1.2346e7 {
		t.Errorf("series %v", values)
	}
	if end := got.From + got.Step*int64(len(values)); end < time.Now().Unix() {
		t.Errorf("the window ends at %d, before now", end)
	}
}

func FuzzDecode(f *testing.F) {
	r := New()
	f.Add([]byte(magic))
	whole := r.encode()
	f.Add(whole[:len(whole)-4])
	f.Fuzz(func(t *testing.T, b []byte) {
		// With its checksum, so that what lies behind that is reached.
		b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
		if r, err := decode(b); err == nil {
			r.Add(start, map[string]float64{"a": 1})
			r.Window(start, time.Hour, 10)
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	r := New()
	values := make(map[string]float64)
	for i := range 32 {
		values[fmt.Sprint(i)] = float64(i)
	}
	now := start
	for b.Loop() {
		now = now.Add(10 * time.Second)
		r.Add(now, values)
	}
}

// TestClockWasAhead: a clock that was years ahead for a moment does not stop the history for
// years.
func TestClockWasAhead(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)
	r := New()
	r.Add(now.AddDate(10, 0, 0), map[string]float64{"hashrate": 7})
	for range 60 {
		r.Add(now, map[string]float64{"hashrate": 5})
		now = now.Add(10 * time.Second)
	}
	for _, span := range []time.Duration{10 * time.Minute, 30 * 24 * time.Hour} {
		there := 0
		for _, v := range r.Window(now, span, 100).Series["hashrate"] {
			if v == 5 {
				there++
			} else if v == v {
				t.Errorf("%g in %v", v, span)
			}
		}
		if there == 0 {
			t.Errorf("nothing is recorded of %v", span)
		}
	}
}
