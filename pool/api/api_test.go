package api

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"lode/internal/apidoc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func serve(t testing.TB, s *Server) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return l.Addr().String()
}

func request(t testing.TB, method, url string, header ...string) (status int, h http.Header, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
		r.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(b)
}

func TestPages(t *testing.T) {
	var list Slice[int]
	s := New(Limits{})
	s.List(apidoc.Doc{Path: "/list"}, func() List { return list })
	address := serve(t, s)
	for _, c := range []struct {
		length     int
		query      string
		from, to   int
		next, fail bool
	}{
		{0, "", 0, 0, false, false},
		{3, "", 0, 3, false, false},
		{3, "?limit=2", 0, 2, true, false},
		{3, "?limit=2&offset=2", 2, 3, false, false},
		{3, "?offset=9", 3, 3, false, false},
		{3, "?limit=0", 0, 0, false, false},
		{5000, "", 0, 1000, true, false},
		{5000, "?limit=4000&offset=990", 990, 990 + 1000, true, false},
		{5000, "?limit=9223372036854775807&offset=4990", 4990, 5000, false, false},
		{3, "?limit=-1", 0, 0, false, true},
		{3, "?offset=x", 0, 0, false, true},
	} {
		list = list[:0]
		for i := range c.length {
			list = append(list, i)
		}
		status, header, body := request(t, "GET", "http://"+address+"/list"+c.query)
		if c.fail {
			if status != http.StatusBadRequest {
				t.Errorf("%d entries, %s: %d", c.length, c.query, status)
			}
			continue
		}
		var got []int
		if err := json.Unmarshal([]byte(body), &got); err != nil || status != http.StatusOK || len(got) != c.to-c.from || len(got) > 0 && (got[0] != c.from || got[len(got)-1] != c.to-1) {
			t.Errorf("%d entries, %s: %d %.60s, %v", c.length, c.query, status, body, err)
		}
		if header.Get("X-Total-Count") != fmt.Sprint(c.length) || c.next != strings.Contains(header.Get("Link"), `rel="next"`) {
			t.Errorf("%d entries, %s: header %v", c.length, c.query, header)
		}
	}
}

func TestPost(t *testing.T) {
	var done atomic.Int64
	count := func() { done.Add(1) }
	s := New(Limits{})
	s.Post(apidoc.Doc{Path: "/here"}, nil, count)
	s.Post(apidoc.Doc{Path: "/there"}, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, count)
	s.Post(apidoc.Doc{Path: "/all"}, []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, count)
	address := serve(t, s)
	for _, c := range []struct {
		path   string
		header []string
		want   int
	}{
		{"/here", nil, http.StatusAccepted},
		{"/here", []string{"Host", "localhost:8651"}, http.StatusAccepted},
		{"/here", []string{"Host", "[::1]:8651"}, http.StatusAccepted},
		{"/here", []string{"Host", "rebound.example:8651"}, http.StatusForbidden},
		{"/here", []string{"Sec-Fetch-Site", "cross-site"}, http.StatusForbidden},
		{"/here", []string{"Sec-Fetch-Site", "same-site"}, http.StatusForbidden},
		{"/here", []string{"Origin", "http://evil.example"}, http.StatusForbidden},
		{"/here", []string{"Origin", "null"}, http.StatusForbidden},
		{"/here", []string{"Origin", "http://" + address}, http.StatusAccepted},
		{"/there", nil, http.StatusForbidden},
		{"/all", []string{"Host", "proxy.lan"}, http.StatusAccepted},
	} {
		before := done.Load()
		status, _, _ := request(t, "POST", "http://"+address+c.path, c.header...)
		if status != c.want || (done.Load() > before) != (c.want == http.StatusAccepted) {
			t.Errorf("%s %v: %d", c.path, c.header, status)
		}
	}
	if status, _, _ := request(t, "GET", "http://"+address+"/here"); status != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", status)
	}
}

// manyBytes is a list of 20,000 entries of a kilobyte each, made when they are asked for.
type manyBytes struct{ made *atomic.Int64 }

func (manyBytes) Len() int { return 20_000 }
func (m manyBytes) At(int) any {
	m.made.Add(1)
	return strings.Repeat("x", 1000)
}

// Readers that do not read cost little memory, and those who read are served.
func TestSlowReaders(t *testing.T) {
	var made atomic.Int64
	s := New(Limits{})
	s.List(apidoc.Doc{Path: "/list"}, func() List { return manyBytes{&made} })
	s.Cheap(apidoc.Doc{Path: "/healthz"}, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	address := serve(t, s)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var wg sync.WaitGroup
	for range 40 {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.(*net.TCPConn).SetReadBuffer(2048)
		_, _ = io.WriteString(conn, strings.Repeat("GET /list HTTP/1.1\r\nHost: x\r\n\r\n", 50))
	}
	reader := from(t, 4)
	for range 5 {
		wg.Go(func() {
			r, err := reader.Get("http://" + address + "/list?limit=100")
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Body.Close()
			if body, err := io.ReadAll(r.Body); r.StatusCode != http.StatusOK || len(body) < 100_000 {
				t.Errorf("%d %.40s, %v", r.StatusCode, body, err)
			}
		})
	}
	wg.Wait()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapInuse) - int64(before.HeapInuse); grown > 40<<20 {
		t.Errorf("%d bytes of memory for readers that do not read", grown)
	}
	if status, _, _ := request(t, "GET", "http://"+address+"/healthz"); status != http.StatusOK {
		t.Errorf("health check: %d", status)
	}
}

// awaitAnswers waits until so many requests are being answered.
func awaitAnswers(t *testing.T, s *Server, n int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		s.door.mu.Lock()
		got := s.door.answers
		s.door.mu.Unlock()
		if got == n {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d requests are under way, want %d", got, n)
		}
	}
}

// Who takes long to read what it asked for holds up nobody else, from however many addresses.
func TestSlowReadersGo(t *testing.T) {
	s := New(Limits{})
	s.List(apidoc.Doc{Path: "/list"}, func() List { return manyBytes{new(atomic.Int64)} })
	s.JSON(apidoc.Doc{Path: "/json"}, func() any { return 1 })
	s.door.patience = time.Hour
	address := serve(t, s)
	for i := range 64 {
		conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 8, 8, byte(1+i%2))}}).Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.(*net.TCPConn).SetReadBuffer(2048)
		_, _ = io.WriteString(conn, "GET /list HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	awaitAnswers(t, s, 64)
	ask := func(last byte) int {
		r, err := from(t, last).Get("http://" + address + "/json")
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Body.Close()
		return r.StatusCode
	}
	for _, last := range []byte{1, 9} {
		if got := ask(last); got != http.StatusServiceUnavailable {
			t.Errorf("one more at once from address %d: %d", last, got)
		}
	}
	s.door.mu.Lock()
	s.door.patience = 0
	s.door.mu.Unlock()
	for _, last := range []byte{1, 9, 1, 9, 9} {
		if got := ask(last); got != http.StatusOK {
			t.Errorf("beside slow readers, from address %d: %d", last, got)
		}
	}
	s.door.mu.Lock()
	defer s.door.mu.Unlock()
	if n := s.door.answers; n < 64-5 { // not more than one for each
		t.Errorf("%d slow readers are left", n)
	}
}

func TestBounds(t *testing.T) {
	hold := make(chan struct{})
	s := New(Limits{})
	s.door.patience = time.Hour
	s.Handle(apidoc.Doc{Path: "/slow"}, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hold }))
	s.register(http.MethodPost, true, apidoc.Doc{Path: "/body"}, func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		}
	})
	address := serve(t, s)
	if status, _, _ := request(t, "GET", "http://"+address+"/body", "X-Long", strings.Repeat("x", 2*(16<<10))); status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("long header: %d", status)
	}
	response, err := http.Post("http://"+address+"/body", "text/plain", strings.NewReader(strings.Repeat("x", (4<<10)+1)))
	if err != nil {
		t.Fatal(err)
	}
	if response.Body.Close(); response.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("long body: %d", response.StatusCode)
	}
	// Another address of this machine.
	other := http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 9, 9, 9)}}).DialContext}}
	defer other.CloseIdleConnections()
	ask := func(c *http.Client) *http.Response {
		r, err := c.Get("http://" + address + "/slow")
		if err != nil {
			t.Error(err)
			return &http.Response{}
		}
		_ = r.Body.Close()
		return r
	}
	var wg sync.WaitGroup
	for n, c := range []*http.Client{http.DefaultClient, &other} {
		for range 32 {
			wg.Go(func() { ask(c) })
		}
		awaitAnswers(t, s, 32*(n+1))
		// The 33rd of one address is too many, the 65th of all.
		if r := ask(c); r.StatusCode != http.StatusServiceUnavailable || r.Header.Get("Retry-After") == "" {
			t.Errorf("one request too many: %d", r.StatusCode)
		}
	}
	close(hold)
	wg.Wait()
}

func TestRate(t *testing.T) {
	s := New(Limits{})
	s.JSON(apidoc.Doc{Path: "/json"}, func() any { return 1 })
	s.Post(apidoc.Doc{Path: "/post"}, nil, func() {})
	s.Cheap(apidoc.Doc{Path: "/healthz"}, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	address := serve(t, s)
	if status, _, _ := request(t, "GET", "http://"+address+"/json"); status != http.StatusOK {
		t.Errorf("the first request: %d", status)
	}
	s.rate.mu.Lock()
	s.rate.spent, s.rate.at = 1e9, time.Now() // for longer than this takes
	s.rate.mu.Unlock()
	for _, c := range []struct {
		method, path string
		want         int
	}{{"GET", "/json", 429}, {"POST", "/post", 429}, {"GET", "/healthz", 200}, {"GET", "/nothing", 404}} {
		status, header, _ := request(t, c.method, "http://"+address+c.path)
		if status != c.want || (header.Get("Retry-After") != "") != (c.want == 429) {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, status, c.want)
		}
	}
	b := bucket{rate: 3}
	now := time.Unix(1e9, 0)
	n := 0
	for range 1000 {
		if b.take(now) {
			n++
		}
		now = now.Add(10 * time.Millisecond)
	}
	if n < 31 || n > 34 {
		t.Errorf("%d in 10 s", n)
	}
}

// A client that has gone gives its turn up.
func TestTurns(t *testing.T) {
	s := New(Limits{})
	s.turn <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s.compute(ctx, func() { t.Error("computed for nobody") }) {
		t.Error("computed")
	}
	<-s.turn
	for range 2 {
		if !s.compute(t.Context(), func() {}) {
			t.Error("the turn was not given back")
		}
	}
}

// TestLimits: the tags name the defaults.
func TestLimits(t *testing.T) {
	var l Limits
	l.setDefaults()
	if err := l.Check(); err != nil {
		t.Error(err)
	}
	v := reflect.ValueOf(l)
	for i := range v.NumField() {
		text := v.Type().Field(i).Tag.Get("default")
		var want any
		var err error
		switch v.Field(i).Interface().(type) {
		case time.Duration:
			want, err = time.ParseDuration(text)
		case float64:
			want, err = strconv.ParseFloat(text, 64)
		default:
			want, err = strconv.Atoi(text)
		}
		if got := v.Field(i).Interface(); err != nil || got != want {
			t.Errorf("%s is %v, its tag says %q", v.Type().Field(i).Name, got, text)
		}
		wrong := l
		reflect.ValueOf(&wrong).Elem().Field(i).SetZero()
		if err := wrong.Check(); err == nil || !strings.Contains(err.Error(), "--api-"+v.Type().Field(i).Tag.Get("name")+":") {
			t.Errorf("%s of 0: %v", v.Type().Field(i).Name, err)
		}
	}
	got, err := ParseLimits(map[string]string{"connections": "500", "rate": "0.5", "time": "1m"})
	want := l
	want.Connections, want.Rate, want.AnswerTime = 500, 0.5, time.Minute
	if err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []map[string]string{
		{"connection": "5"}, {"": "5"}, {"connections": "many"}, {"connections": "0"}, {"page": "-1"}, {"time": "5"}, {"time": "0s"}, {"rate": "NaN"}, {"rate": "inf"},
	} {
		if l, err := ParseLimits(bad); err == nil {
			t.Errorf("%v is taken: %+v", bad, l)
		}
	}
	few := Limits{Connections: 5, Requests: 50, Page: 3}
	few.setDefaults()
	if few.Requests != 2 || few.Page != 3 {
		t.Errorf("%+v", few)
	}
}

// TestHalf: after an answer nothing is computed for as long as it took.
func TestHalf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Limits{})
		begin := time.Now()
		for i := range 5 {
			if !s.compute(t.Context(), func() { time.Sleep(time.Second) }) {
				t.Fatal("not computed")
			}
			if took, want := time.Since(begin), time.Duration(2*i+1)*time.Second; took != want {
				t.Errorf("%d answers took %v, want %v", i+1, took, want)
			}
		}
		time.Sleep(2 * time.Second)
	})
}
